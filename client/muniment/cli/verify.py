"""``muniment verify``."""

import json
from contextlib import suppress
from pathlib import Path
from time import time as clock
from typing import Any, Final

import click

from muniment import page
from muniment.cli.common import FILE, file_option, json_option, policy_option, read_policy
from muniment.cli.complete import verify_file
from muniment.cli.disclosing import addendum_options, read_addenda, show_withholding
from muniment.cli.facts import open_facts
from muniment.cli.policychain import say_window
from muniment.complete.prooffile import HEADER as COMPLETE
from muniment.complete.prooffile import MAX_COMPLETE_SIZE
from muniment.errors import FormatError, VerificationError
from muniment.lineage.facts import Facts
from muniment.lineage.withholding import Withholding, disclosed_by, withholding_of
from muniment.local.atomicfile import read_bounded
from muniment.records.addenda import named_digests
from muniment.records.canonical import canonicalize
from muniment.records.codec import parse_record
from muniment.tlog.policy import CosignedCheckpoint, Policy, PolicyChain, show
from muniment.tlog.policyversion import say_time
from muniment.tlog.tlogproof import (
    TlogProof,
    parse_tlog_proof,
    verify_tlog_proof,
)

MAX_SPELLING: Final = 1024 * 1024
"""Bytes read of an entry: one that was indented is larger than a leaf can be, and still told."""

_BOM: Final = b"\xef\xbb\xbf"


def _show_page(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    """Prints where the page is, and its digest, and ends the command."""
    if value:
        click.echo(page.PATH)
        click.echo(f"SHA-256 {page.page_digest()}", err=True)
        ctx.exit()


@click.command()
@click.argument("proof_path", metavar="FILE", type=FILE)
@file_option("--entry", words="The leaf, byte for byte. A completeness proof needs none.")
@policy_option
@addendum_options
@file_option(
    "--replica",
    "replica_path",
    words="The verified replica (muniment follow) that says which withheld members were erased.",
)
@click.option(
    "--page",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_page,
    help="Print the path of the page that verifies in a browser, and its SHA-256, and end.",
)
@json_option
def verify(
    proof_path: Path,
    entry: Path | None,
    policy_path: Path,
    addendum_paths: tuple[Path, ...],
    addenda_folder: Path | None,
    replica_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Verify a proof offline: the log's signature, the quorum, the entry's path to the root.

    Nothing is fetched: the proof, the entry and the policy are all it takes. Addenda of a record
    that withholds members are checked against it, and shown is what is disclosed, withheld and, by
    a replica, erased.

    Of a completeness proof (muniment prove-complete), it says what that states.
    """
    policy = read_policy(policy_path)
    stated = read_bounded(proof_path, "proof", most=MAX_COMPLETE_SIZE)
    if stated.startswith(f"{COMPLETE}\n".encode("ascii")):
        verify_file(stated, policy, as_json=as_json)
        return
    if entry is None:
        raise click.MissingParameter(param_type="option", param_hint="'--entry'")
    data = read_bounded(entry, "entry", most=MAX_SPELLING)
    try:
        proof = parse_tlog_proof(stated)
        cosigned = _verified(proof, data, policy)
        with open_facts(replica_path, policy) as facts:
            withholding = _withholding(data, addendum_paths, addenda_folder, facts)
    except (FormatError, VerificationError) as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "reason": str(error)}))
        raise VerificationError(f"not verified: {error}") from None
    version = policy.version_of(cosigned) if isinstance(policy, PolicyChain) else None
    if as_json:
        result: dict[str, Any] = {
            "verified": True,
            "index": proof.index,
            "size": cosigned.size,
            "origin": cosigned.origin,
            "log_keys": [str(vkey) for vkey in cosigned.log_keys],
            "witnesses": [{"name": show(name), "time": time} for name, time in cosigned.cosigners],
        }
        if version is not None:
            result["policy_version"] = version.number
        if withholding is not None:
            result["addenda"] = withholding.members()
        click.echo(json.dumps(result))
        return
    click.echo(
        f"Verified: these {len(data)} bytes are entry {proof.index} of the log {cosigned.origin}."
    )
    click.echo(f"The log signed the tree of {cosigned.size} entries that contains it.")
    if version is not None:
        click.echo(f"Version {version.number} of the policy judges it, {say_window(version)}.")
    if withholding is not None:
        show_withholding(withholding)
    _show_witnesses(cosigned)


def _verified(proof: TlogProof, data: bytes, policy: Policy) -> CosignedCheckpoint:
    """Verifies the checkpoint, and then the leaf: an error says which of the two does not hold."""
    policy.verify(proof.checkpoint)
    try:
        return verify_tlog_proof(proof, data, policy)
    except VerificationError:
        reason = _other_spelling(proof, data, policy) or (
            f"these {len(data)} bytes are not entry {proof.index} of its tree: they, the index "
            "or the proof were changed"
        )
        raise VerificationError(f"the checkpoint is genuine, but {reason}") from None


def _show_witnesses(cosigned: CosignedCheckpoint) -> None:
    if not cosigned.cosigners:
        click.echo("No witness is required by the policy: the log alone vouches for that tree.")
        return
    ahead = cosigned.ahead(int(clock()))
    click.echo("Witnesses that cosigned that tree, enough for the policy's quorum:")
    for name, time in cosigned.cosigners:
        when = say_time(time) if time else "states no time"
        click.echo(f"  {show(name)}  {when}{'  (in the future)' if (name, time) in ahead else ''}")


def _withholding(
    data: bytes, paths: tuple[Path, ...], folder: Path | None, facts: Facts | None
) -> Withholding | None:
    """What a verified leaf withholds, by the addenda that are given; None if nothing.

    Raises VerificationError or FormatError if an addendum is not one of the leaf's.
    """
    try:
        record = parse_record(data)
    except FormatError:
        if paths:
            raise VerificationError("the leaf is no record, and so names no addendum") from None
        return None
    given = read_addenda(paths, folder, named_digests(record).values())
    return withholding_of(record, disclosed_by(record, given), facts)


def _other_spelling(proof: TlogProof, data: bytes, policy: Policy) -> str | None:
    """Says so when an entry is the right one but for how it is written; None when it is not.

    An editor ends a file with a newline, and a tool that shows JSON indents it. Neither is a change
    of what was logged; a leaf is its exact bytes all the same.
    """
    plain = data.removeprefix(_BOM)
    candidates: list[tuple[str, bytes]] = []
    with suppress(FormatError):  # no JSON, or none that a log takes
        candidates.append(("JSON", canonicalize(plain, "entry", most=MAX_SPELLING)))
    bare = plain.rstrip(b"\r\n")
    candidates += [("text", each) for each in (bare, bare + b"\n", plain.replace(b"\r\n", b"\n"))]
    for what, candidate in candidates:
        with suppress(VerificationError):
            verify_tlog_proof(proof, candidate, policy)
            return (
                f"the file is entry {proof.index} in another form: same {what}, other spelling "
                f"({len(data)} bytes, the leaf has {len(candidate)}). Nothing in it was changed; "
                "take the leaf's exact bytes, as `muniment prove --entry-out` writes them"
            )
    return None
