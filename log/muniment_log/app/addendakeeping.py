"""What the integrator that leads does for a cluster's addenda: it erases, and sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.local.taskgroup import TaskGroup
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.erasing import ClusterErasable
from muniment_log.cluster.sweeping import Sweeper
from muniment_log.core.erasing import Eraser
from muniment_log.http.erasing import Erasing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.config import LogConfig
    from muniment_log.core.sequencer import Sequencer
    from muniment_log.storage.embedded import EmbeddedTiles


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
        bucket = AddendaObjects(objects)
        erasable = ClusterErasable(database, bucket, hold_term)

        self.eraser = Eraser(
            origin=config.file.origin,
            addenda=erasable,
            sequencer=sequencer,
            size=tiles.size,
            retention=config.retention,
            now_ms=lambda: clock() * 1000,
        )
        self.erasing = Erasing(self.eraser, tiles)
        self._tiles = tiles
        self._look = erasable.look
        self._sweeper = Sweeper(
            database=database,
            objects=bucket,
            leaves=tiles.leaves,
            size=tiles.size,
            look=erasable.look,
        )

    async def run(self) -> None:
        """Works until cancelled.

        Raises StorageError if what is stored is damaged, LeaseLostError if another one works.
        """
        async with TaskGroup() as tasks:
            tasks.create_task(self._sweeper.run(), name="sweeper of addenda")
            tasks.create_task(self._erase(), name="eraser")

    async def _erase(self) -> None:
        await self._look()
        await self.eraser.catch_up(self._tiles.leaves)
        await self.eraser.run()
