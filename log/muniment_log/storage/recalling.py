"""Reads what was sent before, in one statement for all requests that ask while one is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment_log.core.recall import Recall, scope_of, unpack_runs
from muniment_log.storage.newest import numbers, places
from muniment_log.storage.recalled import ROWS, recalls_of
from muniment_log.storage.reporting import reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_log.core.ports import StreamKey
    from muniment_log.storage.recalled import Recalled
    from muniment_service.readers import Readers

_OLD: Final = "SELECT name, content, time, runs FROM recall WHERE stream = ? AND name IN ({})"

_NAMES: Final = 512
"""Names that one statement asks for."""


class _Asked(NamedTuple):
    """What requests that came together ask to recall, and the task that reads it."""

    names: set[bytes]
    reading: asyncio.Task[dict[bytes, Recall]]


class Recalls:
    """What is kept under names; belongs to one event loop."""

    def __init__(self, readers: Readers, recalled: Recalled) -> None:
        self._readers = readers
        self._recalled = recalled
        self._asked: dict[bytes, _Asked] = {}
        self._reading = asyncio.Lock()

    async def read(self, key: StreamKey, names: Sequence[bytes]) -> dict[bytes, Recall]:
        """What is kept under names of a stream of the log's own.

        Raises StorageError if the file cannot be read.
        """
        scope = scope_of(key)
        asked = self._asked.get(scope)
        if asked is None:
            reading = asyncio.get_running_loop().create_task(self._recall_all(scope))
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            asked = self._asked[scope] = _Asked(set(), reading)
        asked.names.update(names)
        found = await asyncio.shield(asked.reading)  # others may wait for it, too
        return {name: found[name] for name in names if name in found}

    async def _recall_all(self, scope: bytes) -> dict[bytes, Recall]:
        """Reads for all who have asked by the time that the reading before is done."""
        found: dict[bytes, Recall] = {}
        async with self._reading:
            names = list(self._asked.pop(scope).names)
            with reported("reading what was sent before"):
                for start in range(0, len(names), _NAMES):
                    found.update(await self._find(scope, names[start : start + _NAMES]))
        return found

    async def _find(self, scope: bytes, names: Sequence[bytes]) -> dict[bytes, Recall]:
        keys = [scope + name for name in names]
        newest = [self._recalled.newest.get(key) for key in keys]
        ids = numbers(id_ for id_ in newest if id_ is not None)
        wanted = frozenset(names)
        found: dict[bytes, Recall] = {}
        for row in await self._readers.rows(ROWS, (*places(keys), scope, ids)):
            found.update({one.name: one for one in recalls_of(*row) if one.name in wanted})
        if self._recalled.has_old:
            statement = _OLD.format(", ".join("?" * len(names)))
            for name, content, time, runs in await self._readers.rows(statement, (scope, *names)):
                found[name] = Recall(name, content, time, unpack_runs(runs))
        return found
