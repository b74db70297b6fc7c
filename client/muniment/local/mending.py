"""A database that is opened anew after an error of its disk: a full one has room again some day.

A `Writer` is unusable after such an error, because only a fresh look at the file tells whether the
last transaction is there. A log or a witness ends then, to be started again. A gateway goes on:
what it keeps beside its decisions is found by what it is; its spool looks for what it wrote last.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from sqlite3 import Connection
from typing import Self, TypeVar

from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, Writer

_T = TypeVar("_T")


async def _nothing(_: Writer) -> None:
    pass


class MendingWriter:
    """Runs transactions; opens the file anew after an error of the disk."""

    def __init__(
        self,
        writer: Writer,
        open_: Callable[[], Awaitable[Writer]],
        look: Callable[[Writer], Awaitable[None]] = _nothing,
    ) -> None:
        """Takes a writer, and what opens the file once more.

        `look` sees each file that was opened anew before anybody else does; when it raises, it is
        closed again.
        """
        self._writer: Writer | None = writer
        self._open = open_
        self._look = look
        self._mending = asyncio.Lock()

    @classmethod
    async def open(cls, open_: Callable[[], Awaitable[Writer]]) -> Self:
        """Opens the file; DatabaseError if that cannot be used."""
        return cls(await open_(), open_)

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be run until the file was opened anew."""
        return self._writer is None or self._writer.is_broken

    async def run(self, work: Callable[[Connection], _T], *, synced: bool = True) -> _T:
        """Runs a transaction, see `Writer.run`, in a file that was opened anew if it has to be.

        Raises DatabaseError if that cannot be, or the disk has failed. It ends no process: whether
        the transaction is there the next one finds out.
        """
        await self.mend()
        try:
            return await self.attempt(work, synced=synced)
        except FatalDatabaseError as error:
            raise DatabaseError(str(error)) from error

    async def attempt(self, work: Callable[[Connection], _T], *, synced: bool = True) -> _T:
        """As `Writer.run`, which a broken file does not do: a FatalDatabaseError."""
        if self._writer is None:
            raise FatalDatabaseError("the database is closed, and could not be opened again")
        return await self._writer.run(work, synced=synced)

    async def truncate_log(self) -> bool:
        """As `Writer.truncate_log`; true for a file that is not open: nothing is cut off."""
        return self._writer is None or await self._writer.truncate_log()

    async def mend(self) -> bool:
        """Opens the file anew, if it is broken, and says whether it did.

        Raises DatabaseError if it cannot be opened, and what `look` raises.
        """
        if not self.is_broken:
            return False
        async with self._mending:
            if not self.is_broken:
                return False  # somebody else was first
            broken, self._writer = self._writer, None
            if broken is not None:
                with suppress(sqlite3.Error):
                    await broken.close()
            writer = await self._open()
            try:
                await self._look(writer)
            except BaseException:
                await writer.close()
                raise
            self._writer = writer
            return True

    async def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            await self._writer.close()
