"""Records as lines of a terminal, and the options by which decisions are looked for."""

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args

import click

from muniment.cli.common import TIME
from muniment.index.search import Search, parse_digest, parse_entity, parse_trace
from muniment.lineage.escape import terminal
from muniment.records.kinds import (
    Approval,
    Decision,
    Denial,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    Verification,
)
from muniment.records.members import DenialCode
from muniment.tlog.encoding import FormatError
from muniment.tlog.policyversion import say_time

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_COLOURS: Final = {
    "allow": "green",
    "deny": "red",
    "completed": "green",
    "failed": "red",
    "aborted": "yellow",
    "revocation": "yellow",
    "approved": "green",
    "declined": "red",
}
_OPTIONS: Final = (
    click.option("--subject", metavar="TYPE:ID", help="Who asked, as agent:planner."),
    click.option("--resource", metavar="TYPE:ID", help="To what, as tool:crm.search."),
    click.option("--action", metavar="NAME", help="What they wanted to do."),
    click.option("--producer", metavar="NAME", help="Who logged it: a gateway's key name."),
    click.option("--id", "id_", metavar="ID", help="The decision of this id."),
    click.option("--run", "run_id", metavar="ID", help="Decisions on this run."),
    click.option("--code", type=click.Choice(get_args(DenialCode)), help="A code of its denial."),
    click.option("--policy-id", metavar="ID", help="The policy by which it was decided."),
    click.option("--policy-revision", metavar="REVISION", help="That policy's revision."),
    click.option("--policy-digest", metavar="DIGEST", help="That policy's digest, sha256:…"),
    click.option("--authority", metavar="NAME", help="On whose authority it was decided."),
    click.option(
        "--addendum",
        metavar="SHA256",
        help="Names this digest of a withheld member: the call's arguments, as a rule.",
    ),
    click.option("--trace", metavar="TRACE", help="A trace id, or a traceparent."),
    click.option("--allowed/--denied", default=None, help="The answer."),
    click.option(
        "--since",
        type=TIME,
        metavar="TIME",
        help="Made then or later: 2027-01-31T00:00:00Z, or Unix seconds; by the producer's clock.",
    ),
    click.option("--until", type=TIME, metavar="TIME", help="Made before."),
)


def search_options(command: F) -> F:
    """Adds the options of `search_of` to a command, which takes them as ``**found``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def search_of(given: dict[str, Any]) -> Search:
    """What `search_options` asks for."""
    since, until = given["since"], given["until"]
    return Search(
        subject=_read("--subject", given["subject"], parse_entity),
        resource=_read("--resource", given["resource"], parse_entity),
        since=None if since is None else since * 1000,
        until=None if until is None else until * 1000,
        id=given["id_"],
        run=given["run_id"],
        action=given["action"],
        producer=given["producer"],
        allowed=given["allowed"],
        code=given["code"],
        policy=given["policy_id"],
        trace=_read("--trace", given["trace"], parse_trace),
        revision=given["policy_revision"],
        digest=given["policy_digest"],
        authority=given["authority"],
        addendum=_read("--addendum", given["addendum"], parse_digest),
    )


def _read(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    if text is None:
        return None
    try:
        return parse(text)
    except FormatError as error:
        raise click.UsageError(f"{option}: {error}") from None


def echo_line(line: str) -> None:
    """Prints a line, in colour on a terminal whose user has not set NO_COLOR (no-color.org)."""
    click.echo(line, color=False if os.environ.get("NO_COLOR") else None)


def record_line(index: int, record: Record) -> str:
    """A record in one line; what strangers chose is escaped, what matters most is in colour."""
    word, rest = _words(record)
    styled = click.style(word, fg=_COLOURS[word]) if word in _COLOURS else word
    when = say_time(record.time // 1000)
    return f"#{index}  {when}  {terminal(record.producer)}: {styled} {terminal(rest)}"


def _codes(denial: Denial | None) -> str:
    """Why not: a policy's no, and one for want of a log or an engine, look alike without it."""
    return f" ({', '.join(denial.codes)})" if denial is not None else ""


def _words(record: Record) -> tuple[str, str]:
    match record:
        case Decision():
            subject, resource = record.subject, record.resource
            asked = (subject.type, subject.id, record.action, resource.type, resource.id)
            # A reduced refusal of what could not be read has none of these.
            what = " ".join(filter(None, asked)) or "what cannot be read"
            run = f", run {record.execution}" if record.execution is not None else ""
            return "allow" if record.allowed else "deny", f"{what}{run}{_codes(record.denial)}"
        case Outcome():
            return record.status, f"run {record.execution}{_codes(record.denial)}"
        case Edge():
            from_, to = record.from_, record.to
            return "edge", f"{from_.type} {from_.id} {record.relation} {to.type} {to.id}"
        case Verification():
            return "verification", f"{record.state}, run {record.execution}"
        case Revocation():
            target = record.target
            of = target.decision or target.execution or target.key or ""
            return "revocation", f"of {of}: {record.reason}"
        case Erasure():
            return "erasure", f"of {len(record.digests)} addenda, by {record.by}"
        case Approval():
            said = record.approval
            word = "approved" if said.decision else "declined"
            return word, f"by {said.approver}, request {said.request}"
