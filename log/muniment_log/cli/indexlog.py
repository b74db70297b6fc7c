"""``muniment-log new-index-log``: the empty database of an index log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from muniment.tlog.encoding import MunimentError
from muniment_log.cli.exits import code_of, fail
from muniment_log.config import load
from muniment_log.storage.schema import create_database


@click.command("new-index-log")
@click.option("--config", required=True, type=click.Path(path_type=Path), help="log.toml.")
def new_index_log(config: Path) -> None:
    """Make the empty database of the index log: only for one that has never run.

    Which heads of the log it has leaves about is nowhere else: one that ran is restored, and a
    second one in its place would sign another history. This never replaces a database. Prints the
    vkeys that its witnesses and readers need.
    """
    try:
        index_log = load(config).index_log
        origin, database = index_log.file.origin, index_log.database
        asyncio.run(create_database(database, origin, index_log.vkeys, "new-index-log"))
    except MunimentError as error:
        fail(code_of(error), error)
    for vkey in index_log.vkeys:
        click.echo(vkey)
    click.echo(f"made {database}, of no leaves", err=True)
