"""``muniment tail``."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
import msgspec

from muniment.audit.trust import ProvenMisbehaviour, StaleCheckpoint
from muniment.cli.common import (
    interval_option,
    json_option,
    optional_log,
    optional_policy,
    origin_option,
    read_policy,
    replica_option,
    run,
    until_stopped,
)
from muniment.cli.exits import MISBEHAVIOUR, describe_exits
from muniment.cli.facts import open_replica
from muniment.cli.recordlines import echo_line, record_line, search_of, search_options
from muniment.errors import FormatError, InputError, VerificationError
from muniment.http.logclient import LogClient
from muniment.index.replica import MAX_PAUSE
from muniment.index.search import Search
from muniment.index.tail import LogTail, ReplicaTail
from muniment.local.backoff import Backoff
from muniment.local.outside import Contained
from muniment.local.sqlitefile import DatabaseError
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Record
from muniment.tlog.encoding import printable

if TYPE_CHECKING:
    from muniment.tlog.policy import Policy

_KINDS: Final = [kind.__name__.lower() for kind in get_args(Record)]
_LAST: Final = 10


@click.command(epilog=describe_exits())
@optional_log("The log, with --policy: each checkpoint and each record is verified.")
@optional_policy("The tlog-policy file: which logs and witnesses to believe.")
@replica_option
@origin_option
@click.option(
    "--last",
    type=click.IntRange(min=0, max=1_000_000),
    default=_LAST,
    show_default=True,
    metavar="NUMBER",
    help="Begin with what matches among so many of the newest entries.",
)
@click.option("--kind", "kinds", type=click.Choice(_KINDS), multiple=True, help="Repeatable.")
@search_options
@click.option("--once", is_flag=True, help="End when all that is there was shown.")
@interval_option("How often to look for more.")
@json_option
@click.pass_context
def tail(
    ctx: click.Context,
    /,
    log_url: str | None,
    policy_path: Path | None,
    replica_path: Path | None,
    origin: str | None,
    last: int,
    kinds: tuple[str, ...],
    interval: float,
    *,
    once: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Show records as they come: the newest ones, then each new one, until stopped.

    From a log they are verified by the policy; from a replica they were by its follower. Options
    such as --denied or --subject leave decisions alone that match all of them. Colours are for
    terminals, and for those who have not set NO_COLOR; --json prints the records.
    """
    if (replica_path is None) == (log_url is None) or (log_url is None) != (policy_path is None):
        raise click.UsageError("give either --log with --policy, or --replica")
    policy = None if policy_path is None else read_policy(policy_path)
    show = _Shown(search_of(given), frozenset(kinds), as_json=as_json)
    pause = None if once else interval
    try:
        run(_work(log_url, policy, replica_path, origin, last, pause, show))
    except ProvenMisbehaviour as proof:
        click.echo(f"PROVEN: {proof.misbehaviour.kind}: {proof.misbehaviour.sentence}.", err=True)
        for note in proof.misbehaviour.notes:
            click.echo(note.decode(), err=True)
        ctx.exit(MISBEHAVIOUR)
    except (FormatError, StaleCheckpoint) as error:
        raise VerificationError(str(error)) from None


class _Shown:
    """Prints the leaves that are asked for."""

    def __init__(self, search: Search, kinds: frozenset[str], *, as_json: bool) -> None:
        self._search = search
        self._kinds = kinds
        self._as_json = as_json

    def __call__(self, first: int, leaves: list[bytes]) -> None:
        for index, (data, record) in enumerate(
            zip(leaves, parse_leaves(leaves), strict=True), first
        ):
            if record is not None and self._wants(record):
                if self._as_json:
                    line = {"index": index, "record": msgspec.Raw(data)}
                    click.echo(msgspec.json.encode(line).decode())
                else:
                    echo_line(record_line(index, record))

    def _wants(self, record: Record) -> bool:
        if self._kinds and type(record).__name__.lower() not in self._kinds:
            return False
        return self._search == Search() or self._search.finds(record)


async def _work(
    log_url: str | None,
    policy: "Policy | None",
    replica_path: Path | None,
    origin: str | None,
    last: int,
    interval: float | None,
    show: _Shown,
) -> None:
    async with AsyncExitStack() as stack:
        source: LogTail | ReplicaTail
        if log_url is not None and policy is not None:
            client = await stack.enter_async_context(LogClient(log_url))
            source = LogTail(client, policy, origin, last=last)
        elif replica_path is not None:
            source = ReplicaTail(stack.enter_context(open_replica(replica_path)), last=last)
        else:
            raise AssertionError("checked by the command")
        work = _follow(source, log_url or str(replica_path), interval, show)
        await (work if interval is None else until_stopped(work))


async def _follow(
    source: LogTail | ReplicaTail, whose: str, interval: float | None, show: _Shown
) -> None:
    """Shows what comes; once, if there is no interval."""
    backoff = Backoff(interval or 1.0, MAX_PAUSE)
    told = ""
    while True:
        if interval is None:
            while (news := await source.news()).data:
                show(*news)
            return
        with Contained(whose, (ProvenMisbehaviour, DatabaseError, InputError)) as outcome:
            while (news := await source.news()).data:
                show(*news)
            backoff.reset()
            told = ""
        pause = interval
        if outcome.cause is not None:
            pause = max(interval, backoff.next())
            if outcome.error != told:
                click.echo(f"muniment: {printable(outcome.error)}; trying again", err=True)
                told = outcome.error
        await asyncio.sleep(pause)
