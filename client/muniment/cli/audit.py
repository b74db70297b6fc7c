"""``muniment audit``."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import click

from muniment.audit.asking import describe
from muniment.audit.auditor import OUTCOME_AGE, AuditOptions, AuditOutcome, audit_log
from muniment.audit.evidence import prove
from muniment.audit.report import Report, Verdict
from muniment.audit.statefile import load_state, save_state
from muniment.cli.common import (
    DURATION,
    count,
    file_option,
    gateway_option,
    json_option,
    log_option,
    old_vkey_option,
    origin_option,
    policy_option,
    progress,
    read_old_vkeys,
    read_policy,
    run,
    say_ahead,
    vkeys_option,
)
from muniment.cli.exits import CLEAN, MISBEHAVIOUR, UNVERIFIED, describe_exits
from muniment.errors import FormatError, InputError
from muniment.http.client import load_http
from muniment.http.logclient import LogClient
from muniment.local.atomicfile import write_atomic
from muniment.local.forkpool import ForkServer, fork_server
from muniment.local.vkeyfile import read_vkeys
from muniment.tlog.evidence import Proven
from muniment.tlog.policyversion import say_time

WARNINGS_SHOWN = 20
"""Warnings in plain text; the JSON report has up to a thousand."""

_MORE = "  … --json has more of them."


@click.command(epilog=describe_exits())
@log_option
@policy_option
@file_option(
    "--state",
    "state_path",
    words="What was audited last time; read, and replaced when all is well. Without it every audit "
    "begins at the first leaf and believes the log's checkpoint on first use.",
)
@gateway_option("A gateway's vkey, or a file with one a line: verify the manifests it signed.")
@click.option(
    "--tree",
    "tree_only",
    is_flag=True,
    help="Check the tree alone, and not what the leaves are: for any log of tiles, also one that "
    "is not Muniment's.",
)
@click.option(
    "--addenda",
    "addenda",
    is_flag=True,
    help="Ask the log for each addendum that the records name, and check its digest and form. The "
    "read token needs the scope addenda, unless the log gives them to everybody.",
)
@click.option(
    "--index",
    "with_index",
    is_flag=True,
    help="Compute the map of all leaves, and compare with it what the log's index says; begins at "
    "the first leaf each time, half a million leaves a minute.",
)
@vkeys_option(
    "--approver",
    "approvers",
    words="A person whose approvals count: all approvals are verified then.",
)
@click.option(
    "--outcome-age",
    type=DURATION,
    default=OUTCOME_AGE,
    show_default=True,
    metavar="SECONDS",
    help="From which age on a decision that promised an outcome, and has none, is counted.",
)
@old_vkey_option
@origin_option
@click.option(
    "--max-age",
    type=DURATION,
    metavar="SECONDS",
    help="Object to a checkpoint when the time for which a quorum of witnesses vouches is older.",
)
@file_option(
    "--evidence",
    "evidence_path",
    words="Where to write the evidence if the log signed two histories; STATE.evidence, beside the "
    "state, if there is one.",
)
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    log_url: str,
    policy_path: Path,
    state_path: Path | None,
    gateways: tuple[str, ...],
    approvers: tuple[str, ...],
    outcome_age: int,
    old_vkeys: tuple[str, ...],
    origin: str | None,
    max_age: int | None,
    evidence_path: Path | None,
    *,
    tree_only: bool,
    addenda: bool,
    with_index: bool,
    as_json: bool,
) -> None:
    """Check a log from its checkpoint down to every leaf.

    Verifies the checkpoint by the policy and against the last audit; rereads and rehashes every
    entry since then; checks every record, manifest and stream; compares every hash tile; and
    recomputes the root. A finding keeps the state where it was, so the next audit reports it again.

    Warnings are about what gateways have logged: ids used again for other content, edges that lead
    nowhere, ahead or in circles, runs without an allowing decision, times that cannot be meant
    (seconds for milliseconds, say). They do not change the exit code. An audit that goes on from a
    state warns only of what the new part shows by itself.

    Governed calls and gates promise the outcome of what they let run. Decisions that are older than
    --outcome-age and have none are counted, with their entries: nobody says what became of them.
    Approvals that were used twice, outside their time, of another call, before they were logged, or
    by who asked are warnings; with --approver also those by anybody else.

    Members that decisions withhold are counted, and which of them a record erases. With --addenda
    the log is asked for the others: one that it said it keeps, does not have any more, and of which
    no record says that it was erased is a finding (missing-addendum), and so is one that it gives
    out after its erasure (served-after-erasure), or with other bytes (bad-addendum). An audit that
    goes on from a state asks for those that the new part names; leave --state away to ask for all.

    With --index, a leaf of the index log with another map root than that of the leaves is proven
    misbehaviour (wrong-index), with evidence for whoever has the leaves.

    A log with leaves of others, which are neither records nor manifests, is said to be one, and
    accused of nothing; that is exit code 4, as it does not promise what a log of Muniment does. Its
    tree is checked all the same; with --tree nothing else is.
    """
    if with_index and tree_only:
        raise click.UsageError("--index is about what the leaves are, --tree does not look at it")
    if addenda and tree_only:
        raise click.UsageError("--addenda is about what the leaves are, --tree does not look at it")
    policy = read_policy(policy_path)
    options = AuditOptions(
        policy=policy,
        origin=origin,
        gateways=read_vkeys("--gateway", gateways),
        max_age=max_age,
        old_vkeys=read_old_vkeys(old_vkeys, policy),
        tree_only=tree_only,
        addenda=addenda,
        approvers=read_vkeys("--approver", approvers),
        outcome_age=outcome_age,
    )
    try:
        state = None if state_path is None else load_state(state_path)
    except FormatError as error:
        raise InputError(f"{state_path}: {error}") from None

    async def work(server: ForkServer | None) -> tuple[AuditOutcome, Proven | None]:
        async with LogClient(log_url) as client:
            with progress("Auditing") as show:
                made = await audit_log(
                    client, options, state, now=int(time.time()), progress=show, server=server
                )
            if not with_index or made.report.verdict is not Verdict.CLEAN:
                return made, None
            from muniment.audit.indexed import audit_index  # noqa: PLC0415  # all that maps take

            async with LogClient(f"{log_url.rstrip('/')}/index") as index:
                return made, await audit_index(client, index, policy, made.report)

    load_http()  # once for all processes
    with fork_server() as server:
        outcome, wrong_index = run(work(server))
    if state_path is not None and outcome.state is not None and outcome.state != state:
        save_state(state_path, outcome.state)
    if evidence_path is None and state_path is not None:
        evidence_path = state_path.with_name(state_path.name + ".evidence")
    written = _write_evidence(outcome, options, evidence_path, wrong_index)
    if as_json:
        where = {"evidence_file": str(evidence_path)} if written else {}
        click.echo(json.dumps({**outcome.report.as_json(), **where}))
    else:
        _print(outcome, state_path, evidence_path if written else None)
    codes = {
        Verdict.CLEAN: CLEAN,
        Verdict.UNVERIFIED: UNVERIFIED,
        Verdict.MISBEHAVIOUR: MISBEHAVIOUR,
    }
    ctx.exit(codes[outcome.report.verdict])


def _outcomes(report: Report) -> str:
    """How many runs were let begin of which nobody has told what became."""
    said = (
        f"Outcomes: {count(report.promised, 'decision')} promised one; {report.unended} that are "
        f"older than {report.outcome_age} s have none"
    )
    if report.unended:
        shown = ", ".join(map(str, report.unended_entries[:WARNINGS_SHOWN]))
        more = ", …" if report.unended > WARNINGS_SHOWN else ""
        said += f" (entries {shown}{more})"
    return f"{said}." if report.are_relations_whole else f"{said}, in the new part only."


def _write_evidence(
    outcome: AuditOutcome, options: AuditOptions, path: Path | None, proven: Proven | None
) -> bool:
    """Writes the proof of what the log signed, when there is one and a place for it."""
    if path is None:
        return False
    if proven is not None:
        write_atomic(path, proven.evidence.encode(), "evidence")
        return True
    if outcome.report.misbehaviour is None:
        return False
    proven = prove(outcome.report.misbehaviour, options.policy, options.old_vkeys)
    write_atomic(path, proven.evidence.encode(), "evidence")
    return True


def _print(outcome: AuditOutcome, state_path: Path | None, evidence_path: Path | None) -> None:
    report = outcome.report
    for part in (_on_head(report, state_path), _on_leaves(report), _on_records(report)):
        for sentence in part:
            click.echo(sentence)
    for finding in report.findings:
        where = "" if finding.index is None else f" at entry {finding.index}"
        weight = "PROVEN" if report.is_proven(finding) else "not verified"
        click.echo(f"{weight}: {finding.kind}{where}: {finding.sentence}")
    if report.omitted:
        click.echo(f"… and {report.omitted} more findings.")
    if report.misbehaviour is not None:
        click.echo("The proof (--json prints it for machines):")
        for note in report.misbehaviour.notes:
            click.echo(note.decode())
    if evidence_path is not None:
        click.echo(f"Evidence that anyone can verify with the log's vkey: {evidence_path}")
    click.echo(f"Verdict: {report.verdict.value}.")


def _on_head(report: Report, state_path: Path | None) -> Iterator[str]:
    """What was audited, by whose word, and what it was compared with."""
    if report.origin and report.root:
        yield f"Log {report.origin}: a tree of {count(report.size, 'entry', 'entries')}."
    if report.cosigners:
        when = f", as of {say_time(report.time)}" if report.time else ""
        yield f"Cosigned by a quorum ({count(len(report.cosigners), 'cosignature')}{when})."
    if report.ahead:
        yield f"Warning: {say_ahead(report.ahead)}."
    if report.is_first_use and report.root:
        at = "" if state_path is None else f" There was no state {state_path}."
        yield f"First audit: the checkpoint was trusted on first use.{at}"
    elif report.since:
        yield f"Goes on from {report.since} entries audited before."


def _on_leaves(report: Report) -> Iterator[str]:
    """What was read and rehashed, and what became of withheld members."""
    if report.is_tree_verified and report.is_tree_only:
        yield (
            f"Rehashed {count(report.entries, 'leaf', 'leaves')}, whatever they are. Compared "
            f"{count(report.tiles, 'hash tile')}. The root is the checkpoint's."
        )
    elif report.is_tree_verified:
        yield (
            f"Rehashed {count(report.entries, 'entry', 'entries')}: "
            f"{count(report.records, 'record')} and {count(report.manifests, 'manifest')} on "
            f"{count(report.streams, 'stream')}. Compared {count(report.tiles, 'hash tile')}. "
            "The root is the checkpoint's."
        )
        yield f"Verified {count(report.signatures, 'manifest signature')}."
    yield from describe(report.addenda)
    for entry, by in report.addenda.erasures[:WARNINGS_SHOWN]:
        whose = f"entry {entry}" if entry >= 0 else "an entry audited before"
        yield f"  A member of {whose}: erased by entry {by}."
    if report.addenda.erased > WARNINGS_SHOWN:
        yield _MORE
    if report.unknown_signers:
        names = ", ".join(sorted(report.unknown_signers))
        yield f"Not verified, for lack of their vkeys (--gateway): manifests by {names}."


def _on_records(report: Report) -> Iterator[str]:
    """Whether the records fit together, and what gateways should not have logged."""
    if report.is_tree_verified and report.entries and not report.is_tree_only:
        yield (
            f"Followed {count(report.edges, 'lineage edge')} of {count(report.runs, 'run')}"
            + ("." if report.are_relations_whole else ", in the new part only.")
        )
    if report.promised:
        yield _outcomes(report)
    if report.approved:
        checked = "verified" if report.knows_approvers else "not verified, for lack of --approver"
        yield f"Approved by people: {count(report.approved, 'decision')}; {checked}."
    if report.indexed is not None:
        yield (
            "Computed the map of all leaves, and compared "
            f"{count(report.indexed, 'leaf', 'leaves')} of the index log."
        )
    for kind, number in sorted(report.warned.items()):
        yield f"Warning, about what gateways have logged: {kind}, {count(number, 'time')}."
    for warning in report.warnings[:WARNINGS_SHOWN]:
        yield f"  {warning.kind}: {warning.sentence}."
    if len(report.warnings) > WARNINGS_SHOWN:
        yield _MORE
    if report.edges and not report.are_cycles_checked:
        yield "Not checked: cycles of lineage; there are too many edges."
