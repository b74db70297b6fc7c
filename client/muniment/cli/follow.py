"""``muniment follow``."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from muniment.audit.trust import Misbehaviour, ProvenMisbehaviour, StaleCheckpoint
from muniment.cli.common import (
    count,
    file_option,
    gateway_option,
    interval_option,
    json_option,
    old_vkey_option,
    origin_option,
    policy_option,
    progress,
    read_old_vkeys,
    read_policy,
    run,
    say_ahead,
    until_stopped,
)
from muniment.cli.exits import INTERRUPTED, MISBEHAVIOUR, describe_exits
from muniment.errors import (
    FormatError,
    InputError,
    MunimentError,
    Refused,
    Unreachable,
    VerificationError,
)
from muniment.http.urls import check_url
from muniment.index.replica import Watched, follow_once, keep_following
from muniment.lineage.facts import head_of
from muniment.local.sqlitefile import DatabaseError
from muniment.local.vkeyfile import read_vkeys
from muniment.tlog.encoding import format_base64, one_line

if TYPE_CHECKING:
    from muniment.index.addenda import AddendaRound
    from muniment.index.follower import FollowRound
    from muniment.tlog.policy import CosignedCheckpoint


def _url(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        return check_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_BAR_FROM = 10_000  # leaves; what is there in a moment needs no progress bar


@click.command(epilog=describe_exits())
@click.argument("log_url", metavar="URL", callback=_url)
@policy_option
@file_option(
    "--replica",
    "replica_path",
    words="The replica: an SQLite file, created when absent; deleted, it is built again.",
    required=True,
)
@old_vkey_option
@origin_option
@click.option("--once", is_flag=True, help="End when the replica has reached the checkpoint.")
@interval_option("How often to look for a new checkpoint.")
@gateway_option(
    "A gateway whose word counts for those who read this replica and name no others: kept in "
    "it, instead of those of before."
)
@click.option(
    "--addenda",
    is_flag=True,
    help="Take along what the records withhold, as far as the log keeps it and the read token has "
    "the scope addenda. It is deleted again when a record says that it was erased, also by a "
    "follower without this option.",
)
@json_option
@click.pass_context
def follow(
    ctx: click.Context,
    log_url: str,
    policy_path: Path,
    replica_path: Path,
    old_vkeys: tuple[str, ...],
    origin: str | None,
    interval: float,
    gateways: tuple[str, ...],
    *,
    addenda: bool,
    once: bool,
    as_json: bool,
) -> None:
    """Keep a verified replica of a log, to ask instead of the log.

    Every entry is rehashed, and shows in the replica only when the root is that of a checkpoint
    that the policy accepts. Runs until it is stopped, and goes on where it was when it is started
    again. A log that cannot be reached or verified is tried again (with --once, it is an error);
    proof that the log signed two histories is kept in the replica and ends it.
    """
    named = read_vkeys("--gateway", gateways) if gateways else None
    policy = read_policy(policy_path)
    watched = Watched(log_url, policy, origin, named, read_old_vkeys(old_vkeys, policy), addenda)
    teller = _Teller(as_json=as_json)
    try:
        stopped = run(_follow(watched, replica_path, None if once else interval, teller))
    except ProvenMisbehaviour as proof:
        teller.proven(proof.misbehaviour)
        ctx.exit(MISBEHAVIOUR)
    except (DatabaseError, FormatError) as error:
        _refuse(error)
    except StaleCheckpoint as error:
        raise VerificationError(str(error)) from None
    if stopped and once:
        ctx.exit(INTERRUPTED)


def _refuse(error: Exception) -> NoReturn:
    # What a log has sent in a bad form is not the user's bad input.
    if isinstance(error, FormatError):
        raise VerificationError(str(error)) from None
    raise InputError(str(error)) from None


class _Teller:
    """Tells of rounds: results on stdout, troubles on stderr; or everything as JSON on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._size = -1
        self._last_trouble = ""
        self._ahead: frozenset[str] = frozenset()

    @staticmethod
    def first_use(path: Path) -> None:
        words = "a new replica; the log's checkpoint is trusted on first use"
        click.echo(f"muniment: {path}: {words}", err=True)

    def reached(self, done: "FollowRound") -> None:
        head, now = done.checkpoint, int(time.time())
        self._last_trouble = ""
        self._clocks(head, now)
        self._addenda(done.taken)
        if self._as_json:
            if head.size != self._size:
                self._print(
                    event="followed",
                    origin=head.origin,
                    size=head.size,
                    root=format_base64(head.root),
                    time=head_of(head, now).time,
                    new=done.leaves,
                    unknown=done.unknown,
                )
        elif head.size != self._size:
            click.echo(
                f"{head.origin}: verified {count(head.size, 'entry', 'entries')}, "
                f"{done.leaves} new."
            )
            if done.unknown:
                click.echo(
                    f"{count(done.unknown, 'entry is', 'entries are')} neither a record nor a "
                    "manifest; muniment audit tells more.",
                    err=True,
                )
        self._size = head.size

    def _addenda(self, taken: "AddendaRound") -> None:
        """Tells of addenda, where there is something to tell."""
        if not any(taken):
            return
        if self._as_json:
            self._print(event="addenda", **taken._asdict())
            return
        click.echo(
            f"{count(taken.new, 'addendum', 'addenda')} taken along, {taken.absent} not there, "
            f"{taken.erased} erased."
        )

    def _clocks(self, head: "CosignedCheckpoint", now: int) -> None:
        """Tells, once, whose cosignature is of a time in the future."""
        ahead = head.ahead(now)
        names = frozenset(name for name, _ in ahead)
        if names - self._ahead:
            if self._as_json:
                times = [{"witness": name, "time": stated} for name, stated in ahead]
                self._print(event="future", cosigners=times, now=now)
            else:
                click.echo(f"muniment: {say_ahead(ahead)}", err=True)
        self._ahead = names

    def trouble(self, error: MunimentError) -> None:
        if self._as_json:
            self._print(event="trouble", kind=_kind(error), message=str(error))
        elif str(error) != self._last_trouble:
            click.echo(f"muniment: {one_line(str(error))}; trying again", err=True)
        self._last_trouble = str(error)

    def proven(self, proof: Misbehaviour) -> None:
        notes = [note.decode() for note in proof.notes]
        if self._as_json:
            self._print(event="misbehaviour", kind=proof.kind, notes=notes)
            return
        click.echo(f"PROVEN: {proof.kind}: {proof.sentence}.")
        for note in notes:
            click.echo(note)

    @staticmethod
    def _print(**members: Any) -> None:
        click.echo(json.dumps(members))


def _kind(error: MunimentError) -> str:
    if isinstance(error, StaleCheckpoint):
        return "stale"
    return "unreachable" if isinstance(error, Unreachable | Refused) else "unverified"


async def _follow(watched: Watched, path: Path, interval: float | None, teller: _Teller) -> bool:
    """Follows once or until stopped; tells whether it was stopped."""
    first_use = partial(teller.first_use, path)

    async def work(show: Callable[[int, int], None]) -> None:
        if interval is None:
            teller.reached(await follow_once(watched, path, progress=show, first_use=first_use))
            return
        await keep_following(
            watched,
            path,
            interval=interval,
            reached=teller.reached,
            trouble=teller.trouble,
            progress=show,
            first_use=first_use,
        )

    with progress("Following") as bar:

        def show(done: int, total: int) -> None:
            if total >= _BAR_FROM:
                bar(done, total)

        return await until_stopped(work(show))
