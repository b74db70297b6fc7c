"""One SQLite file with exactly one connection that writes, on one thread (SQLite 3, WAL).

Durability and ownership, in the order they are established:

1. The file is this process's alone, see `sqliteowner`, before it is opened and while it is open.
2. The writer runs WAL with `synchronous=FULL`: when `Writer.run` returns, the transaction has been
   synced. Only this connection writes and checkpoints. Readers are query-only, never checkpoint
   and close before the writer: SQLite 3.7.0 to 3.51.2 can corrupt the WAL when two connections
   write or checkpoint.
3. When a commit fails nobody knows what is on disk, so the writer is broken from then on
   (`FatalDatabaseError`): the process must end, and learn the truth from the file on restart.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from muniment.local.sqliteerrors import (
    UNREADABLE,
    AbsentDatabaseError,
    DatabaseError,
    FatalDatabaseError,
    UnwritableError,
    is_fatal,
    is_unlike,
    is_unwritable,
    not_usable,
    passing,
)
from muniment.local.sqliteopen import (
    BUSY_MILLISECONDS,
    CACHE_KIBIBYTES,
    DEFAULT_PAGE,
    READER_KIBIBYTES,
    Expected,
    Fill,
    check_content,
    check_writable,
    connect,
    is_there,
    make,
    open_reader,
    set_up,
    sync_folder,
)
from muniment.local.sqliteowner import DatabaseOwner, shared_owner
from muniment.local.workthread import WorkThread

__all__ = [
    "CACHE_KIBIBYTES",
    "READER_KIBIBYTES",
    "UNREADABLE",
    "AbsentDatabaseError",
    "DatabaseError",
    "Expected",
    "FatalDatabaseError",
    "Fill",
    "UnwritableError",
    "Writer",
    "is_fatal",
    "is_unwritable",
    "log_pages",
    "not_usable",
    "open_reader",
]
"""All that a store needs of a file, in one place."""

PAGE_BYTES: Final = DEFAULT_PAGE + 24
"""A page in the write-ahead log: SQLite's default size, and the header of its frame."""

LEAST_PAGES: Final = 256
"""Pages of the write-ahead log where there is little room: 1 MiB."""

_SHARE: Final = 4
"""The log may take so large a part of the room that there is: a checkpoint needs as much again."""

_TRUNCATE_MILLISECONDS: Final = 200  # for readers to end before the write-ahead log is cut off

_T = TypeVar("_T")


class Writer:
    """The one connection that writes, on its own thread.

    Open with `await Writer.open(...)`, close with `await close()`, after all readers.
    """

    def __init__(
        self, path: Path, owner: DatabaseOwner, connection: sqlite3.Connection, *, is_new: bool
    ) -> None:
        self.path: Final = path
        self.is_new: Final = is_new
        self._owner: DatabaseOwner | None = owner  # None while other processes may have it
        self._connection = connection
        self._thread = WorkThread("database-writer")
        self._broken: FatalDatabaseError | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        migrations: Sequence[str],
        *,
        application: int,
        expected: Expected = "either",
        fill: Fill = lambda _: None,
        shared: bool = False,
        page_bytes: int = DEFAULT_PAGE,
    ) -> "Writer":
        """Locks, opens and migrates a database, or makes a new one (but not its folder).

        Args:
            path: The database file.
            migrations: SQL scripts, oldest first, only ever appended to; script n brings schema
                n to n + 1 and commits together with the record of it. No BEGIN or COMMIT inside.
            application: SQLite application_id (a positive int32) that tells this program's files
                from others.
            expected: "old" opens a database that is there, and makes none; "new" makes one, in the
                place of an empty file too, and opens none; "either" makes one when there is no
                file.
            fill: Writes what a new database holds from its beginning; gets its connection, within
                a transaction.
            shared: Whether other processes of this program may write to it, too: then it is locked
                only while it is opened, and for each transaction.
            page_bytes: The size of a new database's pages, a power of two.

        Raises:
            AbsentDatabaseError: If none is there, or an empty one, and none may be made.
            DatabaseError: If it is in use, not a database, another program's, newer than this
                program (the message names both schema versions), or there although it must not be.
        """
        return await asyncio.to_thread(
            cls._open,
            path,
            migrations,
            application,
            expected,
            fill,
            shared=shared,
            page_bytes=page_bytes,
        )

    @classmethod
    def _open(
        cls,
        path: Path,
        migrations: Sequence[str],
        application: int,
        expected: Expected,
        fill: Fill,
        *,
        shared: bool,
        page_bytes: int,
    ) -> "Writer":
        if expected == "old":
            is_there(path, expected)  # before the lock's file is made in an unmounted folder
        owner = shared_owner(path) if shared else DatabaseOwner(path)
        try:
            found = is_there(path, expected)
            if not found:
                make(path, migrations, application, fill, page_bytes)
            check_writable(path)
            connection = connect(path)
            try:
                if found:
                    check_content(connection, path)
                set_up(connection, path, migrations, application)
                sync_folder(path)
            except BaseException:
                connection.close()
                raise
        except UNREADABLE as error:
            owner.release()
            raise not_usable(path, error) from error
        except BaseException:
            owner.release()
            raise
        writer = cls(path, owner, connection, is_new=not found)
        if shared:
            writer._share()
        return writer

    @property
    def is_broken(self) -> bool:
        """Whether an I/O error has ended the use of this connection."""
        return self._broken is not None

    async def run(self, work: Callable[[sqlite3.Connection], _T], *, synced: bool = True) -> _T:
        """Runs `work(connection)` as one transaction on the writer's thread; returns once synced.

        `work` must not commit. Whatever it raises rolls the transaction back and is raised here,
        except what makes the state of the disk doubtful. The transaction is finished (and the
        connection usable) even when the caller is cancelled while it runs.

        One that is not `synced` may be lost with the machine's power, though not with this process;
        the next that is synced makes it durable, too. Raises FatalDatabaseError on an I/O error,
        and always after one.
        """
        if synced:
            return await self._thread.run(lambda: self._transact(work))
        return await self._thread.run(lambda: self._transact_unsynced(work))

    def _transact_unsynced(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        self._connection.execute("PRAGMA synchronous=NORMAL")
        try:
            return self._transact(work)
        finally:
            self._connection.execute("PRAGMA synchronous=FULL")

    def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        self._check_usable()
        if self._owner is not None:
            return self._transact_alone(work)
        with shared_owner(self.path):
            return self._transact_alone(work)

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise type(self._broken)(f"unusable since: {self._broken}")

    def _transact_alone(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error) and is_fatal(error):
                raise self._break(error) from error
            if is_unlike(error):
                raise DatabaseError(f"{self.path}: it is damaged: {error}") from error
            raise
        try:
            self.commit(connection)
        except BaseException as error:
            # Committed or not? Only a fresh look at the file after a restart can tell.
            self._roll_back()
            raise self._break(error) from error
        return result

    async def truncate_log(self) -> bool:
        """Moves the write-ahead log into the file and cuts it off, so that no old page is in it.

        Says whether it could: not while another program reads the file. Raises FatalDatabaseError
        on an I/O error, and always after one.
        """
        return await self._thread.run(self._truncate)

    def _truncate(self) -> bool:
        self._check_usable()
        connection = self._connection
        try:
            # What waits to be written waits for this, too.
            connection.execute(f"PRAGMA busy_timeout={_TRUNCATE_MILLISECONDS}")
            try:
                (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        except sqlite3.Error as error:
            if is_fatal(error):
                raise self._break(error) from error
            return False
        return not busy

    async def compact(self) -> None:
        """Writes the file anew without what was deleted from it, and cuts off the write-ahead log.

        Takes as much room again as the file has, for a while. Raises FatalDatabaseError if it
        cannot be written; then it is as before.
        """
        await self._thread.run(self._compact)
        await self.truncate_log()

    def _compact(self) -> None:
        self._check_usable()
        try:
            self._connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise self._break(error) from error

    async def lengthen_log(self) -> None:
        """Gives the write-ahead log its length: as many pages as it takes until a checkpoint.

        From then on a commit overwrites pages, and syncing them takes half of what it takes when
        the file system has to note a new length, too. Zeros after the last frame are no frame:
        SQLite stops at a frame whose salt and checksum are not the log's. Raises FatalDatabaseError
        if they cannot be written.
        """
        await self._thread.run(self._lengthen)

    def _lengthen(self) -> None:
        (pages,) = self._connection.execute("PRAGMA wal_autocheckpoint").fetchone()
        path = self.path.with_name(self.path.name + "-wal")
        try:
            # Not the database itself: closing any descriptor of that would drop SQLite's locks.
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                end = os.fstat(file).st_size
                while (missing := pages * PAGE_BYTES - end) > 0:
                    end += os.pwrite(file, bytes(min(missing, 1 << 20)), end)
                os.fdatasync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise self._break(error) from error

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commits; `run` does. Apart so that tests can fail it before and after the fact."""
        connection.execute("COMMIT")

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._break(error)

    def _break(self, error: BaseException) -> FatalDatabaseError:
        reason = passing(self.path, error)
        if reason is None:
            self._broken = FatalDatabaseError(f"{self.path}: {error}")
        else:
            self._broken = UnwritableError(f"{self.path}: {reason}: {error}")
        return self._broken

    async def close(self) -> None:
        """Waits for running work, closes the file (and so checkpoints it), gives up the lock."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._thread.run(self._close)
        finally:
            self._thread.close()
            if self._owner is not None:
                self._owner.release()

    def _share(self) -> None:
        """Lets other processes have the file between transactions."""
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    def _close(self) -> None:
        if self._owner is not None:
            self._connection.close()
            return
        with shared_owner(self.path):  # closing checkpoints
            self._connection.close()


def log_pages(path: Path, most: int) -> int:
    """How many pages the write-ahead log of a database may have until a checkpoint.

    As many as `most` where there is room; then fewer, larger checkpoints cost less. Raises
    DatabaseError if the file system cannot be asked.
    """
    try:
        system = os.statvfs(path.parent)
        wal = path.with_name(path.name + "-wal")
        own = wal.stat().st_size if wal.exists() else 0
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from error
    room = system.f_bavail * system.f_frsize + own
    return max(min(most, LEAST_PAGES), min(most, room // _SHARE // PAGE_BYTES))
