"""Query-only connections to a database that a `Writer` of this process has open, through aiosqlite.

A statement is one hop to the thread of its connection and back. So each question is one statement,
which sees one snapshot, and no transaction can stay open and keep the writer from resetting its
write-ahead log.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiosqlite

from muniment.local.sqlitefile import open_reader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHUNK: Final = 64  # rows that an iterated cursor fetches at once; nothing here iterates


class Readers:
    """A pool of connections. Make one with `open`; close it before the writer."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], opened: AsyncExitStack) -> None:
        """Takes over opened connections and what closes them; use `open`."""
        self._idle: Final = list(connections)
        self._free = asyncio.Semaphore(len(connections))
        self._opened = opened

    @classmethod
    async def open(cls, path: Path, count: int) -> Readers:
        """Opens `count` connections.

        Raises:
            DatabaseError: one cannot be opened.
        """
        async with AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(
                    aiosqlite.Connection(partial(open_reader, path), _CHUNK)
                )
                for _ in range(count)
            ]
            return cls(connections, stack.pop_all())

    async def rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Runs one statement on a connection that is free; a tuple for each row.

        Raises:
            sqlite3.Error: it cannot be run, or the file cannot be read.
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

        Raises:
            sqlite3.Error: as `rows`.
        """
        rows = await self.rows(statement, values)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Closes every connection, after what it is asked."""
        await self._opened.aclose()
