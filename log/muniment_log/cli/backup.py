"""``muniment-log backup``."""

from pathlib import Path

import click

from muniment.local.sqlitefile import DatabaseError
from muniment_log.cli.exits import code_of, fail, failing
from muniment_log.cli.options import CONFIG, PATH
from muniment_log.config import load
from muniment_log.storage.schema import mark_copy
from muniment_service.backup import Mark, backup
from muniment_service.exits import EXIT_CONFIG


@click.command("backup")
@CONFIG
@click.argument("target", metavar="FILE", type=PATH)
@click.option("--addenda", metavar="FILE", type=PATH, help="Copy what records withhold, too.")
@click.option("--index-log", metavar="FILE", type=PATH, help="Copy the index log, too.")
def backup_command(
    config: Path, target: Path, addenda: Path | None, index_log: Path | None
) -> None:
    """Copy the database into the new FILE, also while the log runs.

    With --index-log also that of the index log, before it: that is about no more leaves than the
    copy has. With --addenda also the file of the addenda, afterwards. What is erased later is still
    in that copy.
    """
    with failing(EXIT_CONFIG):
        loaded = load(config)
        copies: list[tuple[Path, Path, Mark | None]] = [(loaded.database, target, mark_copy)]
        if index_log is not None:
            copies.insert(0, (loaded.index_log.database, index_log, mark_copy))
        if addenda is not None:
            copies.append((loaded.addenda, addenda, None))
    for source, copy_, mark in copies:
        try:
            backup(source, copy_, mark=mark)
        except DatabaseError as error:
            fail(code_of(error), error)
        click.echo(f"wrote {copy_}", err=True)
