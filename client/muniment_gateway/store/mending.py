"""A database that is opened anew after an error of its disk: a full one has room again some day.

A `Writer` is unusable after such an error, because only a fresh look at the file tells whether the
last transaction is there. A log or a witness ends then, to be started again. What a gateway keeps
beside its decisions is found by what it is, so that a fresh look at the next use is enough.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from sqlite3 import Connection
from typing import Self, TypeVar

from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, Writer

_T = TypeVar("_T")


class MendingWriter:
    """Runs transactions; after an error of the disk, the next one opens the file anew."""

    def __init__(self, writer: Writer, open_: Callable[[], Awaitable[Writer]]) -> None:
        """Takes a writer, and what opens the file once more."""
        self._writer: Writer | None = writer
        self._open = open_
        self._mending = asyncio.Lock()

    @classmethod
    async def open(cls, open_: Callable[[], Awaitable[Writer]]) -> Self:
        """Opens the file; DatabaseError if that cannot be used."""
        return cls(await open_(), open_)

    async def run(self, work: Callable[[Connection], _T], *, synced: bool = True) -> _T:
        """Runs a transaction, see `Writer.run`.

        Raises DatabaseError if the file cannot be opened anew, or the disk has failed. That ends no
        process: whether the transaction is there the next one finds out.
        """
        writer = self._writer
        if writer is None or writer.is_broken:
            writer = await self._mend()
        try:
            return await writer.run(work, synced=synced)
        except FatalDatabaseError as error:
            raise DatabaseError(str(error)) from error

    async def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            await self._writer.close()

    async def _mend(self) -> Writer:
        async with self._mending:
            writer = self._writer
            if writer is not None and not writer.is_broken:
                return writer  # somebody else was first
            if writer is not None:
                self._writer = None
                with suppress(sqlite3.Error):
                    await writer.close()
            self._writer = writer = await self._open()
            return writer
