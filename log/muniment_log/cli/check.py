"""``muniment-log check`` and ``repair``: the database, by its own leaves."""

import asyncio
from pathlib import Path

import click

from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.encoding import MunimentError
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import EXIT_DAMAGED, code_of, fail, failing, say_damage
from muniment_log.cli.indexlog import check_index_log
from muniment_log.cli.options import CONFIG
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import LogConfig, load
from muniment_log.errors import StorageError
from muniment_log.storage.addendacheck import check_addenda
from muniment_log.storage.check import check
from muniment_log.storage.repair import repair
from muniment_service.config import ConfigError
from muniment_service.exits import EXIT_CONFIG
from muniment_service.process import run


@click.command("check")
@CONFIG
@click.option("--quick", is_flag=True, help="Only what a start reads, not every leaf.")
@PROGRESS
def check_command(config: Path, *, quick: bool, progress: bool | None) -> None:
    """Check the database against its own leaves, also while the log runs, and the addenda.

    And that of the index log, if there is one. Of a cluster, the published tree and the addenda.
    Prints each damage on a line of its own: the table, and what is wrong there.
    """
    with failing(EXIT_CONFIG):
        loaded = load(config)
    if loaded.file.cluster is not None:
        _check_cluster(loaded, quick=quick, progress=Progress(progress))
        return
    try:
        database = loaded.database
        origin = loaded.file.origin
        report = check(
            database, origin, loaded.verifiers, full=not quick, progress=Progress(progress)
        )
        addenda = check_addenda(loaded.addenda, origin, database, full=not quick)
        index_log = check_index_log(loaded, full=not quick)
    except ConfigError as error:
        fail(EXIT_CONFIG, error)
    except DatabaseError as error:
        fail(code_of(error), error)
    say_damage("damaged", [*report.damage, *addenda.damage, *index_log])
    if report.damage:
        fail(EXIT_DAMAGED, f"{database}: damaged")
    if addenda.damage:
        fail(EXIT_DAMAGED, f"{loaded.addenda}: damaged")
    if index_log:
        fail(EXIT_DAMAGED, f"{loaded.index_log.database}: damaged")
    click.echo(f"{database}: sound, {report.size} leaves", err=True)


def _check_cluster(config: LogConfig, *, quick: bool, progress: Progress) -> None:
    name = config.cluster.object_store
    try:
        checking = import_cluster_module("cluster.check").check_cluster
        findings, size = run(checking(config, full=not quick, tell=progress))
    except MunimentError as error:
        # Whoever has only ever checked a file wonders what the engines have to do with it.
        fail(code_of(error), f"{error}; unlike a log in one file, a cluster is read by its engines")
    say_damage("damaged", findings.damage)
    if findings.damage:
        fail(EXIT_DAMAGED, f"{name}: damaged")
    click.echo(f"{name}: sound, {size} leaves published", err=True)


@click.command("repair")
@CONFIG
def repair_command(config: Path) -> None:
    """Rebuild tiles, tree, streams and batches from the leaves; the log must not run.

    Make a copy of the database first. Prints each damage that was found, and what was rebuilt.
    """
    with failing(EXIT_CONFIG):
        loaded = load(config)
    try:
        database = loaded.database
        done = asyncio.run(repair(database, loaded.file.origin, loaded.verifiers))
    except ConfigError as error:
        fail(EXIT_CONFIG, error)
    except DatabaseError as error:
        fail(code_of(error), error)
    except StorageError as error:
        fail(EXIT_DAMAGED, error)
    say_damage("rebuilt", done.rebuilt)
    say_damage("damaged", done.after.damage)
    if done.after.damage:
        fail(EXIT_DAMAGED, f"{database}: this cannot be rebuilt from leaves")
    click.echo(f"{database}: sound, {done.after.size} leaves", err=True)
