"""One SQLite file with exactly one connection that writes, on one thread (SQLite 3, WAL).

Durability and ownership, in the order they are established:

1. `<database>.lock` is locked with flock(2) before the file is opened, and for as long as it is
   open: a second process on the same database refuses to start. The kernel drops the lock with the
   process, however it ends, so there is nothing to clean up.
2. The writer runs WAL with `synchronous=FULL`: when `Writer.run` returns, the transaction has been
   synced. Only this connection writes and checkpoints. Readers are query-only, never checkpoint
   and close before the writer: SQLite 3.7.0 to 3.51.2 can corrupt the WAL when two connections
   write or checkpoint.
3. A database that is not there, or has no bytes, is not a new one: whoever opens it says whether
   one is expected. A new one gets its name when it is complete, so that a file without content is
   never ours: something took its content away.
4. When a commit fails nobody knows what is on disk, so the writer is broken from then on
   (`FatalDatabaseError`): the process must end, and learn the truth from the file on restart.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
import stat
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

from muniment.local.regularfile import NOT_REGULAR
from muniment.local.workthread import WorkThread
from muniment.tlog.encoding import MunimentError

BUSY_MILLISECONDS: Final = 2_000
"""How long to wait for a lock that only a foreign tool on the file can hold (a backup, say)."""

PAGE_BYTES: Final = 4096 + 24
"""A page in the write-ahead log: SQLite's default size, and the header of its frame."""

CACHE_KIBIBYTES: Final = 16 * 1024
"""Page cache of a connection that writes, or looks things up by keys all over a file, in KiB."""

READER_KIBIBYTES: Final = 2 * 1024
"""Page cache of other connections: what they read is large, and is not asked for again soon."""

_FATAL_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)

_FULL: Final = "the file system is full"

_PASSING_ERRORS: Final = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is full",
    errno.EROFS: "the file system is read-only",
}

_PASSING_CODES: Final = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
}

_DOUBTFUL_CODES: Final = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)
"""What SQLite says of a full or read-only file system as well as of a broken disk."""

_PROBE_BYTES: Final = 1 << 20
"""What a file system must take to count as writable: about the largest write of one commit."""

_CAUSES: Final = 8
"""Errors that are looked at, from the last to what caused it."""

LEAST_PAGES: Final = 256
"""Pages of the write-ahead log where there is little room: 1 MiB."""

_SHARE: Final = 4
"""The log may take so large a part of the room that there is: a checkpoint needs as much again."""

UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: the module cannot decode an error message of SQLite that
quotes damaged text."""

Expected = Literal["old", "new", "either"]
"""Which database is opened: one that is there, one that is made now, or whichever it is."""

Fill = Callable[[sqlite3.Connection], object]

_T = TypeVar("_T")


class DatabaseError(MunimentError):
    """A database that cannot be opened or does not fit the program; one line, names the file."""


class AbsentDatabaseError(DatabaseError):
    """There is no database where one was expected, or one without any content."""


class FatalDatabaseError(MunimentError):
    """The state on disk is unknown (I/O error, full disk, failed commit): the process must end."""


class UnwritableError(FatalDatabaseError, DatabaseError):
    """Nothing can be written now, which may pass: no space, read-only, or locked by others."""


def is_unwritable(error: BaseException | None) -> bool:
    """Whether what stopped a service is that nothing can be written now: it may start again."""
    for _ in range(_CAUSES):
        if isinstance(error, UnwritableError):
            return True
        if isinstance(error, OSError) and error.errno in _PASSING_ERRORS:
            return True
        error = None if error is None else error.__cause__
    return False


class _Owner:
    """The exclusive right to a database, held as an OS lock on the file next to it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise not_usable(self._path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise DatabaseError(
                f"{database}: in use by another process" + (f" ({holder})" if holder else "")
            ) from error
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"pid {os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            os.close(self._file)
            raise not_usable(self._path, error) from error
        _OWNERS.add(self)

    def release(self) -> None:
        """Gives the right up. The file stays: removing it would race with the next owner."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


_OWNERS: Final[weakref.WeakSet[_Owner]] = weakref.WeakSet()


def _disown() -> None:
    """Lets go of all databases in a fork of this process: they stay its parent's alone.

    The fork has the descriptors, and with them the locks, which would outlive the parent.
    """
    for owner in list(_OWNERS):
        owner.release()


os.register_at_fork(after_in_child=_disown)


class Writer:
    """The one connection that writes, on its own thread.

    Open with `await Writer.open(...)`, close with `await close()`, after all readers.
    """

    def __init__(
        self, path: Path, owner: _Owner, connection: sqlite3.Connection, *, is_new: bool
    ) -> None:
        self.path: Final = path
        self.is_new: Final = is_new
        self._owner = owner
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

        Raises:
            AbsentDatabaseError: If none is there, or an empty one, and none may be made.
            DatabaseError: If it is in use, not a database, another program's, newer than this
                program (the message names both schema versions), or there although it must not be.
        """
        return await asyncio.to_thread(cls._open, path, migrations, application, expected, fill)

    @classmethod
    def _open(
        cls,
        path: Path,
        migrations: Sequence[str],
        application: int,
        expected: Expected,
        fill: Fill,
    ) -> "Writer":
        if expected == "old":
            _is_there(path, expected)  # before the lock's file is made in an unmounted folder
        owner = _Owner(path)
        try:
            found = _is_there(path, expected)
            if not found:
                _make(path, migrations, application, fill)
            _may_be_written(path)
            connection = _connect(path)
            try:
                if found:
                    _has_content(connection, path)
                _set_up(connection, path, migrations, application)
                _sync_folder(path)
            except BaseException:
                connection.close()
                raise
        except UNREADABLE as error:
            owner.release()
            raise not_usable(path, error) from error
        except BaseException:
            owner.release()
            raise
        return cls(path, owner, connection, is_new=not found)

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
        the next that is synced makes it durable, too.

        Raises:
            FatalDatabaseError: On an I/O error, and always after one.
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
        if self._broken is not None:
            raise type(self._broken)(f"unusable since: {self._broken}")
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error) and is_fatal(error):
                raise self._break(error) from error
            raise
        try:
            self._commit(connection)
        except BaseException as error:
            # Committed or not? Only a fresh look at the file after a restart can tell.
            self._roll_back()
            raise self._break(error) from error
        return result

    async def truncate_log(self) -> bool:
        """Moves the write-ahead log into the file and cuts it off, so that no old page is in it.

        Says whether it could: not while another program reads the file.

        Raises:
            FatalDatabaseError: On an I/O error, and always after one.
        """
        return await self._thread.run(self._truncate)

    def _truncate(self) -> bool:
        if self._broken is not None:
            raise type(self._broken)(f"unusable since: {self._broken}")
        try:
            (busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            if is_fatal(error):
                raise self._break(error) from error
            return False
        return not busy

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

    def _commit(self, connection: sqlite3.Connection) -> None:
        """Commits; apart so that tests can fail it before and after the fact."""
        connection.execute("COMMIT")

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._break(error)

    def _break(self, error: BaseException) -> FatalDatabaseError:
        reason = _passing(self.path, error)
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
            await self._thread.run(self._connection.close)
        finally:
            self._thread.close()
            self._owner.release()


def open_reader(
    path: Path, *, cache: int = READER_KIBIBYTES, is_still: bool = False
) -> sqlite3.Connection:
    """Opens one query-only connection that never checkpoints; close it before the writer.

    It may move between threads, but only one may use it at a time. Of a database that `is_still`,
    which does not change while it is open, nothing is written beside it, and a write-ahead log is
    not looked at. `cache` is in KiB.

    Raises:
        AbsentDatabaseError: If there is none, or an empty one.
        DatabaseError: If it cannot be opened.
    """
    _is_there(path, "old")
    try:
        connection = _connect(path, cache, is_still=is_still)
        try:
            _has_content(connection, path)
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("PRAGMA query_only=1")
        except BaseException:
            connection.close()
            raise
    except UNREADABLE as error:
        raise not_usable(path, error) from error
    return connection


def is_fatal(error: sqlite3.Error) -> bool:
    """Whether an error of SQLite casts doubt on the disk, rather than on the statement."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _FATAL_CODES


def log_pages(path: Path, most: int) -> int:
    """How many pages the write-ahead log of a database may have until a checkpoint.

    As many as `most` where there is room; then fewer, larger checkpoints cost less. Raises
    DatabaseError if the file system cannot be asked.
    """
    try:
        told = os.statvfs(path.parent)
        wal = path.with_name(path.name + "-wal")
        own = wal.stat().st_size if wal.exists() else 0
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from error
    room = told.f_bavail * told.f_frsize + own
    return max(min(most, LEAST_PAGES), min(most, room // _SHARE // PAGE_BYTES))


def not_usable(path: Path, error: BaseException) -> DatabaseError:
    """What to raise when a database cannot be opened or made; says when that may pass."""
    reason = _passing(path, error)
    text = getattr(error, "strerror", None) or error
    return (
        DatabaseError(f"{path}: {text}")
        if reason is None
        else UnwritableError(f"{path}: {reason}: {text}")
    )


def _passing(path: Path, error: BaseException) -> str | None:
    """Why a file cannot be written now, when that may pass by itself; None for all other errors."""
    if isinstance(error, OSError):
        return _PASSING_ERRORS.get(error.errno or 0)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in _DOUBTFUL_CODES:
        return _PASSING_CODES.get(code)
    try:
        # The file system itself knows best: it may have quotas, and be read-only since an error.
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as told:
        return _PASSING_ERRORS.get(told.errno or 0)
    return None


def _connect(
    path: Path, cache: int = CACHE_KIBIBYTES, *, is_still: bool = False
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1" if is_still else path,
        uri=is_still,
        timeout=BUSY_MILLISECONDS / 1000,
        isolation_level=None,  # transactions are spelled out; the module must not begin any
        check_same_thread=False,  # each connection has one user at a time, see the callers
    )
    connection.execute("PRAGMA foreign_keys=1")
    connection.execute("PRAGMA trusted_schema=0")
    connection.execute(f"PRAGMA cache_size=-{cache}")
    return connection


def _sync_folder(path: Path) -> None:
    """Makes the names of the database and of its WAL durable; both exist by now.

    SQLite syncs the folder too, but takes no notice when that fails: the WAL could be gone after a
    power cut, with all that was acknowledged from it.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise not_usable(path.parent, error) from error


def _is_there(path: Path, expected: Expected) -> bool:
    """Whether a database is there to be opened; False when a new one is to be made.

    Raises `AbsentDatabaseError` if one was expected, or a file is there that has no content, and
    `DatabaseError` if none was expected.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        size = -1
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from error
    else:
        if not stat.S_ISREG(found.st_mode):
            raise DatabaseError(f"{path}: {NOT_REGULAR}")
        size = found.st_size
    wal = path.with_name(path.name + "-wal")
    if size <= 0 and wal.exists() and wal.stat().st_size:
        # SQLite would delete it, and with it perhaps all that there is of a database.
        what = "no such file" if size else "empty (0 bytes)"
        raise AbsentDatabaseError(f"{path}: {what}, but its {wal.name} is there")
    if size > 0:
        if expected == "new":
            raise DatabaseError(f"{path}: exists already")
        return True
    if expected == "old" or (expected == "either" and size == 0):
        raise AbsentDatabaseError(
            f"{path}: " + ("no such database" if size else "empty (0 bytes), not a database")
        )
    return False


def _may_be_written(path: Path) -> None:
    """Raises DatabaseError about a database that this user may not write.

    SQLite opens it all the same, and refuses the first commit that changes anything.
    """
    for end in ("", "-wal", "-shm"):
        file = path.with_name(path.name + end)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise DatabaseError(f"{file}: this user may not read and write it: see its owner")


def _has_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raises AbsentDatabaseError about a file that is a database with nothing in it."""
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not objects and not application:
        raise AbsentDatabaseError(f"{path}: a database without any content")


def _make(path: Path, migrations: Sequence[str], application: int, fill: Fill) -> None:
    """Makes a database under another name, and gives it its own when it is complete."""
    draft = path.with_name(f".{path.name}.new")
    files = [draft.with_name(draft.name + end) for end in ("", "-wal", "-shm")]
    for file in files:
        file.unlink(missing_ok=True)  # of a process that was killed; the lock is ours
    try:
        connection = _connect(draft)
        try:
            _set_up(connection, draft, migrations, application)
            connection.execute("BEGIN IMMEDIATE")
            fill(connection)
            connection.execute("COMMIT")
        finally:
            connection.close()
        draft.replace(path)
    except OSError as error:
        raise not_usable(path, error) from error
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _set_up(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[str], application: int
) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if found != application and (tables or found or version):
        raise DatabaseError(f"{path}: the database of another program")
    if version > len(migrations):
        raise DatabaseError(
            f"{path}: schema version {version} is newer than this program's {len(migrations)}"
        )
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise DatabaseError(f"{path}: the file system does not allow WAL (journal mode {mode})")
    connection.execute("PRAGMA synchronous=FULL")
    for number, script in enumerate(migrations[version:], version + 1):
        try:
            # One script, because executescript would commit a transaction begun before it.
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script};\nPRAGMA application_id={application};\n"
                f"PRAGMA user_version={number};\nCOMMIT;"
            )
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _passing(path, error) is not None:
                raise
            raise DatabaseError(f"{path}: migration {number}: {error}") from error
