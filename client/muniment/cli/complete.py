"""``muniment prove-complete``, and what ``muniment verify`` says of its files."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from muniment.cli.common import (
    FILE,
    json_option,
    log_option,
    policy_option,
    read_policy,
    run,
    say_ahead,
)
from muniment.complete.asking import asking
from muniment.complete.keys import Key, key
from muniment.complete.prooffile import (
    CompleteProof,
    VerifiedComplete,
    parse_complete,
    verify_complete,
)
from muniment.complete.wording import members_of, sentence_of
from muniment.errors import FormatError, VerificationError
from muniment.http.logclient import LogClient
from muniment.local.atomicfile import write_atomic
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.policyversion import say_time

_REVOCABLE: Final = {"run": "execution", "decision": "decision", "key": "key", "name": "key_name"}


@click.command("prove-complete")
@log_option
@policy_option
@click.option("--execution", "executions", multiple=True, metavar="RUN", help="All about a run.")
@click.option(
    "--revocations-of",
    "revocations",
    multiple=True,
    metavar="KIND:ID",
    help="All revocations of run:ID, decision:ID, key:REFERENCE, or name:NAME (any key of a name).",
)
@click.option(
    "--thing",
    "things",
    multiple=True,
    metavar="TYPE:ID",
    help="All edges from and to a thing: run:ID, decision:ID, agent:ID, artifact:ID …",
)
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    metavar="TYPE:ID",
    help="All decisions on what a subject asked for.",
)
@click.option(
    "--stream", "streams", multiple=True, metavar="PRODUCER", help="All batches of a producer."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="Name only the first so many leaves of each, and prove how many there are.",
)
@click.option("--records", is_flag=True, help="Take the records along, with their proof.")
@click.option("--out", type=FILE, metavar="FILE.complete", required=True, help="The new proof.")
@json_option
def prove_complete(
    log_url: str,
    policy_path: Path,
    executions: tuple[str, ...],
    revocations: tuple[str, ...],
    things: tuple[str, ...],
    subjects: tuple[str, ...],
    streams: tuple[str, ...],
    limit: int | None,
    out: Path,
    *,
    records: bool,
    as_json: bool,
) -> None:
    """Write the proof that an answer leaves nothing out, which verifies offline.

    The log's index log states a map over all leaves, which its witnesses cosign. Of each thing that
    is asked about, the proof names all leaves there are, of one size of the log. It is verified
    before it is written. Several questions make one file.
    """
    asked = [key("execution", one) for one in executions]
    asked += [_revocations(one) for one in revocations]
    asked += [one for given in things for one in _edges(given)]
    asked += [key("subject", *_pair("--subject", one)) for one in subjects]
    asked += [key("stream", one) for one in streams]
    if not asked:
        raise click.UsageError("say about what: --execution, --revocations-of, --thing …")
    policy = read_policy(policy_path)
    wanted = tuple(dict.fromkeys(asked))
    proof = run(_work(log_url, wanted, limit, records=records))
    verified = verify_complete(proof, policy)
    write_atomic(out, proof.encode(), "proof")
    show_complete(verified, as_json=as_json)


async def _work(
    log_url: str, keys: tuple[Key, ...], limit: int | None, *, records: bool
) -> CompleteProof:
    async with LogClient(log_url) as client:
        return await asking(client)(keys, size=0, records=records, limit=limit)


def verify_file(data: bytes, policy: Policy, *, as_json: bool) -> None:
    """Verifies a completeness proof and says what it states; VerificationError if it fails."""
    try:
        verified = verify_complete(parse_complete(data), policy)
    except (FormatError, VerificationError) as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "reason": str(error)}))
        raise VerificationError(f"not verified: {error}") from None
    show_complete(verified, as_json=as_json)


def show_complete(verified: VerifiedComplete, *, as_json: bool) -> None:
    """Says what a verified completeness proof states."""
    now = int(time.time())
    if as_json:
        click.echo(json.dumps({"verified": True, **members_of(verified, now)}))
        return
    log, index = verified.log, verified.index
    click.echo(
        f"Verified: of the log {log.origin}, as of size {log.size}, {_when(log, now)}, under the "
        f"head of its index log of {_when(index, now)}:"
    )
    for asked, listing in verified.lists.items():
        click.echo(f"  {sentence_of(asked, listing, log.size)}")
    if verified.entries:
        click.echo(f"Leaves that come along, proven to be in that tree: {_names(verified.entries)}")
    for cosigned in (log, index):
        if ahead := cosigned.ahead(now):
            click.echo(say_ahead(ahead), err=True)


def _when(cosigned: CosignedCheckpoint, now: int) -> str:
    seconds = cosigned.time(now)
    return say_time(seconds) if seconds else "a time that no quorum states"


def _names(indices: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(indices)))


def _revocations(given: str) -> Key:
    kind, id_ = _pair("--revocations-of", given)
    if kind not in _REVOCABLE:
        raise click.UsageError(f"--revocations-of: expected {', '.join(_REVOCABLE)} before a colon")
    return key("revocations", _REVOCABLE[kind], id_)


def _edges(given: str) -> tuple[Key, Key]:
    kind, id_ = _pair("--thing", given)
    from_ = key("execution", id_) if kind == "run" else key("from", kind, id_)
    return from_, key("to", kind, id_)


def _pair(option: str, given: str) -> tuple[str, str]:
    kind, colon, id_ = given.partition(":")
    if not (kind and colon and id_):
        raise click.UsageError(f"{option}: expected TYPE:ID, got {given!a}")
    return kind, id_
