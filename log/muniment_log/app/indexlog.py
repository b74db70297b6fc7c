"""Puts the index log together: a second log within the log's process, over a file of its own.

It has the log's keys under its own origin, the same witnesses, and a publisher of its own; all of
it is opened as a log is, and compared with what its witnesses know first.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muniment.local.sqlitefile import AbsentDatabaseError
from muniment.tlog.note import parse_vkey
from muniment_log.app.openlog import OpenLog, open_log
from muniment_log.app.storage import EmbeddedStorage
from muniment_log.errors import WrongIdentityError
from muniment_log.index.children import running_child
from muniment_log.index.indexlog import IndexLog
from muniment_log.index.mapprocess import MapProcess
from muniment_log.inforce import Witnesses
from muniment_log.metrics import TreeMetrics
from muniment_log.storage.leaforder import LeafOrder
from muniment_log.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from muniment_log.config import LogConfig
    from muniment_log.core.ports import TileSource
    from muniment_log.publish.publisher import Publisher
    from muniment_service.metrics import Metrics


@dataclass(frozen=True)
class _Opened:
    """See `index.indexlog.OpenIndexLog`."""

    log: OpenLog[SQLiteStore]
    order: LeafOrder
    map: MapProcess
    witnesses: Witnesses

    @property
    def publisher(self) -> Publisher:
        return self.log.publisher

    @property
    def tiles(self) -> TileSource:
        return self.log.tiles

    async def cleared(self) -> None:
        await self.log.doubts.cleared()

    async def reload(self, config: LogConfig) -> None:
        # Those with a rate are asked about the log itself alone: a day has so many requests.
        await self.witnesses.replace(
            config.index_log, lambda asked: self.publisher.use(asked.quorum)
        )


def make_index_log(
    config: LogConfig, log: Publisher, metrics: Metrics, clock: Callable[[], int]
) -> IndexLog:
    """The index log of a log whose configuration has one; it opens its files when it runs."""
    part = metrics.part("index_log")
    measured = TreeMetrics(part)

    @asynccontextmanager
    async def opening(current: LogConfig, reached: Callable[[int], None]) -> AsyncIterator[_Opened]:
        async with AsyncExitStack() as closing:
            own, file = current.index_log, current.file
            store = await _open_store(current)
            closing.push_async_callback(store.close)
            witnesses = await closing.enter_async_context(Witnesses(own))
            storage = EmbeddedStorage(store, await store.load(), is_copy=await store.is_copy())
            opened = await open_log(
                own,
                storage,
                witnesses,
                metrics=measured,
                is_committing=lambda: False,
                now=clock,
            )
            child = await closing.enter_async_context(
                running_child(
                    "muniment_log.index.mapper",
                    "--database", current.database,
                    "--index-log", own.database,
                    "--log-level", file.log_level,
                    "--log-format", file.log_format,
                    current.map,
                )
            )  # fmt: skip
            yield _Opened(
                opened,
                LeafOrder(store, storage.edge, opened.listener),
                MapProcess(child, file.origin, reached),
                witnesses,
            )

    return IndexLog(
        config=config,
        log=log,
        opening=opening,
        pace_seconds=config.file.complete.pace_seconds,
        metrics=part,
    )


async def _open_store(config: LogConfig) -> SQLiteStore:
    """Opens the index log's database, bound to the log's keys of today.

    Raises AbsentDatabaseError, DatabaseError, WrongIdentityError or StorageError if it cannot be
    used.
    """
    own = config.index_log
    try:
        store = await SQLiteStore.open(own.database)
    except AbsentDatabaseError as error:
        raise AbsentDatabaseError(
            f"{error}. If the index log has run before, restore it; if it has not: "
            f"muniment-log new-index-log --config {config.path}"
        ) from error
    try:
        try:
            await store.claim(own.file.origin, own.vkeys)
        except WrongIdentityError:
            # The log's keys were changed, which its own database was bound to first.
            await store.rebind(
                own.file.origin, [parse_vkey(key) for key in own.vkeys], lambda: None
            )
    except BaseException:
        await store.close()
        raise
    return store
