"""Commands about the witness's database: one is made, declared new, checked, copied."""

import asyncio
from pathlib import Path

import click

from muniment_service.backup import backup
from muniment_service.config import ConfigError
from muniment_witness.cli.common import (
    CONFIG,
    PATH,
    failing_on_config,
    failing_on_database,
)
from muniment_witness.cli.exits import (
    EXIT_DAMAGED,
    fail,
)
from muniment_witness.cli.mirror import (
    check_copies,
)
from muniment_witness.config import load
from muniment_witness.store.check import check
from muniment_witness.store.database import MIGRATIONS, create, mark_copy
from muniment_witness.store.heads import declare_new


@click.command("new-database")
@CONFIG
def new_database(config: Path) -> None:
    """Make a new database for keys that may have signed: the old one is lost.

    The witness then signs nothing for a log until it has asked the log, where it has a url, and a
    peer, where it has any, what it has signed; and, with neither, until `declare-new`.
    """
    with failing_on_config(), failing_on_database():
        loaded = load(config)
        path = loaded.file.database
        asyncio.run(create(path, loaded.owner, "new-database"))
    click.echo(f"made {path}; it signs nothing for a log before the log and peers were asked")


@click.command("declare-new")
@CONFIG
@click.argument("origin")
def declare_new_command(config: Path, origin: str) -> None:
    """Declare that this witness has never signed for ORIGIN; recorded in its database.

    For a witness whose database was begun anew, or restored, when nobody can be asked. If the word
    is wrong, the witness may sign a second history. The witness must be stopped.
    """
    with failing_on_config(), failing_on_database():
        loaded = load(config)
        if origin not in loaded.logs:
            raise ConfigError(f"{config}: no log {origin} is configured")
        path, cosigns = loaded.file.database, bool(loaded.signers)
        asyncio.run(declare_new(path, loaded.owner, origin, cosigns=cosigns))
    click.echo(f"declared that nothing was signed for {origin}")


@click.command("check")
@CONFIG
@click.option("--quick", is_flag=True, help="Only what a start reads, not the whole history.")
def check_command(config: Path, *, quick: bool) -> None:
    """Check the database, also while the witness runs, and that of its mirror.

    Prints each damage on a line of its own: the table, and what is wrong there. A mirror's copies
    are hashed anew, entry by entry, unless --quick.
    """
    with failing_on_config():
        loaded = load(config)
    if loaded.mirror is not None and not quick:
        check_copies(loaded.mirror)
    path = loaded.file.database
    cosigns = bool(loaded.signers)
    with failing_on_database():
        report = check(path, MIGRATIONS, loaded.owner, loaded.logs, full=not quick, cosigns=cosigns)
    for table, what in report.damage:
        click.echo(f"damaged {table}: {what}")
    if report.damage:
        fail(EXIT_DAMAGED, f"{path}: damaged")
    steps = "" if quick else f", {report.steps} steps that led there"
    click.echo(f"{path}: sound, heads of {report.heads} logs{steps}", err=True)


@click.command("backup")
@CONFIG
@click.argument("target", metavar="FILE", type=PATH)
def backup_command(config: Path, target: Path) -> None:
    """Copy the database into the new FILE, also while the witness runs.

    A witness that is started on the copy signs nothing until it has heard what it signed since.
    """
    with failing_on_config():
        loaded = load(config)
    with failing_on_database():
        backup(loaded.file.database, target, mark=mark_copy)
    click.echo(f"wrote {target}", err=True)
