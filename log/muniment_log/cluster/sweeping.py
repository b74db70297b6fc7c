"""Finishes what frontends have left: addenda of requests of which nobody said what became of them.

The integrator that leads does it. It looks for the records in the tree, up to all that was ordered
when it began: what they name gets its place, the rest is deleted. Two that do it at the same time
do the same twice.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event
from muniment_log.cluster import addendarows
from muniment_log.cluster.addenda import clear, finish
from muniment_log.core.naming import unnamed
from muniment_log.errors import EngineRefusedError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from muniment_log.cluster.addendaobjects import AddendaObjects
    from muniment_log.cluster.addendarows import Left
    from muniment_log.cluster.database import Database

LEFT_SECONDS: Final = 30.0
"""After that a request is taken for one that nobody works on any more. If somebody does, it is not
ordered any more, or gets no receipt before the same was done for it."""

SWEEP_SECONDS: Final = 5.0
"""How often to look."""

_MOST: Final = 1000  # in one look

_LOGGER: Final = logging.getLogger(__name__)


class Sweeper:
    """Does it again and again; `run` is its one task."""

    def __init__(
        self,
        *,
        database: Database,
        objects: AddendaObjects,
        leaves: Callable[[int], AsyncIterator[bytes]],
        size: Callable[[], int],
        look: Callable[[], Awaitable[None]],
        left_seconds: float = LEFT_SECONDS,
    ) -> None:
        """Puts a sweeper together.

        Args:
            database: where arrivals are noted.
            objects: where they are.
            leaves: gives the leaves of the tree from an index on.
            size: of the tree.
            look: called each time, to count what is kept.
            left_seconds: how old an arrival is that is looked into.
        """
        self._database = database
        self._objects = objects
        self._leaves = leaves
        self._size = size
        self._look = look
        self._left_seconds = left_seconds

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                await self._look()
                await self.sweep()
            except (UnavailableError, EngineRefusedError) as error:
                event(_LOGGER, logging.WARNING, "sweeping addenda waits", reason=str(error))
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Finishes what is left now; how many addenda it has deleted that no record names.

        Raises UnavailableError or StorageError if the rest has to wait.
        """
        left, ordered = await addendarows.left(self._database, self._left_seconds, _MOST)
        if not left or self._size() < ordered:
            return 0  # a record may be on its way into the tree
        start = min(one.leaves for one in left)
        wanted = set[bytes]().union(*(one.digests for one in left))
        orphans = await unnamed(self._leaves(start), wanted)
        deleted = 0
        for one in left:
            try:
                deleted += await self._finish(one, orphans)
            except EngineRefusedError:
                raise
            except StorageError as error:
                event(_LOGGER, logging.ERROR, "addenda are damaged", key=one.key, error=str(error))
        if deleted:
            event(_LOGGER, logging.WARNING, "removed addenda that no record names", addenda=deleted)
        return deleted

    async def _finish(self, one: Left, orphans: set[bytes]) -> int:
        came = await self._objects.arrived(one.key)
        if came is None:
            await addendarows.done(self._database, [one.key])
            return 0
        named = [addendum for addendum in came if addendum.digest not in orphans]
        if named:
            await finish(self._database, self._objects, one.key, named, one.leaves)
        await clear(self._database, self._objects, [one.key])
        return len(came) - len(named)
