"""The command `muniment-log erase`."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from muniment.cli.common import check_said
from muniment.lineage.escape import terminal
from muniment.records.timetext import parse_time
from muniment.tlog.encoding import FormatError, MunimentError
from muniment_log.cli.exits import EXIT_UNREACHABLE, fail
from muniment_log.cli.options import CONFIG
from muniment_log.http.adminsockets import ask_leader
from muniment_log.logfile import LogFile
from muniment_service import unixsocket
from muniment_service.config import ConfigError, load_config
from muniment_service.exits import EXIT_CONFIG, EXIT_FAILED

if TYPE_CHECKING:
    from pathlib import Path

ERASE_SECONDS: Final = 600.0
"""How long the command waits for the log; the log goes on when it does not."""

_NOT_CLEAN: Final = (
    "They may still be where the log writes what has no place yet: in a write-ahead log while "
    "another program reads the file of the addenda, or in the object of a cluster's request that "
    "is not finished. The log removes that as soon as it can; see `erasing` in "
    "`muniment-log status`."
)
_VERSIONS: Final = (
    "Not erased: the old versions above, of objects and (arriving/...) of those in which they "
    "came. The bucket keeps versions; delete these, or have its lifecycle rules do it."
)
_BACKUPS: Final = (
    "Not erased: what backups, snapshots of the file system, mirrors, replicas and bundles hold "
    "that took these addenda along, and what gateways keep; see docs/operations.md."
)


@click.command()
@CONFIG
@click.option(
    "--digest", "digests", multiple=True, metavar="HEX", help="This addendum; repeatable."
)
@click.option("--record", type=click.IntRange(min=0), metavar="INDEX", help="Those of this record.")
@click.option(
    "--subject",
    nargs=2,
    metavar="TYPE ID",
    help="Those of this subject's decisions, and of the outcomes of its runs.",
)
@click.option("--before", metavar="TIME", help="Only what the log took before this time.")
@click.option(
    "--reason", metavar="TEXT", callback=check_said, help="Why, for the record in the log."
)
@click.option(
    "--by",
    metavar="TEXT",
    callback=check_said,
    help="Who wants it; your account's name if not given.",
)
@click.option("--dry-run", is_flag=True, help="List what would be erased, and erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(
    config: Path,
    digests: tuple[str, ...],
    record: int | None,
    subject: tuple[str, str] | None,
    before: str | None,
    reason: str | None,
    by: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Erase addenda that the running log keeps, for good.

    The log first logs a record that names the digests, the reason and who wanted it; then it
    removes the bytes. Decisions, proofs and permits stay valid. A retry of the batch does not bring
    the bytes back. Prints what it has erased; with --dry-run a line for each addendum: digest,
    pointer, record, size. Needs `admin` in the configuration. Of a cluster the process that
    integrates does it: run it on that machine.
    """
    if bool(digests) + (record is not None) + (subject is not None) != 1:
        raise click.UsageError("give --digest, --record or --subject")
    ask: dict[str, Any] = {"by": _account() if by is None else by, "dry_run": True}
    if digests:
        ask["digests"] = digests
    if record is not None:
        ask["record"] = record
    if subject is not None:
        ask["subject"] = subject
    if reason is not None:
        ask["reason"] = reason
    if before is not None:
        try:
            ask["before"] = parse_time(before)
        except FormatError as error:
            raise click.UsageError(f"--before: {error}") from None
    if dry_run or not yes:
        listed = _ask(config, ask)["addenda"]
        for one in listed:
            place = f"record {one['record']}" if "record" in one else "record not found"
            pointer = terminal(one.get("pointer", "?"))
            click.echo(f"{one['digest']}  {pointer}  {place}  {one['size']} bytes")
        total = f"{len(listed)} addenda, {sum(one['size'] for one in listed)} bytes"
        if dry_run:
            click.echo(f"{total}: nothing was erased.", err=True)
            return
        click.confirm(f"Erase {total}, for good?", abort=True, err=True)
    done = _ask(config, ask | {"dry_run": False})
    records = done["records"]
    said = (
        f"record {records[0]}"
        if len(records) == 1
        else f"{len(records)} records from {records[0]} to {records[-1]}"
    )
    click.echo(f"Erased {done['addenda']} addenda, {done['bytes']} bytes; logged by {said}.")
    if not done["is_clean"]:
        click.echo(_NOT_CLEAN, err=True)
    for version in done["held"]:
        click.echo(f"held by the bucket: {version}")
    if done["held"]:
        click.echo(_VERSIONS, err=True)
    click.echo(_BACKUPS, err=True)


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"


def _ask(config: Path, ask: dict[str, Any]) -> dict[str, Any]:
    try:
        file = load_config(config, LogFile)
        if file.admin is None:
            raise ConfigError(f"{config}: admin: there is no socket to ask at")
        try:
            body = msgspec.json.encode(ask)
        except UnicodeEncodeError:
            raise click.UsageError("an argument is not UTF-8") from None
        ask_process = unixsocket.ask if file.cluster is None else ask_leader
        return ask_process(file.admin, "POST", "/erase", body=body, seconds=ERASE_SECONDS)
    except unixsocket.NotRunningError as error:
        fail(EXIT_UNREACHABLE, f"{error}; an erasure is logged, so it takes a log that runs")
    except unixsocket.NotDoneError as error:
        fail(EXIT_FAILED, error)
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
