"""Commands about the index log's database: ``muniment-log new-index-log``, and its check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muniment.tlog.encoding import MunimentError
from muniment_log.cli.exits import code_of, fail, failing
from muniment_log.cli.options import CONFIG
from muniment_log.config import load
from muniment_log.storage.check import check
from muniment_log.storage.indexleaves import Ascending
from muniment_log.storage.schema import create_database
from muniment_service.exits import EXIT_CONFIG
from muniment_service.process import run

if TYPE_CHECKING:
    from pathlib import Path

    from muniment_log.config import LogConfig
    from muniment_service.soundness import Damage


@click.command("new-index-log")
@CONFIG
def new_index_log(config: Path) -> None:
    """Make the empty database of the index log: only for one that has never run.

    Which heads of the log it has leaves about is nowhere else: one that ran is restored, and a
    second one in its place would sign another history. This never replaces a database. Prints the
    vkeys that its witnesses and readers need.
    """
    with failing():
        index_log = load(config).index_log
        origin, database = index_log.file.origin, index_log.database
        run(create_database(database, origin, index_log.vkeys, "new-index-log"))
    for vkey in index_log.vkeys:
        click.echo(vkey)
    click.echo(f"made {database}, of no leaves", err=True)


@click.command("restore-index-log")
@CONFIG
@click.option("--from", "url", required=True, help="Who serves its checkpoint and tiles.")
def restore_index_log(config: Path, url: str) -> None:
    """Make the index log's database from somebody who serves the newest of it.

    A mirror, a web cache, a folder of its files behind any web server: what it serves is compared
    with the checkpoint, and that must be signed by this log. If its witnesses know more leaves than
    were served, the log says so when it starts, and does not extend it. This never replaces a
    database.
    """
    # Half a second: it brings the HTTP library, which the other commands do without.
    from muniment_log.index import restoring  # noqa: PLC0415

    try:
        loaded = load(config)
        size = run(restoring.restore_index_log(loaded, url))
    except MunimentError as error:
        fail(code_of(error), error)
    except ValueError as error:
        fail(EXIT_CONFIG, f"--from: {error}")
    click.echo(f"made {loaded.index_log.database}, of {size} leaves", err=True)


def check_index_log(loaded: LogConfig, *, full: bool) -> list[Damage]:
    """What is wrong with the index log's database; nothing for a log that keeps none.

    Raises DatabaseError if it cannot be read.
    """
    if not loaded.file.complete.enabled:
        return []
    own = loaded.index_log
    report = check(
        own.database,
        own.file.origin,
        own.verifiers,
        full=full,
        plain=Ascending(loaded.file.origin),
    )
    return [found._replace(table=f"index log: {found.table}") for found in report.damage]
