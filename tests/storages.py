"""The implementations of the storage ports, each opened at a path as its contract says."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

import cluster_tools
import engines
import log_tools
from muniment.records.manifest import Batch
from muniment_log.core.ports import Receipt, SequencerPort, StreamKey, StreamState, TileSource
from muniment_log.core.repeats import RequestRecords


@dataclass
class Ports:
    sequencer: SequencerPort
    tiles: TileSource
    publish: Callable[[bytes], Awaitable[None]]


Opener = Callable[[Path], contextlib.AbstractAsyncContextManager[Ports]]

LIMITS = replace(log_tools.LIMITS, waiting_bytes=1 << 20, parked_batches=4, recalled_records=50)


@contextlib.asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[Ports]:
    async with log_tools.embedded(path / "log.db", LIMITS) as log:
        yield Ports(log.sequencer, log.tiles, log.tiles.publish)


def cluster(database: str, bucket: engines.Bucket, *, reads_bucket: bool) -> Opener:
    """Two frontends, which take turns: a retry may reach another one.

    Tiles are the integrator's own, or those that a frontend reads out of the bucket.
    """

    @contextlib.asynccontextmanager
    async def opened(_: Path) -> AsyncIterator[Ports]:
        async with cluster_tools.clustered(database, bucket, LIMITS, frontends=2) as made:
            tiles = made.shown if reads_bucket else made.tiles
            yield Ports(Alternating(made.sequencers), tiles, made.tiles.tiles.publish)

    return opened


class Alternating:
    """A `SequencerPort` that is several, each of which gets the next call."""

    def __init__(self, sequencers: Sequence[SequencerPort]) -> None:
        self.turns = itertools.cycle(sequencers)

    async def submit(self, batch: Batch) -> Receipt:
        return await next(self.turns).submit(batch)

    async def submit_records(self, producer: str, request: RequestRecords) -> Receipt:
        return await next(self.turns).submit_records(producer, request)

    async def stream(self, key: StreamKey) -> StreamState:
        return await next(self.turns).stream(key)
