"""``muniment report``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from muniment.audit.trust import ProvenMisbehaviour, StaleCheckpoint
from muniment.cli.common import (
    FILE,
    TIME,
    gateways_option,
    old_vkey_option,
    optional_log,
    origin_option,
    policy_option,
    progress,
    read_old_vkeys,
    read_policy,
    replica_option,
    run,
    vkeys_option,
)
from muniment.cli.exits import describe_exits
from muniment.cli.facts import open_replica, replica_of
from muniment.errors import FormatError, InputError, VerificationError
from muniment.index.reader import IndexReader
from muniment.index.replica import Watched, follow_once
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.local.vkeyfile import read_vkeys
from muniment.records.kinds import Entity
from muniment.report.build import basis_of, build_report
from muniment.report.checking import check_report
from muniment.report.forms import form_of
from muniment.report.reading import Keys
from muniment.report.scope import SILENCE, ReportScope, scope_of
from muniment.report.seed import MAX_REPORT

_BAR_FROM: Final = 10_000  # leaves; what is there in a moment needs no progress bar


@click.command(epilog=describe_exits())
@optional_log("The log: its replica is made, or brought up to date, first.")
@policy_option
@replica_option
@old_vkey_option
@origin_option
@click.option("--from", "start", type=TIME, metavar="TIME", help="Of records made then or later.")
@click.option("--to", "end", type=TIME, metavar="TIME", help="Of records made before.")
@click.option(
    "--subject",
    "subjects",
    nargs=2,
    multiple=True,
    metavar="TYPE ID",
    help="Decisions on this subject alone, as agent planner. Repeatable.",
)
@click.option(
    "--silence",
    type=click.IntRange(min=1),
    default=SILENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long a gateway decides nothing before it is listed as silent.",
)
@gateways_option
@vkeys_option(
    "--approver",
    "approvers",
    words="A person whose approvals count; without any, their signatures are not verified.",
)
@click.option(
    "--out",
    "outs",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="What to write, by the name: report.html, report.pdf or report.json. Repeatable.",
)
@click.option(
    "--check",
    "checked",
    type=FILE,
    metavar="REPORT",
    help="Make this report again, of the same tree and with the same options, and compare.",
)
def report(
    log_url: str | None,
    policy_path: Path,
    replica_path: Path | None,
    old_vkeys: tuple[str, ...],
    origin: str | None,
    start: int | None,
    end: int | None,
    subjects: tuple[tuple[str, str], ...],
    silence: int,
    gateways: tuple[str, ...],
    approvers: tuple[str, ...],
    outs: tuple[Path, ...],
    checked: Path | None,
) -> None:
    """Write a report on a window of time that stands alone: HTML, PDF or JSON.

    It is made of a verified replica: who decided what under which policy, denials by code, runs
    without authorization, revocations, approvals, erasures, gaps and silences, and the checkpoint
    that it rests on; each figure with the command that lists what is behind it. The same tree,
    checkpoint and options give the same bytes. With --check, an earlier report is made again.
    """
    if log_url is None and replica_path is None:
        raise click.UsageError("give --log, --replica, or both")
    policy = read_policy(policy_path)
    watched = Watched(log_url or "", policy, origin, old_vkeys=read_old_vkeys(old_vkeys, policy))
    if checked is not None:
        if start is not None or end is not None or outs or subjects:
            raise click.UsageError("--check has its window and subjects from the report")
        data = read_bounded(checked, "report", most=MAX_REPORT)
        with _replica(watched, replica_path) as reader, _bars() as bars:
            click.echo(check_report(data, str(checked), reader, policy, *bars))
        return
    if start is None or end is None or not outs:
        raise click.UsageError("give --from, --to and --out")
    forms = [(path, form_of(path.name)) for path in outs]
    scope = _scope(start, end, subjects, silence)
    with _replica(watched, replica_path) as reader, _bars() as bars:
        named = _named(reader, gateways, approvers)
        values = build_report(
            basis_of(reader, policy, scope, named), reading=bars[0], relating=bars[1]
        )
    for path, form in forms:
        write_atomic(path, form(values), "report")
        click.echo(f"{path}: {_summary(values)}", err=True)


def _scope(
    start: int, end: int, subjects: tuple[tuple[str, str], ...], silence: int
) -> ReportScope:
    try:
        return scope_of(start, end, [Entity(*one) for one in subjects], silence)
    except FormatError as error:
        raise click.UsageError(str(error)) from None


def _named(reader: IndexReader, gateways: tuple[str, ...], approvers: tuple[str, ...]) -> Keys:
    """The keys to verify with: of gateways those that are named, else those of the replica."""
    named = read_vkeys("--gateway", gateways) if gateways else reader.gateways() or ()
    people = read_vkeys("--approver", approvers)
    return Keys(tuple(sorted(map(str, named))), tuple(sorted(map(str, people))))


def _summary(values: dict[str, Any]) -> str:
    decisions, checkpoint = values["decisions"], values["checkpoint"]
    return (
        f"{decisions['all']['leaves']['count']} decisions, "
        f"{decisions['denied']['leaves']['count']} of them denials, of {checkpoint['size']} leaves "
        f"of {checkpoint['origin']}"
    )


@contextmanager
def _replica(watched: Watched, path: Path | None) -> Iterator[IndexReader]:
    """A replica: the one at a path, brought up to date where a log is given, or one made now."""
    if path is None:
        made = replica_of(watched.url, watched.policy, watched.origin)
        with made as place, open_replica(place) as reader:
            yield reader
        return
    if watched.url:
        with progress("Following") as bar:
            show = _Large(bar)
            try:
                run(follow_once(watched, path, progress=show))
            except (FormatError, StaleCheckpoint, ProvenMisbehaviour) as error:
                raise VerificationError(str(error)) from None
    with open_replica(path) as reader:
        head = reader.head()
        if watched.origin is not None and head is not None and head.origin != watched.origin:
            raise InputError(f"{path}: is of {head.origin}, not {watched.origin}")
        yield reader


@contextmanager
def _bars() -> Iterator[tuple[Callable[[int, int], None], Callable[[int, int], None]]]:
    """Bars for the leaves that are read, and then for the partitions of what they say."""
    with progress("Reading") as reading, progress("Relating") as relating:
        leaves = _Large(reading)

        def partitions(done: int, total: int) -> None:
            if leaves.is_large:
                relating(done, total)

        yield leaves, partitions


class _Large:
    """A bar for what has many leaves; what is there in a moment needs none."""

    def __init__(self, bar: Callable[[int, int], None]) -> None:
        self._bar = bar
        self.is_large = False

    def __call__(self, done: int, total: int) -> None:
        self.is_large = total >= _BAR_FROM
        if self.is_large:
            self._bar(done, total)
