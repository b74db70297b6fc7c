"""The commands `muniment-log prune` and `unprune`: entries leave an embedded log for an archive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from muniment.local.regularfile import open_regular
from muniment.tlog.encoding import MunimentError
from muniment.tlog.tiles import ENTRIES, Tile
from muniment_log.cli.exits import code_of, fail
from muniment_log.cli.options import CONFIG, PATH
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import LogConfig, load
from muniment_log.core.retention import parse_duration
from muniment_log.errors import StorageError
from muniment_log.export import ARCHIVE, export
from muniment_log.storage.pruning import Pruning
from muniment_log.storage.snapshot import SnapshotTiles
from muniment_log.storage.staticfolder import StaticFolder
from muniment_service.config import ConfigError
from muniment_service.process import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NOTE: Final = b"Entries that the log has pruned are here. Nothing is removed from this folder.\n"


@click.command("prune")
@CONFIG
@click.option("--before", type=click.IntRange(1), metavar="INDEX", help="Entries before this one.")
@click.option("--older-than", metavar="DURATION", help="Entries of before: `3650d`, `12h`.")
@click.option("--archive", required=True, type=PATH, metavar="DIR", help="Where they go.")
@PROGRESS
def prune_command(
    config: Path,
    before: int | None,
    older_than: str | None,
    archive: Path,
    progress: bool | None,  # noqa: FBT001  # click's way
) -> None:
    """Move old entries into an archive: the whole log as static files, verified, in DIR.

    Only by the retention policy, [pruning] in log.toml, and while the log is stopped. Hash tiles
    stay: proofs that were given verify, and all can still be made. Use one archive for all times.
    """
    if (before is None) == (older_than is None):
        raise click.UsageError("either --before or --older-than")
    try:
        loaded = _embedded(config)
        least = loaded.file.pruning
        if least is None:
            raise ConfigError(
                f"{config}: pruning: this log has no retention policy, and without one nothing is "
                "pruned: say how old an entry is that may go, [pruning] older_than"
            )
        age = parse_duration(least.older_than)
        if older_than is not None:
            age = _age(older_than, age, least.older_than)
        run(_prune(loaded, archive, before, age, Progress(progress)))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)


@click.command("unprune")
@CONFIG
@click.argument("archive", type=PATH, metavar="DIR")
def unprune_command(config: Path, archive: Path) -> None:
    """Put all pruned entries back from the archive in DIR, while the log is stopped."""
    try:
        loaded = _embedded(config)
        run(_unprune(loaded, archive))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)


def _embedded(path: Path) -> LogConfig:
    loaded = load(path)
    if loaded.file.cluster is not None:
        raise ConfigError(f"{path}: cluster: only a log with a database of its own is pruned")
    return loaded


def _age(asked: str, least: int, policy: str) -> int:
    try:
        age = parse_duration(asked)
    except (ValueError, KeyError):
        raise ConfigError(f"--older-than: {asked!r} is no duration, such as 3650d") from None
    if age < least:
        raise ConfigError(f"--older-than: the policy, [pruning] older_than, asks for {policy}")
    return age


async def _prune(
    config: LogConfig, archive: Path, before: int | None, age: int, progress: Progress
) -> None:
    pruning = await Pruning.open(config.database)
    try:
        plan = await pruning.plan(before, int(time.time() * 1000) - age)
        if before is not None and plan.kept is not None:
            index, stated = plan.kept
            raise StorageError(
                f"entry {index} is of {_when(stated)}, which [pruning] older_than keeps: "
                f"--before {plan.upto} at the most"
            )
        if plan.upto <= plan.pruned:
            click.echo(f"{config.database}: nothing to prune, entries from {plan.pruned} on stay")
            return
        folder = StaticFolder(archive)
        await _archive(config, folder, progress)
        await pruning.prune(plan.upto, _archived(archive))
    finally:
        await pruning.close()
    gone = plan.upto - plan.pruned
    click.echo(f"{config.database}: entries from {plan.upto} on; {gone} went to {archive}")


async def _archive(config: LogConfig, folder: StaticFolder, progress: Progress) -> None:
    source = await SnapshotTiles.open(config.database)
    try:
        with folder.alone():
            await folder.replace(ARCHIVE, _NOTE)
            await export(
                source,
                await source.checkpoint(),
                origin=config.file.origin,
                keys=config.verifiers,
                target=folder,
                tell=progress,
                min_index=await source.min_index(),
            )
    finally:
        await source.close()


async def _unprune(config: LogConfig, archive: Path) -> None:
    pruning = await Pruning.open(config.database)
    try:
        count = await pruning.unprune(_archived(archive))
    finally:
        await pruning.close()
    click.echo(f"{config.database}: {count} entries are back, none is pruned")


def _archived(archive: Path) -> Callable[[int], bytes]:
    def read(index: int) -> bytes:
        path = archive / Tile(ENTRIES, index).path
        try:
            with open_regular(path) as file:
                return file.read()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error

    return read


def _when(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))
