"""The file of a spool as one process writes it: in groups, and opened anew when its disk failed.

Callers that come together share a transaction. When one fails because the disk is full, the room
that was set aside (``SpareRoom``) takes what has happened already; what only begins is told of it.
After an error of the disk nobody knows what is in the file, so it is opened anew, and read.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from muniment.errors import SpoolFull
from muniment.gateway.keptaddenda import KeptBytes
from muniment.gateway.spoolfile import Change, SpareRoom, SpoolFile
from muniment.gateway.spoolputs import Put, change_of, settle
from muniment.gateway.spoolschema import APPLICATION_ID, MIGRATIONS
from muniment.gateway.withholding import Addenda
from muniment.local.mending import MendingWriter
from muniment.local.sqliteerrors import is_locked
from muniment.local.sqlitefile import DatabaseError, Expected, FatalDatabaseError, Writer
from muniment.tlog.encoding import MunimentError

SPARE_SUFFIX: Final = ".spare"
"""Appended to the file's name for the room that is set aside on its disk."""

LEISURE_SECONDS: Final = 0.05
"""How long what need not be written at once waits for something that must."""

_LOCKED_ATTEMPTS: Final = 15
"""Attempts to write records to a file that another program has locked; each waits for it, too."""

T = TypeVar("T")

_Inode: TypeAlias = tuple[int, int] | None
"""Device and inode of a file; None if it is not there, or was cut off."""


class SpoolStore:
    """The file, for one process. Make one with ``open``, end it with ``close``.

    Attributes:
        path: The file's path.
        file: What is in it.
        failure: Why it cannot be written; None while all is well.
        going_on: For each call that is going on, by number, the bytes set aside for its outcome.
        changed: Set whenever records were added, or the file has failed.
    """

    def __init__(self, writer: Writer, file: SpoolFile) -> None:
        self.path: Final = writer.path
        self.file = file
        self.failure: MunimentError | None = None
        self.going_on: dict[int, int] = {}
        self.changed: Final = asyncio.Event()
        self.is_new: Final = writer.is_new
        again = partial(
            Writer.open, writer.path, MIGRATIONS, application=APPLICATION_ID, expected="old"
        )
        self._writer = MendingWriter(writer, again, self._look)
        self._identity = _identity(writer.path)
        self._spare = SpareRoom(writer.path.with_name(writer.path.name + SPARE_SUFFIX))
        self._waiting: list[Put] = []
        self._flushing: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._last: bytes | None = None  # last record of the transaction under way
        self._is_written = False  # that one, as the file says after it was opened anew

    @classmethod
    async def open(cls, path: Path, *, expected: Expected = "either") -> "SpoolStore":
        """Opens the file, or makes it, if that is expected; the calls of the last process are over.

        Raises DatabaseError if it is in use, or no spool.
        """
        writer = await Writer.open(path, MIGRATIONS, application=APPLICATION_ID, expected=expected)
        try:
            return cls(writer, await writer.run(SpoolFile.resume))
        except BaseException:
            await writer.close()
            raise

    @property
    def records(self) -> int:
        """Records in the file, on their way to it, and to come of calls that are going on."""
        waiting = sum(len(one.entries) for one in self._waiting)
        return self.file.records + waiting + len(self.going_on)

    @property
    def size(self) -> int:
        """Their bytes."""
        waiting = sum(one.size for one in self._waiting)
        return self.file.size + waiting + sum(self.going_on.values())

    async def put(
        self,
        entries: Sequence[bytes],
        addenda: Addenda | None = None,
        kept: Sequence[KeptBytes] = (),
        names: Sequence[bytes] = (),
    ) -> None:
        """Adds records; returns once they are synced, or raises as ``run`` if they cannot be.

        ``addenda`` are sent with them, by their number; ``kept`` stay; ``names`` are those by which
        they are recognised. Without records it raises as ``begin`` too.
        """
        put = Put(entries, addenda=addenda, kept=kept, names=names, is_beginning=not entries)
        await self._take(put)

    async def begin(
        self,
        call: int,
        unseen: bytes,
        size: int,
        addenda: Sequence[bytes] = (),
        kept: Sequence[KeptBytes] = (),
    ) -> None:
        """Sets bytes aside for the outcome of a call, which is `unseen` until it ends.

        ``addenda`` are sent with that one; ``kept`` stay.

        Raises:
            SpoolFull: If the disk is full.
            FatalDatabaseError, DatabaseError: If the file cannot be written.
        """
        self.going_on[call] = size
        try:
            own = {0: addenda} if addenda else None
            begun = (call, unseen)
            await self._take(Put(begun=begun, addenda=own, kept=kept, is_beginning=True))
        except BaseException:
            self.forget(call)
            raise

    async def end(
        self,
        call: int,
        outcome: bytes,
        addenda: Sequence[bytes] = (),
        kept: Sequence[KeptBytes] = (),
        *,
        at_leisure: bool = False,
    ) -> None:
        """Adds the outcome of a call, see ``put``; returns once it is synced.

        What is written `at_leisure` goes with the next record, or after LEISURE_SECONDS alone.
        """
        own = {0: addenda} if addenda else None
        put = Put([outcome], ended=call, addenda=own, kept=kept)
        await self._take(put, at_leisure=at_leisure)

    def forget(self, call: int) -> None:
        """Ends a call without an outcome, soon."""
        self.going_on.pop(call, None)
        self._waiting.append(Put(ended=call))
        self._begin_to_flush()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, synced: bool = True) -> T:
        """Runs a transaction, see ``Writer.run``; a ``FatalDatabaseError`` if the disk failed."""
        return await self._writer.attempt(work, synced=synced)

    async def wipe(self) -> None:
        """Has what was deleted disappear from the write-ahead log, too.

        Raises DatabaseError if another program reads the file: then it may be in the log still.
        """
        if not await self._writer.truncate_log():
            raise DatabaseError(
                f"{self.path}: another program reads it; what was erased may still "
                "be in its write-ahead log"
            )

    def check_there(self) -> None:
        """Checks that what is written is where the next process to open the spool looks for it.

        What a file system did with an open file that was deleted, replaced or cut off, nobody sees
        by writing to it. Raises DatabaseError if the file, or its write-ahead log, is not what was
        opened.
        """
        file, log = _identity(self.path)
        # The log of a broken file is another one once that was opened anew.
        if file != self._identity[0] or (log != self._identity[1] and not self.is_broken):
            raise DatabaseError(
                f"{self.path}: the spool's file, or its write-ahead log, is not there any more: "
                "put it back, or close the gateway and open it anew"
            )

    def fail(self, error: MunimentError) -> None:
        """Notes why the file cannot be written."""
        self.failure = error
        self.changed.set()

    async def flushed(self) -> None:
        """Waits until what was taken is written."""
        if self._waiting:
            self._begin_to_flush()
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)

    async def close(self) -> None:
        """Writes what was taken, and closes the file."""
        await self.flushed()
        await self._writer.close()

    # Writing

    async def _take(self, put: Put, *, at_leisure: bool = False) -> None:
        self._waiting.append(put)
        if not at_leisure:
            self._begin_to_flush()
        elif self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(LEISURE_SECONDS, self._begin_to_flush)
        await put.done

    def _begin_to_flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        """Writes what waits, in one transaction for all of it, until nothing waits."""
        while self._waiting:
            taken, self._waiting = self._waiting, []
            if any(one.is_beginning for one in taken):
                try:
                    await self._check_disk()
                except Exception as error:  # noqa: BLE001 - each caller gets it
                    settle([one for one in taken if one.is_beginning], error)
                    taken = [one for one in taken if not one.is_beginning]
            if taken:
                await self._write(taken)

    async def _check_disk(self) -> None:
        """Checks that the file is there and can be written, and that there is room beside it."""
        self.check_there()
        if not self._spare.is_there:
            try:
                await asyncio.to_thread(self._spare.make)
            except OSError as error:
                raise SpoolFull(
                    f"{self.path}: its disk has no room for outcomes: {error.strerror}"
                ) from error
        if self.is_broken:
            await self.mend()

    async def _write(self, taken: Sequence[Put]) -> None:
        change = change_of(taken)
        self._last, self._is_written = change.entries[-1] if change.entries else None, False
        try:
            await self._apply(change)
        except FatalDatabaseError as error:
            self.fail(error)
            await self._write_again(taken, error)
        except Exception as error:  # noqa: BLE001 - each caller gets it
            settle(taken, error)
        else:
            self._note(change)
            settle(taken)
        self._last = None

    async def _apply(self, change: Change) -> None:
        """Runs the transaction; for records it waits until another program unlocks the file."""
        work, synced = partial(self.file.change, change), bool(change.entries or change.kept)
        for _ in range(_LOCKED_ATTEMPTS if change.entries else 1):
            try:
                return await self.run(work, synced=synced)
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
        raise DatabaseError(f"{self.path}: another program keeps it locked")

    def _note(self, change: Change) -> None:
        self.file.changed(change)
        for call in change.ended:
            self.going_on.pop(call, None)
        if change.entries:
            self.changed.set()

    async def _write_again(self, taken: Sequence[Put], error: Exception) -> None:
        """Writes what has happened into the room that was set aside, the disk being full."""
        settle([one for one in taken if one.is_beginning], error)
        happened = [one for one in taken if not one.is_beginning]
        try:
            if any(one.entries for one in happened):
                self._spare.spend()
                await self.mend()
                change = change_of(happened)
                if self._is_written:  # and counted, in the file as it is now
                    change = Change(ended=change.ended)
                await self._apply(change)
                self._note(change)
                self.changed.set()
        except Exception as again:  # noqa: BLE001 - each caller gets it
            settle(happened, again)
        else:
            # A call that is only to be forgotten is: it is not among those that are going on.
            settle(happened)

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be written until the file was opened anew."""
        return self._writer.is_broken

    async def mend(self) -> None:
        """Opens the file anew, when an error of the disk has made the connection unusable."""
        if await self._writer.mend():
            self._identity = _identity(self.path)
            self.failure = None

    async def _look(self, writer: Writer) -> None:
        """Finds out what is in a file that was opened anew."""
        reload = partial(SpoolFile.reload, self._last, tuple(self.going_on))
        self.file, self._is_written = await writer.run(reload)


def _identity(path: Path) -> tuple[_Inode, _Inode]:
    """Which file is at a path, and which write-ahead log beside it.

    By their names alone: to open and close a file of SQLite's gives up its locks.
    """
    return _inode(path, least=1), _inode(path.with_name(path.name + "-wal"), least=0)


def _inode(path: Path, *, least: int) -> _Inode:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size >= least else None
