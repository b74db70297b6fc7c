"""The command `muniment-log export`: the static tiles of a log, for a web server or a CDN."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from muniment.local.backoff import Backoff
from muniment.local.lifecycle import stop_requested
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import one_line
from muniment.tlog.note import parse_vkey
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import failing
from muniment_log.cli.options import CONFIG
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import LogConfig, load
from muniment_log.errors import FolderInUseError, UnavailableError
from muniment_log.export import ExportResult, ExportTarget, prune
from muniment_log.export import export as export_log
from muniment_log.storage.snapshot import SnapshotAddenda, SnapshotTiles
from muniment_log.storage.staticfolder import StaticFolder
from muniment_log.storage.tilewriter import PARTIALS_SECONDS, TIDY_SECONDS
from muniment_service.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.core.ports import TileSource
    from muniment_log.export.addenda import AddendaSource


FOLLOW_SECONDS: Final = 1.0
"""Between two looks for a new checkpoint, with --follow."""

LONGEST_PAUSE: Final = 60.0
"""The longest pause while an object store does not answer, with --follow."""


@click.command()
@CONFIG
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
@click.option(
    "--follow", is_flag=True, help="Stay, and bring the target up to date as the log publishes."
)
@PROGRESS
def export(
    config: Path,
    target: str,
    old_vkeys: tuple[str, ...],
    progress: bool | None,  # noqa: FBT001  # click's way
    *,
    addenda: bool,
    follow: bool,
) -> None:
    """Write the published tree as static files, also while the log runs.

    Run it again to bring the files up to date, or after it was interrupted; or let it stay, with
    --follow, until SIGTERM. In a folder, partial tiles go an hour after the full tile of their
    place has come. The checkpoint is written last.

    Endpoint and credentials of a bucket come from the environment (AWS_ENDPOINT_URL,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION).
    """
    with failing():
        old = [verifier_for(parse_vkey(vkey, "--old-vkey")) for vkey in old_vkeys]
        job = _Export(load(config), target, old, Progress(progress), takes=addenda, waits=follow)
        run(_follow(job) if follow else job.run())


async def _follow(job: _Export) -> None:
    """Exports each new checkpoint until a signal comes; what was begun is ended first."""
    stopping = stop_requested()
    backoff = Backoff(FOLLOW_SECONDS, LONGEST_PAUSE)
    tidied = 0.0
    while not stopping.done():
        pause = FOLLOW_SECONDS
        try:
            await job.bring_up()
            backoff.reset()
        except UnavailableError as error:  # an object store: it comes back
            click.echo(f"{job.place}: {one_line(str(error))}", err=True)
            pause = backoff.next()
        if time.monotonic() >= tidied:
            await job.tidy()
            tidied = time.monotonic() + TIDY_SECONDS
        await asyncio.wait([stopping], timeout=pause)


class _Export:
    """One export, as often as there is something new."""

    def __init__(
        self,
        config: LogConfig,
        place: str,
        old: Sequence[Verifier],
        progress: Progress,
        *,
        takes: bool,
        waits: bool,
    ) -> None:
        """Where to, and how; `waits` for the log's first checkpoint, where there is none yet."""
        self.place = place
        self._config = config
        self._old = old
        self._progress = progress
        self._takes = takes
        self._waits = waits
        self._last: bytes | None = None
        self._min_index = self._pruned = 0

    async def run(self) -> None:
        """Exports once, after others who export to the folder."""
        says = False
        while True:
            try:
                await self.bring_up()
                break
            except FolderInUseError as error:
                if not says:
                    click.echo(f"{self.place}: {error}; waiting for it", err=True)
                says = True
            await asyncio.sleep(FOLLOW_SECONDS)
        await self.tidy()

    async def bring_up(self) -> None:
        """Brings the target to what is published, unless it is there, and tells how far."""
        async with AsyncExitStack() as closing:
            if not self.place.startswith("s3://"):
                # Of two, the one that began with less would put its older checkpoint over the
                # other's, and addenda back that the other has removed.
                closing.enter_context(StaticFolder(Path(self.place)).alone())
            source, note, addenda = await self._source(closing)
            if note == self._last and (note is not None or self._waits):
                return
            done = await export_log(
                source,
                note,
                origin=self._config.file.origin,
                keys=self._config.verifiers,
                target=await self._target(closing),
                tell=self._progress,
                old=self._old,
                addenda=addenda,
                takes_addenda=self._takes,
                min_index=self._min_index,
            )
            if self._min_index > self._pruned:
                await prune(await self._target(closing), self._min_index)
                self._pruned = self._min_index
        self._last = note
        self._tell(done)

    async def tidy(self) -> None:
        """Removes partial tiles of a folder whose full tiles have been there for long enough."""
        if not self.place.startswith("s3://"):
            folder = StaticFolder(Path(self.place))
            await folder.remove_partials(before=time.time() - PARTIALS_SECONDS)

    def _tell(self, done: ExportResult) -> None:
        new = done.size - done.before
        click.echo(f"{self.place}: {done.size} leaves, {new} of them new", err=True)
        if done.addenda is not None:
            written, erased = done.addenda
            click.echo(f"{self.place}: {written} addenda written, {erased} erased", err=True)

    async def _source(
        self, closing: AsyncExitStack
    ) -> tuple[TileSource, bytes | None, AddendaSource | None]:
        """What is exported from, with the published checkpoint, and the addenda beside it."""
        config = self._config
        if config.file.cluster is None:
            tiles = await SnapshotTiles.open(config.database)
            closing.push_async_callback(tiles.close)
            self._min_index = await tiles.min_index()
            note = await tiles.checkpoint()
            beside = await SnapshotAddenda.open(config.addenda)
            if beside is not None:
                closing.push_async_callback(beside.close)
            return tiles, note, beside
        exporting = import_cluster_module("cluster.exporting")
        store = exporting.open_bucket(config.file.cluster.object_store)
        closing.push_async_callback(store.close)
        source, note = await exporting.published_tree(store)
        return source, note, exporting.BucketAddenda(store)

    async def _target(self, closing: AsyncExitStack) -> ExportTarget:
        if not self.place.startswith("s3://"):
            return StaticFolder(Path(self.place))
        exporting = import_cluster_module("cluster.exporting")
        store = exporting.open_bucket(self.place)
        closing.push_async_callback(store.close)
        target: ExportTarget = exporting.BucketTarget(store)
        return target
