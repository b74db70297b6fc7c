"""``muniment lineage trace`` and ``muniment lineage verify``."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from muniment.cli.common import (
    FILE,
    TIME,
    count,
    file_option,
    gateways_option,
    json_option,
    leeway_option,
    optional_log,
    optional_policy,
    origin_option,
    policy_option,
    read_policy,
    replica_option,
    run,
    tolerance_option,
)
from muniment.cli.disclosing import addendum_options, read_addenda, show_withholding
from muniment.cli.exits import CLEAN, UNVERIFIED, describe_exits
from muniment.cli.facts import open_replica, replica_of
from muniment.complete.asking import asking
from muniment.complete.prooffile import verify_complete
from muniment.complete.tracing import CompleteTrace, trace_complete
from muniment.errors import FormatError, VerificationError
from muniment.http.logclient import LogClient
from muniment.index.proofs import prove_trace
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage import (
    Bundle,
    Format,
    Trace,
    parse_bundle,
    render,
    verify_bundle,
)
from muniment.lineage import trace as traced
from muniment.lineage.bundle import MAX_BUNDLE_SIZE
from muniment.lineage.facts import Facts
from muniment.lineage.jsonform import trace_members
from muniment.lineage.withholding import Withholding, disclosed_by, withholding_of
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.local.vkeyfile import read_vkeys
from muniment.records.addenda import named_digests

if TYPE_CHECKING:
    from muniment.index.reader import IndexReader
    from muniment.tlog.note import VKey
    from muniment.tlog.policy import Policy

at_option = click.option(
    "--at",
    type=TIME,
    metavar="TIME",
    help="Count the revocations in force at this time, instead of now: 2027-01-31T00:00:00Z, or "
    "Unix seconds.",
)

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(("tree", "dot", "mermaid", "json", "prov-json")),
    default="tree",
    show_default=True,
    help="How to show the trace.",
)


@click.group()
def lineage() -> None:
    """Trace who allowed what, through every delegation."""


@lineage.command(epilog=describe_exits())
@click.argument("execution", metavar="RUN")
@replica_option
@optional_log("Without a replica: read and verify the whole log, by --policy.")
@optional_policy("The tlog-policy file: which logs and witnesses to believe.")
@origin_option
@format_option
@click.option(
    "--verify",
    is_flag=True,
    help="Prove every record of the trace against the replica's checkpoint, by --policy.",
)
@file_option(
    "--bundle",
    "bundle_path",
    words="Write one file with the records and their proof, which verifies offline.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="Ask the log for completeness proofs instead of reading all of it, and say of each thing "
    "of the trace that no further edge leads on from it.",
)
@file_option("--proof-out", words="With --complete: write the proof, which muniment verify takes.")
@addendum_options
@click.option(
    "--disclose",
    is_flag=True,
    help="Show withheld members whose addenda the replica has taken along, and put these into the "
    "bundle.",
)
@gateways_option
@at_option
@tolerance_option
@leeway_option
@click.pass_context
def trace(
    ctx: click.Context,
    execution: str,
    replica_path: Path | None,
    log_url: str | None,
    policy_path: Path | None,
    origin: str | None,
    format_: Format,
    bundle_path: Path | None,
    proof_out: Path | None,
    addendum_paths: tuple[Path, ...],
    addenda_folder: Path | None,
    gateways: tuple[str, ...],
    at: int | None,
    tolerance: int,
    leeway: int,
    *,
    complete: bool,
    disclose: bool,
    verify: bool,
) -> None:
    """Walk from a run to the origin of its authorization, and name every break.

    What others say of a run than those whose word counts is shown and decides nothing.

    A bundle takes addenda along that disclose withheld members of its records, when they are given.

    Exit code 0 means continuous: every run on the way was known, allowed when it acted, and is
    unrevoked, and every delegation came from an authorised agent. 4 means that it is not.
    """
    if (replica_path is None) == (log_url is None):
        raise click.UsageError("give either --replica or --log")
    if policy_path is None and (verify or log_url is not None):
        raise click.UsageError("--log and --verify need --policy")
    policy: Any = None if policy_path is None else read_policy(policy_path)
    if complete:
        if replica_path is not None or verify or bundle_path is not None or disclose:
            raise click.UsageError("--complete asks a log: give --log, and what it proves in")
        known = read_vkeys("--gateway", gateways) if gateways else None
        work = _complete(log_url or "", execution, policy, known, at, tolerance, leeway)
        proven = run(work)
        if proof_out is not None:
            write_atomic(proof_out, proven.proof.encode(), "proof")
        _show_complete(proven, format_)
        ctx.exit(CLEAN if proven.trace.continuous else UNVERIFIED)
    if proof_out is not None:
        raise click.UsageError("--proof-out goes with --complete")
    with ExitStack() as stack:
        if replica_path is None:
            replica_path = stack.enter_context(replica_of(log_url or "", policy, origin))
        reader = stack.enter_context(open_replica(replica_path))
        facts = ReplicaFacts(reader)
        named = read_vkeys("--gateway", gateways) if gateways else reader.gateways()
        found = traced(
            execution,
            facts,
            int(time.time()) if at is None else at,
            gateways=named,
            tolerance=tolerance,
            leeway=leeway,
        )
        bundle = None
        held = reader.addenda(_digests(found)).values() if disclose else ()
        shown = [*_disclosed(found, addendum_paths, addenda_folder, facts, held)]
        if verify or bundle_path is not None:
            bundle = _bundle(reader, found, shown)
            if verify:
                _prove(bundle, policy)
    click.echo(render(found, format_), nl=False)
    _show(shown, err=format_ != "tree")
    if verify and bundle is not None:
        words = count(len(bundle.entries), "record is", "records are")
        size = bundle.checkpoint.checkpoint.size
        click.echo(f"Proven: {words} in the cosigned tree of {size} entries.", err=True)
    if bundle_path is not None and bundle is not None:
        write_atomic(bundle_path, bundle.encode(), "bundle")
        click.echo(f"Wrote {bundle_path}.", err=True)
    ctx.exit(CLEAN if found.continuous else UNVERIFIED)


async def _complete(
    log_url: str,
    execution: str,
    policy: "Policy",
    gateways: tuple["VKey", ...] | None,
    at: int | None,
    tolerance: int,
    leeway: int,
) -> CompleteTrace:
    async with LogClient(log_url) as client:
        return await trace_complete(
            execution,
            asking(client),
            lambda proof: verify_complete(proof, policy),
            int(time.time()),
            gateways=gateways,
            tolerance=tolerance,
            leeway=leeway,
            at=at,
        )


def _show_complete(proven: CompleteTrace, format_: Format) -> None:
    """Shows a trace, and what is proven of each thing of it."""
    if format_ == "json":
        onward = [one.members() for one in proven.onward]
        click.echo(json.dumps({**trace_members(proven.trace), "onward": onward}, indent=2))
        return
    click.echo(render(proven.trace, format_), nl=False)
    click.echo("Proven by the log's index log:", err=format_ != "tree")
    for one in proven.onward:
        click.echo(f"  {one.sentence(proven.trace.head.size)}", err=format_ != "tree")


@lineage.command("verify", epilog=describe_exits())
@click.argument("bundle_path", metavar="BUNDLE", type=FILE)
@policy_option
@click.option("--run", "execution", metavar="RUN", help="The run to trace, if not the bundle's.")
@format_option
@addendum_options
@gateways_option
@at_option
@tolerance_option
@leeway_option
@json_option
@click.pass_context
def verify_(
    ctx: click.Context,
    bundle_path: Path,
    policy_path: Path,
    execution: str | None,
    format_: Format,
    addendum_paths: tuple[Path, ...],
    addenda_folder: Path | None,
    gateways: tuple[str, ...],
    at: int | None,
    tolerance: int,
    leeway: int,
    *,
    as_json: bool,
) -> None:
    """Verify a lineage bundle offline, and trace its run once more.

    A bundle proves that its records are in the log. It cannot prove that the log holds no others,
    a later revocation or erasure say: for that, ask a replica. Addenda in it, and those that are
    given, are checked against its records.
    """
    policy = read_policy(policy_path)
    try:
        bundle = parse_bundle(read_bounded(bundle_path, "bundle", most=MAX_BUNDLE_SIZE))
        verified = verify_bundle(bundle, policy)
    except (FormatError, VerificationError) as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "reason": str(error)}))
        raise VerificationError(f"not verified: {error}") from None
    facts = verified.facts
    found = traced(
        execution or verified.execution,
        facts,
        int(time.time()) if at is None else at,
        gateways=read_vkeys("--gateway", gateways) if gateways else None,
        tolerance=tolerance,
        leeway=leeway,
    )
    shown = [*_disclosed(found, addendum_paths, addenda_folder, facts, verified.addenda.values())]
    if as_json:
        members = json.loads(render(found, "json"))
        addenda = {"addenda": [one.members() for one in shown]} if shown else {}
        click.echo(json.dumps({"verified": True, "trace": members, **addenda}))
    else:
        click.echo(render(found, format_), nl=False)
        _show(shown, err=format_ != "tree")
        click.echo(
            f"Proven: {count(len(bundle.entries), 'record is', 'records are')} in the cosigned "
            f"tree of {verified.cosigned.size} entries of {verified.cosigned.origin}.",
            err=True,
        )
    ctx.exit(CLEAN if found.continuous else UNVERIFIED)


class _Shown(NamedTuple):
    """What a record of a trace withholds, and the addenda that disclose some of it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    withholding: Withholding
    addenda: list[bytes]

    def members(self) -> dict[str, Any]:
        return {"index": self.index, **self.withholding.members()}


def _disclosed(
    found: Trace,
    paths: tuple[Path, ...],
    folder: Path | None,
    facts: Facts,
    held: Iterable[bytes] = (),
) -> Iterator[_Shown]:
    """What each record of a trace withholds, by the addenda that are given.

    Raises VerificationError if one is of none of the records.
    """
    digests = _digests(found)
    given = {sha256(one).hexdigest(): one for one in (*held, *read_addenda(paths, folder, digests))}
    if strange := given.keys() - digests:
        raise VerificationError(f"not verified: no record of the trace names {min(strange)}")
    for index, record in found.records.items():
        own = [given[one] for one in named_digests(record).values() if one in given]
        try:
            disclosed = disclosed_by(record, own)
        except FormatError as error:
            raise VerificationError(f"not verified: {error}") from None
        withholding = withholding_of(record, disclosed, facts)
        if withholding is not None:
            yield _Shown(index, withholding, own)


def _digests(found: Trace) -> set[str]:
    """The addenda that the records of a trace name."""
    records = found.records.values()
    return {digest for record in records for digest in named_digests(record).values()}


def _show(shown: Iterable[_Shown], *, err: bool) -> None:
    for one in shown:
        click.echo(f"Entry {one.index} withholds members:", err=err)
        show_withholding(one.withholding, err=err)


def _bundle(reader: "IndexReader", found: Trace, shown: Iterable[_Shown]) -> Bundle:
    """The bundle of a trace, with the erasures of what its records withhold."""
    erasures = {index for one in shown for _, index in one.withholding.erased}
    addenda = [addendum for one in shown for addendum in one.addenda]
    return prove_trace(reader, found, erasures, addenda)


def _prove(bundle: Bundle, policy: "Policy") -> None:
    try:
        verify_bundle(bundle, policy)
    except FormatError as error:
        raise VerificationError(str(error)) from None
