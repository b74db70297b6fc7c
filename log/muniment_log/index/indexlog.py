"""The index log as the log keeps it: what it publishes after each head, and what it answers from.

After each published head, or the newest of several, the map process brings the map up to it, and
the pair of head and map root becomes a leaf of the index log, which is signed, cosigned and
published as every log is. The map stands still until that is done: what it proves is under the root
that the newest published leaf states.

Whatever goes wrong here, records are taken and published as ever: the index log stands still, says
why, and is opened again a little later. What can only be wrong for good ends it until a restart: it
must not sign a second history.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from muniment.local.backoff import Backoff
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError
from muniment.local.taskgroup import TaskGroup
from muniment.map.mapfile import forget_map
from muniment.map.reader import MapReader
from muniment.records.touched import MAP_VERSION
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.indexleaf import IndexLeaf, parse_index_leaf
from muniment.tlog.treereader import read_entry
from muniment_log.errors import (
    IndexLogError,
    IndexLogUnavailableError,
    NotPublishedError,
    RolledBackError,
)
from muniment_log.index.mapreading import read_lists
from muniment_log.publish.published import published_size
from muniment_service.process import first_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from muniment.complete.keys import Key
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.config import LogConfig
    from muniment_log.core.ports import TileSource
    from muniment_log.index.mapprocess import MapProcess
    from muniment_log.index.mapreading import Lists
    from muniment_log.publish.publisher import Publisher
    from muniment_log.storage.leaforder import LeafOrder
    from muniment_service.metrics import Metrics

FIRST_PAUSE: Final = 1.0
"""Seconds before the index log is opened again after an error; doubles while it goes on."""

MAX_PAUSE: Final = 60.0

HOLD_SECONDS: Final = 60.0
"""How long the map stands still for a leaf that gets no quorum. Then it goes on with the log, so as
not to be far behind when the witnesses are back, and nothing is proved until they are."""

LASTING: Final = (IndexLogError, RolledBackError)
"""What ends the index log until the log is started again."""

_LOGGER: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


class OpenIndexLog(Protocol):
    """An index log that may be written."""

    @property
    def publisher(self) -> Publisher:
        """Publishes its heads."""
        ...

    @property
    def tiles(self) -> TileSource:
        """Its tree."""
        ...

    @property
    def order(self) -> LeafOrder:
        """Appends to it."""
        ...

    @property
    def map(self) -> MapProcess:
        """Computes map roots."""
        ...

    async def cleared(self) -> None:
        """Waits until it is known whether a leaf may be appended; UnavailableError if not."""
        ...

    async def reload(self, config: LogConfig) -> None:
        """Takes the witnesses of a changed configuration of the log."""
        ...


@dataclass(frozen=True)
class Proving:
    """What answers are made from: the newest published leaf, with all that it rests on.

    Attributes:
        map: the map at the leaf's size; only the reader's thread uses it.
        leaf: the leaf.
        number: its index in the index log, of which it is the last leaf.
        head: the log's published checkpoint at the leaf's size.
        index_head: the index log's published checkpoint.
        tiles: the index log's tree.
    """

    map: MapReader
    leaf: IndexLeaf
    number: int
    head: SignedCheckpoint
    index_head: SignedCheckpoint
    tiles: TileSource


class IndexLog:
    """Keeps the index log open and up to date; belongs to the event loop, `run` is its one task."""

    def __init__(
        self,
        *,
        config: LogConfig,
        log: Publisher,
        opening: Callable[
            [LogConfig, Callable[[int], None]], AbstractAsyncContextManager[OpenIndexLog]
        ],
        pace_seconds: float,
        metrics: Metrics,
    ) -> None:
        """Puts it together; nothing is opened yet.

        Args:
            config: the log's.
            log: the log's publisher.
            opening: opens the index log's files by the configuration in force, and starts the map
                process, which tells how far the map is.
            pace_seconds: time between two leaves, at least.
            metrics: where to count.
        """
        self._config = config
        self._origin: Final = config.file.origin
        self.database: Final = config.database
        self._map_file: Final = config.map
        self._log = log
        self._opening = opening
        self._pace = pace_seconds
        self._opened: OpenIndexLog | None = None
        self._proving: Proving | None = None
        self._covered = 0
        self._map_size = 0
        self._error = "it is being opened"
        self._damaged = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="map-reader")
        metrics.gauge(
            "covered_size", "Leaves of the log that the newest published leaf is about."
        ).set_function(lambda: self._covered)
        metrics.gauge(
            "lag", "Published leaves of the log that no published leaf is about yet."
        ).set_function(lambda: self._lag)
        metrics.gauge("map_size", "Leaves that the map reflects.").set_function(
            lambda: self._map_size
        )
        metrics.gauge("running", "1 while the index log is kept up to date.").set_function(
            lambda: float(not self._error)
        )

    @property
    def _lag(self) -> int:
        return max(0, published_size(self._log.published) - self._covered)

    @property
    def state(self) -> dict[str, Any]:
        """How far it is, and why it stands still, for readiness."""
        state: dict[str, Any] = {
            "covered": self._covered,
            "lag": self._lag,
            "map": self._map_size,
            "error": self._error or None,
        }
        if self._opened is not None:
            publisher = self._opened.publisher
            state |= {
                "integrated": publisher.integrated.size,
                "published": published_size(publisher.published),
                "stalled": publisher.is_stalled,
                "witnesses": publisher.witnesses,
            }
        return state

    @property
    def opened(self) -> OpenIndexLog:
        """The index log; IndexLogUnavailableError while it is not open."""
        if self._opened is None:
            raise IndexLogUnavailableError(f"the index log is not kept now: {self._error}")
        return self._opened

    def proving(self) -> Proving:
        """What answers are made from now.

        Raises IndexLogUnavailableError while there is nothing that is published and proved.
        """
        current = self._proving
        if current is None:
            why = self._error or "its newest leaf is not published yet"
            raise IndexLogUnavailableError(f"the index log proves nothing now: {why}")
        # Of trees that have not grown, the cosignatures may be newer.
        log, own = self._log.published, self.opened.publisher.published
        if log is not None and log.checkpoint == current.head.checkpoint:
            current = replace(current, head=log)
        if own is not None and own.checkpoint == current.index_head.checkpoint:
            current = replace(current, index_head=own)
        return current

    async def read(self, current: Proving, keys: Sequence[Key], limit: int) -> Lists:
        """Reads lists of the map, see `read_lists`; to be asked for as soon as `proving` has told.

        Raises:
            FormatError: a list is too long to be proved.
            IndexLogUnavailableError: the map is damaged; it is built again.
        """
        try:
            return await self._ask(
                lambda: read_lists(current.map, current.leaf.map_root, keys, limit)
            )
        except (DatabaseError, FatalDatabaseError, VerificationError) as error:
            event(_LOGGER, logging.ERROR, "the map is damaged", error=str(error))
            self._damaged.set()
            raise IndexLogUnavailableError(f"the map is damaged: {error}") from error

    async def _ask(self, question: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)

    async def reload(self, config: LogConfig) -> None:
        """Takes the witnesses of a changed configuration of the log, also when it opens again."""
        self._config = config
        if self._opened is not None:
            await self._opened.reload(config)

    async def run(self) -> None:
        """Keeps it, until cancelled or until it must not go on."""
        backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        try:
            while True:
                error = await self._keep(backoff)
                self._error = str(error).partition("\n")[0] or type(error).__name__
                is_lasting = isinstance(error, LASTING)
                event(
                    _LOGGER,
                    logging.ERROR if is_lasting else logging.WARNING,
                    "the index log must not go on" if is_lasting else "the index log stands still",
                    error=self._error,
                )
                if is_lasting:
                    await asyncio.Event().wait()
                await asyncio.sleep(backoff.next())
        finally:
            self._thread.shutdown()

    async def _keep(self, backoff: Backoff) -> BaseException | None:
        """Opens it and publishes, until something goes wrong; what that was."""
        fatal: list[BaseException] = []
        contained = Contained("the index log")
        try:
            with contained:
                if self._damaged.is_set():
                    self._damaged.clear()
                    forget_map(self._map_file)
                config = self._config
                async with self._opening(config, self._reached) as opened:
                    self._opened = opened
                    if config is not self._config:  # a reload came meanwhile
                        await opened.reload(self._config)
                    try:
                        await self._publish(opened, backoff)
                    finally:
                        self._opened = None
                        await self._prove_nothing()
        except* FatalDatabaseError as group:  # of its own file, not of the log's
            fatal.append(first_error(group))
        return fatal[0] if fatal else contained.cause

    def _reached(self, size: int) -> None:
        self._map_size = size

    async def _publish(self, opened: OpenIndexLog, backoff: Backoff) -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(opened.publisher.run(), name="index log: publisher")
            tasks.create_task(self._end_when_damaged(), name="index log: map")
            await self._feed(opened, backoff)

    async def _end_when_damaged(self) -> None:
        await self._damaged.wait()
        raise DatabaseError(f"{self._map_file}: damaged; it is built again")

    async def _feed(self, opened: OpenIndexLog, backoff: Backoff) -> None:
        self._error = ""
        last = await self._continue(opened)
        clock = asyncio.get_running_loop().time
        while True:
            await self._log.reached(last + 1)
            await self._log.settled()
            started, head = clock(), self._log.published
            if head is None:
                raise AssertionError("a head was announced and is settled")
            last = await self._append(opened, head)
            backoff.reset()
            await asyncio.sleep(max(0.0, started + self._pace - clock()))

    async def _continue(self, opened: OpenIndexLog) -> int:
        """Goes on behind the last leaf; the size that it is about."""
        count = opened.order.head.size
        if not count:
            return 0
        leaf = parse_index_leaf(await read_entry(opened.tiles, count - 1, count))
        if (leaf.origin, leaf.version) != (self._origin, MAP_VERSION):
            raise IndexLogError(
                f"its leaves are about map {leaf.version} of {leaf.origin}, not about map "
                f"{MAP_VERSION} of {self._origin}"
            )
        head = self._log.published
        if head is None or leaf.head.size > head.checkpoint.size:
            raise IndexLogError(
                f"its last leaf is about {leaf.head.size} leaves, and the log has published "
                f"{published_size(head)}"
            )
        if published_size(opened.publisher.published) >= count:
            self._covered = leaf.head.size  # published before; the log may be further by now
        if leaf.head.size == head.checkpoint.size:
            await opened.map.advance(leaf.head, count)
            await self._show(opened, leaf, head)
        return leaf.head.size

    async def _append(self, opened: OpenIndexLog, head: SignedCheckpoint) -> int:
        """Publishes the map root at a head of the log; the size that the new leaf is about."""
        tree = head.checkpoint.head
        root = await opened.map.advance(tree, opened.order.head.size)
        leaf = IndexLeaf(self._origin, tree, root, MAP_VERSION)
        await opened.cleared()
        # I1: a crash here. The map is at a head that was published, and goes on from there.
        await opened.order.append([leaf.encode()])
        # I2: a crash before this leaf has its quorum. The publisher asks its witnesses again (C4),
        # and `_continue` waits for them.
        await self._show(opened, leaf, head)
        return tree.size

    async def _show(self, opened: OpenIndexLog, leaf: IndexLeaf, head: SignedCheckpoint) -> None:
        """Proves by the last leaf, as soon as it is published; not for ever, see HOLD_SECONDS."""
        count = opened.order.head.size
        while True:
            try:
                await opened.publisher.wait(count, HOLD_SECONDS)
                break
            except NotPublishedError as error:
                if published_size(self._log.published) > leaf.head.size:
                    why = str(error)
                    event(_LOGGER, logging.WARNING, "the map goes on without a proof", error=why)
                    await self._prove_nothing()
                    return
        await opened.publisher.settled()
        own = opened.publisher.published
        if own is None:
            raise AssertionError("a head was announced and is settled")
        await self._prove(opened, leaf, head, own)

    async def _prove(
        self, opened: OpenIndexLog, leaf: IndexLeaf, head: SignedCheckpoint, own: SignedCheckpoint
    ) -> None:
        reader = await self._ask(lambda: MapReader(self._map_file))
        if (reader.size, reader.root) != (leaf.head.size, leaf.map_root):
            await self._ask(reader.close)
            raise FormatError(f"{self._map_file}: not the map of the newest leaf")
        before = self._proving
        self._proving = Proving(reader, leaf, own.checkpoint.size - 1, head, own, opened.tiles)
        self._covered = leaf.head.size
        if before is not None:
            await self._ask(before.map.close)

    async def _prove_nothing(self) -> None:
        before, self._proving = self._proving, None
        if before is not None:
            with suppress(Exception):
                await self._ask(before.map.close)
