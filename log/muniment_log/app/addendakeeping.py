"""What the integrator that leads does for a cluster's addenda: it erases, and sweeps."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from muniment.local.logs import event
from muniment.local.taskgroup import TaskGroup
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.erasing import ClusterErasable
from muniment_log.cluster.sweeping import Sweeper
from muniment_log.core.erasable import Mark
from muniment_log.core.erasing import Eraser
from muniment_log.core.tokens import token_key
from muniment_log.http.erasing import Erasing
from muniment_log.storage.embedded import leaves_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.config import LogConfig
    from muniment_log.core.sequencer import Sequencer
    from muniment_log.storage.embedded import EmbeddedTiles

_LOGGER: Final = logging.getLogger(__name__)


class AddendaKeeping:
    """It in one term; `run` is its one task.

    Attributes:
        eraser: erases.
        erasing: answers requests to.
    """

    def __init__(
        self,
        config: LogConfig,
        *,
        database: Database,
        objects: ObjectStore,
        sequencer: Sequencer,
        tiles: EmbeddedTiles,
        hold_term: Callable[[DatabaseConnection], Awaitable[None]],
        clock: Callable[[], int],
    ) -> None:
        """Puts its parts together.

        Args:
            config: origin and retention.
            database: where the rows are.
            objects: where the bytes are.
            sequencer: logs erasures.
            tiles: the tree.
            hold_term: see `TreeStore.hold_epoch`.
            clock: Unix seconds.
        """
        origin = config.file.origin
        own = token_key(origin)
        bucket = AddendaObjects(objects)
        erasable = ClusterErasable(database, bucket, hold_term)

        async def logged() -> Mark:
            return Mark((await sequencer.stream(own)).next, tiles.edge.head.size)

        self.eraser = Eraser(
            origin=origin,
            addenda=erasable,
            submit=sequencer.submit_records,
            logged=logged,
            retention=config.retention,
            now_ms=lambda: clock() * 1000,
            new_id=lambda: str(uuid4()),
        )
        self.erasing = Erasing(self.eraser, tiles, lambda: tiles.edge.head.size)
        self._tiles = tiles
        self._look = erasable.look
        self._sweeper = Sweeper(
            database=database,
            objects=bucket,
            leaves=self._leaves,
            size=lambda: tiles.edge.head.size,
            look=erasable.look,
        )

    def _leaves(self, start: int) -> AsyncIterator[bytes]:
        return leaves_from(self._tiles, start)

    async def run(self) -> None:
        """Works until cancelled.

        Raises StorageError if what is stored is damaged, LeaseLostError if another one works.
        """
        async with TaskGroup() as tasks:
            tasks.create_task(self._sweeper.run(), name="sweeper of addenda")
            tasks.create_task(self._erase(), name="eraser")

    async def _erase(self) -> None:
        await self._look()
        again = await self.eraser.catch_up(self._leaves)
        if again:
            event(_LOGGER, logging.WARNING, "an older copy of the addenda", erased_again=again)
        await self.eraser.run()
