"""Addenda in a SQLite file of their own, which forgets what is deleted from it.

The log's own file never forgets, and is copied by everybody who mirrors the log; this one is the
operator's alone. It has its own writer, whose transactions take all that came meanwhile, and is
made when the first addendum comes. `secure_delete` overwrites with zeros what is removed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from muniment_log.core.addenda import MissingAddendumError
from muniment_log.core.erasable import Totals
from muniment_log.core.naming import unnamed
from muniment_log.errors import (
    OverloadedError,
    RolledBackError,
    StorageError,
    UnavailableError,
)
from muniment_log.storage import addendarows
from muniment_log.storage.addendafile import AddendaFile
from muniment_log.storage.addendarows import Place
from muniment_log.storage.arriving import Arriving
from muniment_log.storage.packs import ARRIVING
from muniment_log.storage.reporting import reported

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from muniment_log.core.addenda import Erased, Sent
    from muniment_log.storage.digests import Digests
    from muniment_log.storage.sqlite import SQLiteStore

SETTLE_SECONDS: Final = 1.0
"""How long an idle store keeps notes of addenda that have arrived: how far a start after a crash
has to look back."""

NOTE_SECONDS: Final = 600.0
"""How often the log's database learns which addendum is the newest."""

MOST_AT_ONCE: Final = 500
"""Rows that a transaction of `AddendaStore.write` may add."""

_GROUP_BYTES: Final = 32 << 20
"""Bytes of addenda in one transaction, unless one request alone has more."""


WHAT_TO_DO: Final = (
    "Put the newest copy of the addenda there, without -wal and -shm files, while the log is "
    "stopped. If there is none, `muniment-log new-addenda` accepts what is lost, and `muniment-log "
    "check` names it"
)


async def find_lost(store: SQLiteStore, addenda: AddendaStore) -> bytes | None:
    """Compares the file of the addenda with what the log's database knows of it.

    The two files are kept and restored apart. A log that went on without any would take again what
    was erased; one that goes on with an older copy has lost what it has promised to keep.
    Returns the digest of an addendum that was acknowledged and is not in the file: that is an older
    copy, or another file, or somebody has deleted from it. None if nothing is known to be lost.

    Raises:
        RolledBackError: there is no file.
        StorageError: one of them cannot be read.
    """
    newest = await store.newest_addendum()
    if newest is None or await addenda.read(newest) is not None:
        return None
    if addenda.is_open:
        return newest
    raise RolledBackError(
        f"{addenda.path}: missing: the log has acknowledged the addendum {newest.hex()}. "
        + WHAT_TO_DO
    )


class _Waiting(NamedTuple):
    sent: Sent
    done: asyncio.Future[None]


class AddendaStore:
    """The addenda of one log; belongs to one event loop, and `run` is its one task.

    Attributes:
        path: the file.
        totals: how much is in it.
    """

    def __init__(
        self,
        path: Path,
        origin: str,
        *,
        size: Callable[[], int],
        waiting_bytes: int,
        now_ms: Callable[[], int],
        note: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            path: the file.
            origin: the log's.
            size: leaves that are in the log now.
            waiting_bytes: bytes of addenda that may be on their way at one time.
            now_ms: the clock, Unix milliseconds.
            note: notes elsewhere, durably, that an addendum is here.
        """
        self.path = path
        self.totals = Totals(0, 0, 0)
        self._origin = origin
        self._size = size
        self._limit = waiting_bytes
        self._now_ms = now_ms
        self._note = note
        self._note_at = 0  # when the next is noted
        self._newest: bytes | None = None  # that is not noted yet
        self._file: AddendaFile | None = None
        self._next = 0
        self._wake = asyncio.Event()
        self._waiting: list[_Waiting] = []
        self._arriving = Arriving()
        self._written: list[asyncio.Future[None]] = []  # who waits for the changes
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None

    async def open(self) -> None:
        """Opens the file if there is one.

        Raises:
            DatabaseError: it cannot be used.
            WrongIdentityError: it is another log's.
            StorageError: it cannot be read.
        """
        if await asyncio.to_thread(self.path.exists):
            await self._open()

    async def make(self) -> None:
        """Opens the file, and makes it if there is none; raises as `open`."""
        await self._open()

    def keep_note(self) -> None:
        """Lets what is noted stand: it says that something is lost."""
        self._note = None

    @property
    def is_open(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    async def _open(self) -> AddendaFile:
        self._file = await AddendaFile.open(self.path, self._origin)
        self._next, self.totals = self._file.last + 1, self._file.totals
        return self._file

    async def close(self) -> None:
        """Closes the file, when nothing runs any more."""
        if self._timer is not None:
            self._timer.cancel()
        file, self._file = self._file, None
        if file is None:
            return
        writer, digests = file.writer, file.digests
        try:
            await file.close_readers()
            if self._arriving.has_changes and not writer.is_broken:
                changes = self._arriving.take_changes()
                await writer.run(lambda db: addendarows.change(db, digests, changes))
            if self._note is not None and self._newest is not None and not writer.is_broken:
                with suppress(StorageError):  # its file has failed, and whoever owns that says so
                    await self._note(self._newest)
        finally:
            await writer.close()

    async def keep(self, sent: Sent) -> None:
        """Stores addenda durably, see `AddendaPort.keep`."""
        if self._failure is not None:
            raise _unavailable()
        if self._arriving.size + sent.size > self._limit:
            raise OverloadedError("too many addenda wait to be written")
        self._arriving.enter(sent)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(sent, done))
        self._wake.set()
        try:
            await done
        except (StorageError, UnavailableError, asyncio.CancelledError):
            self.abandoned(sent)
            raise
        except BaseException:
            self.refused(sent)
            raise

    async def named(self, sent: Sent, first: int) -> None:
        """The request is logged, see `AddendaPort.named`."""
        if self._arriving.named(sent, first):
            # The next start would not find the record from where the group was noted.
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._written.append(done)
            self._wake.set()
            await done
        self._change_soon()
        if self._note is not None:
            self._newest = sent.digests[-1]
            if self._now_ms() >= self._note_at:
                self._note_at = self._now_ms() + int(NOTE_SECONDS * 1000)
                newest, self._newest = self._newest, None
                await self._note(newest)

    def refused(self, sent: Sent) -> None:
        """Nothing of the request is logged, see `AddendaPort.refused`."""
        self._arriving.refused(sent)
        self._change_soon()

    def abandoned(self, sent: Sent) -> None:
        """It is not known whether the request is logged, see `AddendaPort.abandoned`."""
        self._arriving.leave(sent)

    def _change_soon(self) -> None:
        """Has the changes written with the next addenda, or when none come."""
        if self._arriving.has_changes and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._wake.set)

    async def read(self, digest: bytes) -> bytes | Erased | None:
        """The bytes of a digest, see `AddendaPort.read`."""
        return None if self._file is None else await self._file.read(digest)

    async def run(self) -> None:
        """Writes what waits, until cancelled.

        Raises:
            DatabaseError: the file cannot be made.
            StorageError: a commit failed; the process must end.
        """
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._waiting or self._arriving.has_changes:
                    await self._write(self._file or await self._open())
        except BaseException as error:
            self._failure = error
            for waiting in self._waiting:
                _fail(waiting.done)
            for done in self._written:
                _fail(done)
            raise

    async def _write(self, file: AddendaFile) -> None:
        """Writes one group, and what has changed since the last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group = self._gather()
        changes = self._arriving.take_changes()
        written, self._written = self._written, []
        sent = [waiting.sent for waiting in group]
        place = Place(self._next, self._size(), self._now_ms())
        self._next += sum(one.number for one in sent)
        try:
            with reported("storing addenda"):
                absent, new, self.totals = await file.writer.run(
                    lambda db: addendarows.commit(db, file.digests, changes, sent, place),
                    synced=bool(group or changes.lowered),
                )
        except BaseException:
            for waiting in group:
                _fail(waiting.done)
            for done in written:
                _fail(done)
            raise
        self._arriving.stored(new, place)
        for done in written:
            if not done.done():
                done.set_result(None)
        for waiting in group:
            if waiting.done.done():
                continue  # cancelled
            missing = absent.intersection(waiting.sent.expected) if absent else ()
            if missing:
                digest = min(missing, key=waiting.sent.expected.__getitem__)
                waiting.done.set_exception(
                    MissingAddendumError(waiting.sent.expected[digest], digest)
                )
            else:
                waiting.done.set_result(None)

    def _gather(self) -> list[_Waiting]:
        """Takes what waits, bounded."""
        size = 0
        for number, waiting in enumerate(self._waiting):
            size += waiting.sent.size
            if number and size > _GROUP_BYTES:
                group, self._waiting = self._waiting[:number], self._waiting[number:]
                self._wake.set()
                return group
        group, self._waiting = self._waiting, []
        return group

    def recent(self, digests: Sequence[bytes]) -> list[int]:
        """The rows of those of some digests that are among the newest."""
        if self._file is None:
            return []
        rows = map(self._file.digests.recent, digests)
        return [row for row in rows if row is not None]

    async def rows(self, what: str, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Reads rows of the file, none while there is none; `what` for the error's text.

        Raises StorageError if the file cannot be read.
        """
        return [] if self._file is None else await self._file.rows(what, statement, values)

    async def write(
        self, what: str, work: Callable[[sqlite3.Connection, Digests, int], Totals]
    ) -> None:
        """Runs a durable transaction that gives the new totals; nothing while there is no file.

        Raises StorageError if the outcome is not known; the process must end.

        Args:
            what: for the error's text.
            work: gets the connection, where the addenda stand, and an id from which on none was
                given out; may give out MOST_AT_ONCE.
        """
        file, first = self._file, self._next
        if file is not None:
            self._next += MOST_AT_ONCE
            with reported(what):
                self.totals = await file.writer.run(lambda db: work(db, file.digests, first))

    async def cut_log(self) -> bool:
        """Cuts the write-ahead log off; False while somebody reads the file.

        Raises StorageError if the file cannot be written.
        """
        if self._file is None:
            return True
        with reported("cutting the log of the addenda"):
            return await self._file.writer.truncate_log()

    async def sweep(self, leaves: Callable[[int], AsyncIterator[bytes]]) -> int:
        """Removes what a crash has left that no record names, before requests are taken.

        Raises StorageError if the file or the log cannot be read.

        Args:
            leaves: gives the leaves of the log from an index on.

        Returns:
            How many addenda it has removed.
        """
        file = self._file
        if file is None:
            return 0

        def find(db: sqlite3.Connection) -> tuple[int | None, set[bytes]]:
            (size,) = db.execute("SELECT min(size) FROM arriving").fetchone()
            return size, {digest for digest, _ in db.execute(ARRIVING)}

        with reported("looking for addenda without a record"):
            size, unknown = await file.writer.run(find)
        if size is None:
            return 0
        if unknown:
            unknown = await unnamed(leaves(size), unknown)
        with reported("removing addenda without a record"):
            await file.writer.run(lambda db: addendarows.forget(db, file.digests, unknown))
        return len(unknown)


def _fail(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(_unavailable())
        done.exception()  # read: whoever waited may be gone


def _unavailable() -> UnavailableError:
    return UnavailableError("the log has stopped; ask again when it is back")
