"""``muniment export``."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from muniment.cli.common import (
    count,
    file_option,
    interval_option,
    optional_policy,
    progress,
    read_policy,
    run,
    until_stopped,
)
from muniment.cli.exits import REFUSED, describe_exits
from muniment.cli.facts import open_replica
from muniment.export.cloudevents import CLOUD_EVENTS
from muniment.export.cursor import CursorFile
from muniment.export.destination import Destination, LineWriter
from muniment.export.endpoint import PATIENCE_SECONDS, Endpoint, RefusedFile, read_headers
from muniment.export.exporter import MAX_BATCH, Exporter
from muniment.export.forms import JSON_LINES
from muniment.export.ocsf import OCSF
from muniment.export.otlp import OTLP
from muniment.export.source import Source
from muniment.http.access import Access, check_token_url
from muniment.http.urls import split_url

if TYPE_CHECKING:
    from muniment.tlog.policy import Policy

_FORMS: Final = {form.name: form for form in (OTLP, CLOUD_EVENTS, OCSF, JSON_LINES)}
_BAR_FROM: Final = 10_000  # leaves; what is there in a moment needs no progress bar


def _target(_ctx: click.Context, _param: click.Parameter, value: str) -> str | Path | None:
    """A URL, a path, or None for the standard output."""
    if value == "-":
        return None
    if "://" not in value:
        return Path(value)
    try:
        parts = split_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if parts.fragment:
        raise click.BadParameter("a URL with a fragment")
    return value


@click.command(epilog=describe_exits())
@file_option(
    "--replica",
    "replica_path",
    words="The verified replica to export from, as muniment follow keeps it.",
    required=True,
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMS)),
    required=True,
    help="How a record is written.",
)
@click.option(
    "--to",
    "target",
    default="-",
    callback=_target,
    metavar="FILE|URL",
    help="A file to append to, or an HTTP(S) endpoint to post to; the standard output by default.",
)
@file_option(
    "--cursor",
    "cursor_path",
    words="Keeps how far the receiver has acknowledged, to go on there: one file for each "
    "receiver. Without it, all is exported.",
)
@optional_policy("The policy that has to accept the replica's checkpoint.")
@click.option(
    "--batch",
    type=click.IntRange(1, MAX_BATCH),
    default=MAX_BATCH,
    show_default=True,
    metavar="NUMBER",
    help="Most records of one request.",
)
@file_option(
    "--headers",
    "headers_path",
    words="A private file with headers for the endpoint, one 'Name: value' a line.",
)
@file_option(
    "--set-aside",
    "refused_path",
    words="Keep records that the endpoint refuses for good in this file, and go on behind them; "
    "without it they end the export.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, max=86_400),
    default=PATIENCE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long one request is tried; with --follow, for as long as it takes.",
)
@click.option(
    "--follow", "follows", is_flag=True, help="Go on with what a follower adds to the replica."
)
@interval_option("How often to look for more, with --follow.")
@click.pass_context
def export(
    ctx: click.Context,
    replica_path: Path,
    form: str,
    target: str | Path | None,
    cursor_path: Path | None,
    policy_path: Path | None,
    batch: int,
    headers_path: Path | None,
    refused_path: Path | None,
    patience: float,
    interval: float,
    *,
    follows: bool,
) -> None:
    """Export the records of a verified replica to a SIEM, a collector or a file.

    Each record is exported at least once, with its leaf index, by which the receiver knows it
    again; the cursor moves when it has acknowledged. What is exported is hashed again and compared
    with the replica's checkpoint.
    """
    is_url = isinstance(target, str)
    if not is_url and (headers_path or refused_path):
        raise click.UsageError("--headers and --set-aside are for an endpoint: give --to URL")
    refused = None if refused_path is None else RefusedFile(refused_path)
    found = _FORMS[form]
    destination: Destination
    if isinstance(target, str):
        headers = {"User-Agent": Access.from_environment().agent(), **read_headers(headers_path)}
        if headers_path is not None:
            check_token_url(target)
        destination = Endpoint(
            found,
            target,
            headers=headers,
            tls=Access.from_environment().ssl(),
            refused=refused,
            patience=None if follows else patience,
            tell=_tell,
        )
    else:
        destination = LineWriter(found, target or _standard_output())
    cursor = None if cursor_path is None else CursorFile(cursor_path)
    exporter = Exporter(found, destination, cursor, batch)
    policy = None if policy_path is None else read_policy(policy_path)
    work = _rounds(exporter, replica_path, policy, interval if follows else None)
    run(until_stopped(work) if follows else work)
    if target is not None:
        click.echo(_summary(exporter), err=True)
    if refused is not None and refused.count:
        ctx.exit(REFUSED)


def _summary(exporter: Exporter) -> str:
    others = f"; {count(exporter.skipped, 'leaf is', 'leaves are')} no records"
    return f"{count(exporter.count, 'record')} exported{others if exporter.skipped else ''}."


def _tell(words: str) -> None:
    click.echo(f"muniment: {words}", err=True)


def _standard_output() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer


async def _rounds(
    exporter: Exporter, path: Path, policy: "Policy | None", interval: float | None
) -> None:
    async with exporter.destination:
        size = -1
        while True:
            with open_replica(path) as reader:
                head = reader.head()
                if interval is None or (head is not None and head.size != size):
                    source = Source(reader, policy)
                    with (
                        _bar("Verifying", source) as checking,
                        _bar("Exporting", source) as sending,
                    ):
                        await exporter.step(source, checking, sending)
                    size = source.size
            if interval is None:
                return
            await asyncio.sleep(interval)


def _bar(label: str, source: Source) -> AbstractContextManager[Callable[[int, int], None]]:
    if source.size < _BAR_FROM:
        return nullcontext(lambda _done, _total: None)
    return progress(label)
