"""``muniment evidence verify`` and ``muniment evidence explain``."""

import json
from pathlib import Path
from typing import Any

import click

from muniment.cli.common import (
    FILE,
    file_option,
    json_option,
    old_vkey_option,
    optional_policy,
    policy_option,
    read_old_vkeys,
    read_policy,
    run,
)
from muniment.cli.exits import MISBEHAVIOUR, describe_exits
from muniment.errors import FormatError, InputError, VerificationError
from muniment.index.computed import map_root
from muniment.local.atomicfile import read_bounded
from muniment.records.touched import MAP_VERSION
from muniment.tlog.encoding import format_base64
from muniment.tlog.evidence import (
    MAX_EVIDENCE_SIZE,
    SENTENCES,
    Evidence,
    Proven,
    WrongMapRoot,
    describe,
    log_verifiers,
    parse_evidence,
    verify_evidence,
)
from muniment.tlog.evidence import explain as say
from muniment.tlog.policy import Policy, PolicyChain
from muniment.tlog.policyversion import say_time

_leaves_option = file_option(
    "--replica",
    "replica_path",
    words="A replica with the log's leaves, as muniment follow keeps it: evidence of the kind "
    "index is only verified by them.",
)


@click.group()
def evidence() -> None:
    """Verify and explain evidence that a log signed what cannot be true."""


@evidence.command(epilog=describe_exits())
@click.argument("evidence_path", metavar="FILE", type=FILE)
@policy_option
@old_vkey_option
@_leaves_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    evidence_path: Path,
    policy_path: Path,
    old_vkeys: tuple[str, ...],
    replica_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Verify evidence offline, with the log's keys of a policy.

    Nothing is fetched. Evidence that an index is wrong takes the leaves of the log as well: a
    replica with them (--replica). Ends with exit code 5 when the evidence holds, so that nothing
    can go on as if it had found nothing, and with 4 when it does not: then it proves nothing about
    the log.
    """
    claim = _read(evidence_path)
    try:
        proven = _verify(claim, policy_path, old_vkeys, replica_path)
    except VerificationError as error:
        if as_json:
            click.echo(json.dumps({**_json(claim), "verified": False, "reason": str(error)}))
        raise VerificationError(f"not verified, and so proves nothing: {error}") from None
    if as_json:
        click.echo(json.dumps(_json(claim, proven)))
    else:
        click.echo(f"Proven: {SENTENCES[claim.kind]}.")
        _print(claim, proven)
    ctx.exit(MISBEHAVIOUR)


@evidence.command(epilog=describe_exits())
@click.argument("evidence_path", metavar="FILE", type=FILE)
@optional_policy("Verify it too, with the log's keys of this policy, and say who signed.")
@old_vkey_option
@_leaves_option
@json_option
@click.pass_context
def explain(
    ctx: click.Context,
    evidence_path: Path,
    policy_path: Path | None,
    old_vkeys: tuple[str, ...],
    replica_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say in plain words what evidence is about.

    Without a policy nothing is verified, and the words are the file's claims only.
    """
    claim = _read(evidence_path)
    proven = None if policy_path is None else _verify(claim, policy_path, old_vkeys, replica_path)
    if as_json:
        click.echo(json.dumps(_json(claim, proven)))
    elif proven is None:
        click.echo("Not verified (that takes --policy). The file claims:")
        _print(claim, None)
    else:
        click.echo("Verified with the keys of the policy.")
        _print(claim, proven)
    if proven is not None:
        ctx.exit(MISBEHAVIOUR)


def _read(path: Path) -> Evidence:
    try:
        return parse_evidence(read_bounded(path, "evidence", most=MAX_EVIDENCE_SIZE))
    except FormatError as error:
        raise InputError(f"{path}: {error}") from None


def _verify(
    claim: Evidence, policy_path: Path, old_vkeys: tuple[str, ...], replica: Path | None
) -> Proven:
    policy = read_policy(policy_path)
    old = read_old_vkeys(old_vkeys, policy)
    computed = None
    if isinstance(claim, WrongMapRoot):
        about = claim.leaf
        if not policy.log_keys(claim.origin):
            policy = policy.of_index_log(about.origin, about.version)
        if about.version != MAP_VERSION:
            raise InputError(f"the map {about.version} cannot be computed by this program")
        if replica is not None:
            computed = run(map_root(replica, about.origin, about.head))
    verifiers = log_verifiers(policy, old, origin=claim.origin)
    proven = verify_evidence(claim, verifiers, origin=claim.origin, computed=computed)
    _say_revoked(proven, policy)
    return proven


def _say_revoked(proven: Proven, policy: Policy) -> None:
    """Says on stderr of which keys that signed a policy over time says that others may have them.

    It proves as much: who has two histories cannot take them back by giving up the key.
    """
    if not isinstance(policy, PolicyChain):
        return
    for vkey in dict.fromkeys(one.vkey for signed in proven.signatures for one in signed):
        if (listed := policy.revoked.get(vkey.public)) is not None:
            click.echo(
                f"The policy lists the key {vkey.name}+{vkey.key_id:08x} as {listed.word} since "
                f"{say_time(listed.since)}: others than the log may have signed with it.",
                err=True,
            )


def _print(claim: Evidence, proven: Proven | None) -> None:
    for line in describe(claim) if proven is None else say(proven):
        click.echo(line)
    click.echo(f"SHA-256 of the file: {claim.hash.hex()}")


def _json(claim: Evidence, proven: Proven | None = None) -> dict[str, Any]:
    signed = [] if proven is None else proven.signatures
    return {
        "verified": proven is not None,
        "kind": claim.kind,
        "origin": claim.origin,
        "sentence": SENTENCES[claim.kind],
        "explanation": describe(claim) if proven is None else say(proven),
        "checkpoints": [
            {
                "size": head.size,
                "root": format_base64(head.root),
                "signed_by": [str(verified.vkey) for verified in signed[number]] if signed else [],
            }
            for number, head in enumerate(claim.heads)
        ],
        "sha256": claim.hash.hex(),
        "contradiction": claim.contradiction.hex(),
    }
