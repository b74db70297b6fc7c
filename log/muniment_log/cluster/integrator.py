"""Integration: from ordered entries to tiles in the object store, and a head.

One step reads what is ordered, computes its tiles, stores them create-only, and only then moves the
tree's row. Crash argument: tiles are a pure function of the order, so tiles that a dead integrator
left behind are the very ones that the next writes. What is read of the tree was stored before the
row moved. While one step is stored the next is read, so the steps grow with the load.

A head that may be shown has its partial tiles and its partial bundle stored before it is signed:
readers of the bucket find every resource of every published size (C2SP tlog-tiles).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final

from muniment.local.taskgroup import TaskGroup
from muniment_log.core.integrate import integrate
from muniment_log.storage.tilewriter import write_partials, write_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.tlog.heads import Head
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.cluster.treestore import TreeStore
    from muniment_log.core.integrate import Integration, RightEdge
    from muniment_log.core.ordering import Listener
    from muniment_log.core.runs import PlacedRow
    from muniment_log.metrics import LogMetrics
    from muniment_log.storage.embedded import EmbeddedTiles

FIRST_POLL_SECONDS: Final = 0.004
LONGEST_POLL_SECONDS: Final = 0.032
"""How often to look for ordered entries when there are none: often at first, because where one came
others follow, then less."""

LARGE_STEP: Final = 512
"""Leaves from which on a step is computed on a thread, so that the event loop goes on."""


@dataclass(slots=True)
class CommitActivity:
    """Whether a step is under way; a head newer than the present one follows then."""

    is_busy: bool = False


class IntegratedHeads:
    """Stores signed heads for the publisher; see `published.HeadStore`."""

    def __init__(self, store: TreeStore, objects: ObjectStore, tiles: EmbeddedTiles) -> None:
        """Stores heads in `store`, their tiles in `objects`; `tiles` has the newest edge."""
        self._store = store
        self._objects = objects
        self._tiles = tiles
        self._shown = -1  # the size whose partial tiles are stored
        self._stored: frozenset[str] = frozenset()  # their paths

    async def put_signed(self, sign: Callable[[], bytes]) -> bytes:
        """Stores the newest head's partial tiles, then its signed checkpoint.

        Raises:
            LeaseLostError: another integrator works.
            StorageError, UnavailableError: it is not known to be stored.
        """
        head = self._tiles.edge.head
        await self.show(self._tiles.edge)
        note = await asyncio.to_thread(sign)
        await self._store.put_signed(head, note)
        return note

    async def show(self, edge: RightEdge) -> None:
        """Stores the partial tiles of an edge, which is then the newest one shown."""
        if edge.head.size > self._shown:
            self._stored = await write_partials(self._objects, edge, self._stored)
            self._shown = edge.head.size


@dataclass(kw_only=True, eq=False)
class Integrator:
    """Integrates what is ordered; belongs to one event loop, and `run` is its one task."""

    store: TreeStore
    objects: ObjectStore
    heads: IntegratedHeads
    edge: RightEdge
    listener: Listener
    activity: CommitActivity
    metrics: LogMetrics
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def head(self) -> Head:
        """The integrated head."""
        return self.edge.head

    def wake(self) -> None:
        """Something was ordered, in this process: no need to wait for the next look."""
        self._news.set()

    async def run(self) -> None:
        """Integrates, until cancelled.

        Raises:
            LeaseLostError: another integrator works.
            UnavailableError: the database or the object store cannot be reached.
            StorageError: what is stored is not what must be; the process must end.
        """
        reading: asyncio.Task[list[PlacedRow]] | None = None
        pause = FIRST_POLL_SECONDS
        try:
            while True:
                self._news.clear()
                if reading is None:
                    reading = asyncio.create_task(self.store.runs(self.edge.head.size))
                runs = await reading
                reading = None
                if runs:
                    reading = asyncio.create_task(self.store.runs(runs[-1].end))
                    await self._step(runs)
                    pause = FIRST_POLL_SECONDS
                    continue
                self.activity.is_busy = False
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    pause = min(2 * pause, LONGEST_POLL_SECONDS)
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _step(self, runs: Sequence[PlacedRow]) -> None:
        started = perf_counter()
        self.activity.is_busy = True
        if runs[-1].end - runs[0].first >= LARGE_STEP:
            change = await asyncio.to_thread(integrate, self.edge, runs)
        else:
            change = integrate(self.edge, runs)
        sign = self.listener.signer()
        note = None
        if sign is None:
            await write_tiles(self.objects, change)
        else:
            async with TaskGroup() as tasks:
                tasks.create_task(write_tiles(self.objects, change))
                tasks.create_task(self.heads.show(change.edge))
            note = await asyncio.to_thread(sign, change.edge.head)
        # C7: a crash after tiles are stored and before the tree's row is moved. Tiles are a pure
        # function of the order, so the next integrator writes the very same, create-only.
        await self.store.move(change, sum(len(run.body) for run in runs), note)
        self._advance(change, note)
        self.metrics.committed(runs[-1].end - runs[0].first, perf_counter() - started)

    def _advance(self, change: Integration, note: bytes | None) -> None:
        self.edge = change.edge
        self.activity.is_busy = False
        self.listener.committed(change, note)
