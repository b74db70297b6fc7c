"""``muniment permit verify``."""

import json
import time
from dataclasses import replace
from pathlib import Path

import click

from muniment.cli.common import (
    DURATION,
    FILE,
    file_option,
    gateway_option,
    gateways_option,
    json_option,
    leeway_option,
    log_option,
    policy_option,
    read_policy,
    run,
    say_ahead,
    tolerance_option,
    vkeys_option,
)
from muniment.cli.disclosing import addendum_options, read_addenda, show_withholding
from muniment.cli.exits import CLEAN, UNVERIFIED, describe_exits
from muniment.cli.facts import open_facts
from muniment.complete.prooffile import verify_complete
from muniment.errors import FormatError, InputError, VerificationError
from muniment.http.logclient import LogClient
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.local.vkeyfile import read_vkeys
from muniment.permit import (
    CODES,
    MAX_PERMIT_SIZE,
    Permit,
    Trust,
    Verdict,
    parse_permit,
    verify_permit_bytes,
)
from muniment.permit.contextfile import MAX_CONTEXT_SIZE, parse_context
from muniment.permit.permitfile import WITH_STATUS
from muniment.permit.status import refresh_status
from muniment.tlog.policyversion import say_time


@click.group()
def permit() -> None:
    """Verify permits: logged decisions with their proofs."""


@permit.command(epilog=describe_exits())
@click.argument("permit_path", metavar="FILE.permit", type=FILE)
@policy_option
@file_option(
    "--context",
    "context_path",
    words="What the runtime knows and wants, as a JSON object.",
    required=True,
)
@file_option(
    "--replica",
    "replica_path",
    words="The verified replica (muniment follow) that says what is revoked, and the lineage. "
    "Without it, the permit's own status says so; one that has none is denied, unless "
    "--without-facts.",
)
@click.option(
    "--without-facts",
    is_flag=True,
    help="Judge the permit alone: no revocation and no lineage is looked up.",
)
@vkeys_option(
    "--authority", "authorities", words="An authority whose signature the decision needs."
)
@vkeys_option(
    "--approver",
    "approvers",
    words="A person whose approval counts, where a decision rests on one.",
)
@click.option(
    "--approvals",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    metavar="N",
    help="How many different people must have approved, where a decision rests on approvals.",
)
@click.option(
    "--require-approval", is_flag=True, help="Take only decisions that an approver has approved."
)
@addendum_options
@gateways_option
@tolerance_option
@leeway_option
@click.option(
    "--allow-unbound", is_flag=True, help="Take decisions that do not name the runtime, too."
)
@click.option("--allow-any-policy", is_flag=True, help="Take decisions of any policy.")
@click.option(
    "--max-age",
    type=DURATION,
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Oldest state of the replica, or of the log that the permit's status is about.",
)
@click.option(
    "--max-index-age",
    type=DURATION,
    metavar="SECONDS",
    help="Oldest proof in the permit's status that tells of revocations.",
)
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    permit_path: Path,
    policy_path: Path,
    context_path: Path,
    replica_path: Path | None,
    authorities: tuple[str, ...],
    approvers: tuple[str, ...],
    approvals: int,
    addendum_paths: tuple[Path, ...],
    addenda_folder: Path | None,
    gateways: tuple[str, ...],
    max_age: int,
    max_index_age: int | None,
    tolerance: int,
    leeway: int,
    *,
    require_approval: bool,
    without_facts: bool,
    allow_unbound: bool,
    allow_any_policy: bool,
    as_json: bool,
) -> None:
    """Say whether a runtime may do what it wants to do, and every reason why not.

    The context has the members action and resource {type, id}, and as far as the runtime knows
    them: now (Unix seconds; else this clock), subject {type, id}, execution, parent, spiffe_id,
    arguments (of the call, any JSON: the permit has to disclose those that were decided on),
    thumbprint, measurements {name: digest}, policy {id, revision, digest}, governance {name: text}.

    Nothing is fetched. Exit code 0 is a permit, 4 a denial.
    """
    data = read_bounded(permit_path, "permit", most=MAX_PERMIT_SIZE)
    has_status = data.startswith(WITH_STATUS.encode())
    if (replica_path is not None and without_facts) or not (
        replica_path is not None or without_facts or has_status
    ):
        raise click.UsageError(
            "give either --replica or --without-facts; neither for a permit with a status"
        )
    data = _with_addenda(data, addendum_paths, addenda_folder)
    named = read_vkeys("--gateway", gateways) if gateways else None
    policy = read_policy(policy_path)
    with open_facts(replica_path, policy) as facts:
        try:
            trust = Trust(
                policy=policy,
                authorities=read_vkeys("--authority", authorities),
                approvers=read_vkeys("--approver", approvers),
                approvals=approvals,
                require_approval=require_approval,
                gateways=named if named is not None or facts is None else facts.gateways,
                max_facts_age=max_age,
                max_index_age=max_index_age,
                require_facts=not without_facts,
                require_binding=not allow_unbound,
                require_policy=not allow_any_policy,
                clock_tolerance=tolerance,
                not_before_leeway=leeway,
            )
        except ValueError as error:
            option = "--approver" if str(error).startswith("approvers") else "--authority"
            raise InputError(f"{option}: {error}") from None
        try:
            context = parse_context(
                read_bounded(context_path, "context", most=MAX_CONTEXT_SIZE),
                now=int(time.time()),
                facts=facts,
            )
        except FormatError as error:
            raise InputError(f"{context_path}: {error}") from None
        verdict = verify_permit_bytes(data, context, trust)
    if as_json:
        click.echo(json.dumps(verdict.members()))
    else:
        _print(verdict)
    ctx.exit(CLEAN if verdict.permitted else UNVERIFIED)


@permit.command(epilog=describe_exits())
@click.argument("permit_path", metavar="FILE.permit", type=FILE)
@log_option
@policy_option
@gateway_option("A gateway whose word counts for who will judge the permit.")
@click.option(
    "--only-revocations",
    is_flag=True,
    help="Ask anew for what is revoked alone, which is less; the lineage stays as it was proven.",
)
@file_option("--out", words="Write here, instead of in FILE's place.")
@json_option
def refresh(
    permit_path: Path,
    log_url: str,
    policy_path: Path,
    gateways: tuple[str, ...],
    out: Path | None,
    *,
    only_revocations: bool,
    as_json: bool,
) -> None:
    """Give a permit its status, or a newer one: what the log has on it, proven to be all.

    A permit with a status is judged without a replica. A newer one takes one small request, as long
    as nothing was logged on its lineage since. Everything is verified before it is written; what it
    says, revocations too, `muniment permit verify` judges.
    """
    data = read_bounded(permit_path, "permit", most=MAX_PERMIT_SIZE)
    try:
        old = parse_permit(data)
    except FormatError as error:
        raise InputError(f"{permit_path}: {error}") from None
    named = read_vkeys("--gateway", gateways) if gateways else None
    trust = Trust(policy=read_policy(policy_path), gateways=named)
    now = int(time.time())
    new = run(_refresh(old, log_url, trust, now, only_revocations=only_revocations))
    write_atomic(out or permit_path, new.encode(), "permit")
    head = verify_complete(new.status[-1], trust.policy).log
    if as_json:
        said = {"origin": head.origin, "size": head.size, "time": head.time(now)}
        click.echo(json.dumps({"index": new.index, **said, "keys": len(new.status[-1].keys)}))
    else:
        click.echo(
            f"The permit of leaf {new.index} has a status as of size {head.size} of {head.origin}, "
            f"{say_time(head.time(now))}: {out or permit_path}"
        )


async def _refresh(
    permit: Permit, log_url: str, trust: Trust, now: int, *, only_revocations: bool
) -> Permit:
    async with LogClient(log_url) as client:
        return await refresh_status(
            permit, client, trust, now=now, only_revocations=only_revocations
        )


def _with_addenda(data: bytes, paths: tuple[Path, ...], folder: Path | None) -> bytes:
    """The permit with further addenda of its record; what is no permit stays as it is."""
    if not paths and folder is None:
        return data
    try:
        permit = parse_permit(data)
    except FormatError:
        return data
    named = {} if permit.decision is None else permit.decision.addenda or {}
    given = read_addenda(paths, folder, named.values())
    try:
        return replace(permit, addenda=(*permit.addenda, *given)).encode()
    except FormatError as error:
        raise VerificationError(f"not verified: {error}") from None


def _print(verdict: Verdict) -> None:
    if verdict.index is not None:
        click.echo(f"The decision is leaf {verdict.index} of a tree that the quorum cosigned.")
    if verdict.head is not None:
        head = verdict.head
        click.echo(
            f"Judged on the first {head.size} leaves of {head.origin}, as of {say_time(head.time)}."
        )
    if verdict.ahead:
        click.echo(f"Warning: {say_ahead(verdict.ahead)}.")
    if verdict.withholding is not None:
        show_withholding(verdict.withholding)
    for code in CODES:
        found = [finding for finding in verdict.findings if finding.code == code]
        click.echo(f"  {'FAIL' if found else 'ok  '}  {code}")
        for finding in found:
            click.echo(f"          {finding.sentence}")
    click.echo("PERMITTED." if verdict.permitted else f"DENIED: {', '.join(verdict.codes)}.")
