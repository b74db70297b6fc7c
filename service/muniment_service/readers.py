"""Query-only connections to a database that a `Writer` of this process has open, through aiosqlite.

A statement is one hop to the thread of its connection and back. So each question is one statement,
which sees one snapshot, and no transaction can stay open and keep the writer from resetting its
write-ahead log.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import aiosqlite

from muniment.local.sqlitefile import open_reader
from muniment.local.workthread import complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHUNK: Final = 64  # rows that an iterated cursor fetches at once; nothing here iterates


class Readers:
    """A pool of connections. Make one with `open`; close it before the writer."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], opened: AsyncExitStack) -> None:
        self._idle: Final = list(connections)
        self._free = asyncio.Semaphore(len(connections))
        self._opened = opened

    @classmethod
    async def open(cls, path: Path, count: int) -> Readers:
        """Opens `count` connections; DatabaseError if one cannot be opened."""
        stack = AsyncExitStack()
        try:
            connections = [await complete(_open(path, stack)) for _ in range(count)]
        except BaseException:
            await complete(stack.aclose())
            raise
        return cls(connections, stack)

    async def rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Runs one statement on a connection that is free; a tuple for each row.

        Raises sqlite3.Error if it cannot be run, or the file cannot be read.
        """
        async with self._free:
            connection = self._idle.pop()
            try:
                # When the caller is cancelled, the thread goes on; what is asked next waits for it.
                return list(await connection.execute_fetchall(statement, values))
            finally:
                self._idle.append(connection)

    async def row(self, statement: str, values: Sequence[object] = ()) -> Any | None:
        """Runs one statement for its first row; None when there is none.

        Raises sqlite3.Error as `rows`.
        """
        rows = await self.rows(statement, values)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Closes every connection, after what it is asked."""
        await complete(self._opened.aclose())


async def _open(path: Path, stack: AsyncExitStack) -> aiosqlite.Connection:
    # Opened before aiosqlite has it: when its own opening fails (0.22.1), it stops its thread
    # without waiting, and the thread then answers an event loop that may be closed.
    reader = await asyncio.to_thread(open_reader, path)
    return await stack.enter_async_context(aiosqlite.Connection(lambda: reader, _CHUNK))
