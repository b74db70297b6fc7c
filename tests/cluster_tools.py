"""The cluster's storage without HTTP: frontends' sequencers, an integrator, tiles in a bucket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import signing
from engines import Bucket
from log_tools import ORIGIN
from muniment.tlog.heads import Head
from muniment.tlog.tiles import Tile
from muniment_log.cluster.database import Database
from muniment_log.cluster.integrator import CommitActivity, IntegratedHeads, Integrator
from muniment_log.cluster.lease import Lease
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.order import Backlog, PostgresOrder
from muniment_log.cluster.takeover import BucketTiles, rebuild
from muniment_log.cluster.tiles import ObjectTiles
from muniment_log.cluster.treestore import TreeStore
from muniment_log.core.integrate import EMPTY_EDGE, Integration
from muniment_log.core.sequencer import Sequencer, SequencerLimits
from muniment_log.core.sharedsequencer import SharedSequencer
from muniment_log.core.tokens import TokenFramer
from muniment_log.metrics import LogMetrics
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.tilewriter import write_partials
from muniment_service.metrics import Metrics

SECONDS = 60.0  # only a failure waits so long


@dataclass
class Listening:
    """A `Listener` that advances the tiles and signs nothing."""

    tiles: EmbeddedTiles

    def signer(self) -> Callable[[Head], bytes] | None:
        return None

    def committed(self, change: Integration, signed: bytes | None) -> None:
        self.tiles.advance(change)


class Settled:
    """A `TileSource` that first waits until all that is ordered is in the tree."""

    def __init__(self, tiles: EmbeddedTiles, database: Database) -> None:
        self.tiles = tiles
        self.database = database

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        await self.settle()
        return await self.tiles.read(tiles)

    async def settle(self) -> None:
        ordered = await ordered_in(self.database)
        async with asyncio.timeout(SECONDS):
            while self.tiles.edge.head.size < ordered:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.002)

    async def checkpoint(self) -> bytes | None:
        return await self.tiles.checkpoint()


class Shown:
    """A `TileSource` of the bucket, in which all that is ordered is shown before it is read."""

    def __init__(self, settled: Settled, objects: ObjectStore) -> None:
        self.settled = settled
        self.objects = objects
        self.head = EMPTY_EDGE.head
        self.tiles = ObjectTiles(objects, lambda: self.head)

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        await self.settled.settle()
        edge = self.settled.tiles.edge
        await write_partials(self.objects, edge)
        self.head = edge.head
        return await self.tiles.read(tiles)

    async def checkpoint(self) -> bytes | None:
        return await self.tiles.checkpoint()


async def ordered_in(database: Database) -> int:
    """Leaves that have an index."""
    size = await database.read(
        lambda db: db.fetchval("SELECT next FROM coordinator WHERE id = 0"), "test"
    )
    assert isinstance(size, int)
    return size


@dataclass
class Clustered:
    """A cluster without HTTP and without witnesses.

    Attributes:
        arriving: what requests with addenda of the first frontend have brought, before the order.
    """

    database: Database
    sequencers: list[Sequencer]
    tiles: Settled
    shown: Shown
    bucket: BucketTiles
    integrator: Integrator
    arriving: set[str]


@contextlib.asynccontextmanager
async def clustered(
    url: str,
    bucket: Bucket,
    limits: SequencerLimits,
    *,
    frontends: int = 1,
    backlog: Backlog | None = None,
) -> AsyncIterator[Clustered]:
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(url)
        stack.push_async_callback(database.close)
        await migrate(database)
        objects = ObjectStore.open(bucket.url, environment=bucket.environment)
        stack.push_async_callback(objects.close)
        lease = await Lease.acquire(database, "test", 30)
        store = TreeStore(database, lease.epoch)
        loaded = await store.load()
        full = BucketTiles(objects, store)
        edge = await rebuild(loaded, full)
        tiles = EmbeddedTiles(full, edge, loaded.published)
        await full.reconcile(ORIGIN, [], loaded, tiles)
        metrics = LogMetrics(Metrics("test"))
        integrator = Integrator(
            store=store,
            objects=objects,
            heads=IntegratedHeads(store, objects, tiles),
            edge=edge,
            listener=Listening(tiles),
            activity=CommitActivity(),
            metrics=metrics,
        )
        arriving: set[str] = set()
        framer = TokenFramer(ORIGIN, signing.log_signer())
        sequencers = [
            SharedSequencer(
                order=PostgresOrder(
                    database,
                    backlog or Backlog(),
                    kept=limits.recalled_records,
                    arriving=() if number else arriving,
                ),
                queue=limits.queue(framer),
                metrics=metrics,
                limits=limits,
            )
            for number in range(frontends)
        ]
        tasks = [asyncio.create_task(one.run()) for one in (*sequencers, integrator)]

        async def stop() -> None:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for error in ended:
                if not isinstance(error, asyncio.CancelledError):
                    raise error

        stack.push_async_callback(stop)
        settled = Settled(tiles, database)
        shown = Shown(settled, objects)
        yield Clustered(database, sequencers, settled, shown, full, integrator, arriving)
