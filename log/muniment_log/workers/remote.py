"""The ports of a log as a worker has them: what another process orders, publishes and keeps."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.heads import Head
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH
from muniment_log.core.budgets import Budgets, Rates
from muniment_log.core.integrate import EMPTY_EDGE, RightEdge
from muniment_log.core.ports import Receipt
from muniment_log.publish.published import HeadWaiters, published_size
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.tilereads import read_tiles
from muniment_log.workers.wire import BatchOrder, EdgeParts, RecordsOrder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from muniment.records.manifest import Batch
    from muniment.tlog.tiles import Tile
    from muniment_log.core.addenda import Sent
    from muniment_log.core.repeats import RequestRecords
    from muniment_log.errors import DamagedTileError
    from muniment_log.workers.channel import Channel
    from muniment_service.readers import Readers


class RemoteOrders:
    """An `OrdersPort`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def batch(self, batch: Batch, sent: Sent | None) -> Receipt:
        """See `OrdersPort`."""
        return await self._channel.ask_for(Receipt, "batch", BatchOrder.of(batch, sent))

    async def records(self, producer: str, request: RequestRecords, sent: Sent | None) -> Receipt:
        """See `OrdersPort`."""
        order = RecordsOrder.of(producer, request, sent)
        if sent is None:
            receipt = await self._channel.ask("records at once", order)
            if receipt is not None:
                return msgspec.convert(receipt, Receipt)
        # They have addenda, or something has to be waited for: a lookup of what came before, say.
        return await self._channel.ask_for(Receipt, "records", order)


class RemoteHead:
    """An `AwaitedHead`, which is told of each head that is announced, and of what is served.

    Attributes:
        published: the newest checkpoint that this process knows to be served; a newer one may be
            out. None before the first.
    """

    def __init__(self, channel: Channel, tiles: WorkerTiles) -> None:
        self.published: SignedCheckpoint | None = None
        self._channel = channel
        self._tiles = tiles
        self._waiting = HeadWaiters()
        self._interested = 0

    @property
    def integrated(self) -> Head:
        """The newest integrated head that this process knows."""
        return self._tiles.edge.head

    @property
    def size(self) -> int:
        """Leaves that are served for certain."""
        return published_size(self.published)

    def announced(self, note: bytes) -> None:
        """Takes a checkpoint that those may have who wait for it."""
        self._tell(parse_signed_checkpoint(note))

    def served(self, note: bytes) -> None:
        """Takes a checkpoint that everybody may have."""
        self.published = parse_signed_checkpoint(note)
        self._tell(self.published)

    @contextmanager
    def interest(self) -> Iterator[None]:
        """See `AwaitedHead`."""
        self._interested += 1
        if self._interested == 1:
            self._channel.tell("interested", value=True)
        try:
            yield
        finally:
            self._interested -= 1
            if not self._interested:
                self._channel.tell("interested", value=False)

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """See `AwaitedHead`."""
        return await self._waiting.wait(size, seconds)

    def stop(self) -> None:
        """Refuses all who wait, now and later."""
        self._waiting.stop()

    def _tell(self, signed: SignedCheckpoint) -> None:
        if signed.checkpoint.size > published_size(self._waiting.newest):
            self._waiting.tell(signed)


class WorkerTiles:
    """A `TileSource`: full tiles out of the log's file, authenticated by the right edge.

    The edge is the one that this process last asked for. It asks again for what lies beyond it.
    """

    def __init__(self, channel: Channel, readers: Readers, pruned: int) -> None:
        self._channel = channel
        self._asking: asyncio.Task[None] | None = None
        self._tiles = EmbeddedTiles(
            _ReadOnly(readers), EMPTY_EDGE, None, damaged=self._damaged, pruned=pruned
        )

    @property
    def edge(self) -> RightEdge:
        """The newest right edge that this process knows, without the entries of the last bundle."""
        return self._tiles.edge

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """See `TileSource`."""
        await self._follow(max((tile.end for tile in tiles), default=0))
        # The entries of the last bundle are in the other process's memory alone.
        last = self.edge.head.size // TILE_WIDTH
        far = [tile for tile in tiles if tile.level == ENTRIES and tile.index >= last]
        found = await self._tiles.read([tile for tile in tiles if tile not in far])
        for tile in far:
            found[tile] = await self._channel.ask("bundle", (tile.index, tile.width))
        return found

    async def checkpoint(self) -> bytes | None:
        """Is nobody's question to a worker: the other process answers what asks for it."""
        raise AssertionError("a worker does not serve the checkpoint")

    async def _follow(self, size: int) -> None:
        while (before := self.edge.head.size) < size:
            # Those who need a newer edge at the same time get it together.
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
                self._asking.add_done_callback(self._asked)
            await asyncio.shield(self._asking)
            if self.edge.head.size == before:
                return  # beyond the tree, as `EmbeddedTiles` then says

    async def _ask(self) -> None:
        parts = await self._channel.ask_for(EdgeParts, "edge")
        if parts.size > self.edge.head.size:
            tiles = TileEdge(parts.size, tuple(parts.partials))
            self._tiles.follow(RightEdge(Head(parts.size, parts.root), (), tiles))

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # read: whoever waited may be gone

    def _damaged(self, error: DamagedTileError) -> None:
        self._channel.tell("damaged", error.path)


class _ReadOnly:
    """The full tiles of a log that another process writes."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `FullTiles`."""
        return await read_tiles(self._readers, wanted)

    async def put_published(self, note: bytes) -> None:
        """Is never called: a worker publishes nothing."""
        raise AssertionError(f"a worker does not publish: {note!r}")


class SharedBudgets(Budgets):
    """The budgets of all workers: each counts for itself and tells the others.

    A producer that spreads its requests over workers may get through what it sends within the
    millisecond that the news takes; it waits the longer afterwards. A worker that is started again
    has full budgets, as a log has that is started again.
    """

    def __init__(
        self,
        channel: Channel,
        default: Rates,
        rates: Mapping[str, Rates],
        failures_per_second: float | None,
    ) -> None:
        super().__init__(default, rates, failures_per_second)
        self._channel = channel
        self._counts = failures_per_second is not None
        self._general = default.has_limit
        self._limited = self._general or any(rate.has_limit for rate in rates.values())

    def replace(self, rates: Mapping[str, Rates]) -> None:
        """See `Budgets.replace`."""
        super().replace(rates)
        self._limited = self._general or any(rate.has_limit for rate in rates.values())

    def charge(self, producer: str, *, records: int = 0, size: int = 0) -> None:
        """See `Budgets.charge`."""
        if self._limited:
            super().charge(producer, records=records, size=size)
            self._channel.tell("charged", [producer, records, size])

    def failed(self, address: str) -> None:
        """See `Budgets.failed`."""
        if self._counts:
            super().failed(address)
            self._channel.tell("failed", address)

    def others_charged(self, value: tuple[str, int, int]) -> None:
        """Another worker has charged somebody."""
        producer, records, size = value
        super().charge(producer, records=records, size=size)

    def others_failed(self, address: str) -> None:
        """Another worker has had an unauthenticated request."""
        super().failed(address)
