"""The command `muniment-log export`: the static tiles of a log, for a web server or a CDN."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import parse_vkey
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import code_of, fail
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import LogConfig, load
from muniment_log.export import ExportResult, ExportTarget
from muniment_log.export import export as export_log
from muniment_log.storage.snapshot import SnapshotAddenda, SnapshotTiles
from muniment_log.storage.staticfolder import StaticFolder
from muniment_service.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.core.ports import TileSource
    from muniment_log.export.addenda import AddendaSource


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path), help="The log's.")
@click.argument("target", metavar="DIR|s3://BUCKET/PREFIX")
@click.option(
    "--old-vkey",
    "old_vkeys",
    multiple=True,
    metavar="VKEY",
    help="A key that the log had before, if the target's checkpoint is by it. Repeatable.",
)
@click.option(
    "--addenda",
    is_flag=True,
    help="Take along what records withhold and the log keeps: for everybody who can read the "
    "target. Each later export removes what was erased, with this option or without.",
)
@PROGRESS
def export(
    config: Path,
    target: str,
    old_vkeys: tuple[str, ...],
    progress: bool | None,  # noqa: FBT001  # click's way
    *,
    addenda: bool,
) -> None:
    """Write the published tree as static files, also while the log runs.

    Run it again to bring the files up to date, or after it was interrupted. The checkpoint is
    written last. Endpoint and credentials of a bucket come from the environment (AWS_ENDPOINT_URL,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION).
    """
    try:
        old = [verifier_for(parse_vkey(vkey, "--old-vkey")) for vkey in old_vkeys]
        done = run(_export(load(config), target, old, Progress(progress), takes=addenda))
    except MunimentError as error:
        fail(code_of(error), error)
    click.echo(f"{target}: {done.size} leaves, {done.size - done.before} of them new", err=True)
    if done.addenda is not None:
        written, erased = done.addenda
        click.echo(f"{target}: {written} addenda written, {erased} erased", err=True)


async def _export(
    config: LogConfig, place: str, old: Sequence[Verifier], progress: Progress, *, takes: bool
) -> ExportResult:
    async with AsyncExitStack() as closing:
        source: TileSource
        addenda: AddendaSource | None = None
        if config.file.cluster is None:
            source = await SnapshotTiles.open(config.database)
            closing.push_async_callback(source.close)
            note = await source.checkpoint()
            addenda = beside = await SnapshotAddenda.open(config.addenda)
            if beside is not None:
                closing.push_async_callback(beside.close)
        else:
            exporting = import_cluster_module("cluster.exporting")
            store = exporting.open_bucket(config.file.cluster.object_store)
            closing.push_async_callback(store.close)
            source, note = await exporting.published_tree(store)
            addenda = exporting.BucketAddenda(store)
        target: ExportTarget
        if place.startswith("s3://"):
            exporting = import_cluster_module("cluster.exporting")
            store = exporting.open_bucket(place)
            closing.push_async_callback(store.close)
            target = exporting.BucketTarget(store)
        else:
            target = StaticFolder(Path(place))
        return await export_log(
            source,
            note,
            origin=config.file.origin,
            keys=config.verifiers,
            target=target,
            tell=progress,
            old=old,
            addenda=addenda,
            takes_addenda=takes,
        )
