"""SQLite files: which is expected, making one whole or not at all, and opening connections to it.

A database that is not there, or has no bytes, is not a new one: whoever opens it says whether one
is expected. A new one gets its name when it is complete, so that a file without content is never
ours: something took its content away.
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from muniment.local.regularfile import NOT_REGULAR, sync_names
from muniment.local.sqliteerrors import (
    UNREADABLE,
    AbsentDatabaseError,
    DatabaseError,
    not_usable,
    passing,
)

BUSY_MILLISECONDS: Final = 2_000
"""How long to wait for a lock that only a foreign tool on the file can hold (a backup, say)."""

CACHE_KIBIBYTES: Final = 16 * 1024
"""Page cache of a connection that writes, or looks things up by keys all over a file, in KiB."""

READER_KIBIBYTES: Final = 2 * 1024
"""Page cache of other connections: what they read is large, and is not asked for again soon."""

DEFAULT_PAGE: Final = 4096
"""A page of a new database, unless its store wants another size: what SQLite itself takes."""

Expected = Literal["old", "new", "either"]
"""Which database is opened: one that is there, one that is made now, or whichever it is."""

Fill = Callable[[sqlite3.Connection], object]


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
    is_there(path, "old")
    try:
        connection = connect(path, cache, is_still=is_still)
        try:
            check_content(connection, path)
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("PRAGMA query_only=1")
        except BaseException:
            connection.close()
            raise
    except UNREADABLE as error:
        raise not_usable(path, error) from error
    return connection


@contextmanager
def reading(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    """Opens a query-only connection for a block.

    Raises DatabaseError if there is no database, or none that the block can read: then it is not
    `what` it should be.
    """
    connection = open_reader(path)
    try:
        yield connection
    except UNREADABLE as error:
        raise DatabaseError(f"{path}: no {what}: {error}") from error
    finally:
        connection.close()


def select(
    connection: sqlite3.Connection, where: object, sql: str, values: Sequence[object] = ()
) -> list[Any]:
    """All rows of a question; DatabaseError, which says where, if they cannot be read."""
    try:
        return connection.execute(sql, values).fetchall()
    except UNREADABLE as error:
        raise DatabaseError(f"{where}: {error}") from error


@contextmanager
def first_look(
    connection: sqlite3.Connection, path: Path, application: int, what: str
) -> Iterator[None]:
    """Checks whose database was opened, for who looks at it for the first time within the block.

    Raises DatabaseError, and closes the connection, if the database is another program's, which is
    not `what`; or if it cannot be read, which the block may find. Whatever the block raises closes
    the connection.
    """
    try:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        if found != application:
            raise DatabaseError(f"{path}: not {what}")
        yield
    except UNREADABLE as error:
        connection.close()
        raise DatabaseError(f"{path}: {error}") from error
    except BaseException:
        connection.close()
        raise


def connect(
    path: Path, cache: int = CACHE_KIBIBYTES, *, is_still: bool = False
) -> sqlite3.Connection:
    """Opens one connection; see `open_reader` for `cache` and `is_still`."""
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


def is_there(path: Path, expected: Expected) -> bool:
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


def check_writable(path: Path) -> None:
    """Raises DatabaseError about a database that this user may not write.

    SQLite opens it all the same, and refuses the first commit that changes anything.
    """
    for end in ("", "-wal", "-shm"):
        file = path.with_name(path.name + end)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise DatabaseError(f"{file}: this user may not read and write it: see its owner")


def check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raises AbsentDatabaseError about a file that is a database with nothing in it."""
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not objects and not application:
        raise AbsentDatabaseError(f"{path}: a database without any content")


def make(
    path: Path, migrations: Sequence[str], application: int, fill: Fill, page_bytes: int
) -> None:
    """Makes a database under another name, and gives it its own when it is complete."""
    draft = path.with_name(f".{path.name}.new")
    files = [draft.with_name(draft.name + end) for end in ("", "-wal", "-shm")]
    for file in files:
        file.unlink(missing_ok=True)  # of a process that was killed; the lock is ours
    try:
        connection = connect(draft)
        try:
            connection.execute(f"PRAGMA page_size={page_bytes}")
            set_up(connection, draft, migrations, application)
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


def set_up(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[str], application: int
) -> None:
    """Brings a connection to WAL and its database to the newest schema; see `Writer.open`."""
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
            if passing(path, error) is not None:
                raise
            raise DatabaseError(f"{path}: migration {number}: {error}") from error


def sync_folder(path: Path) -> None:
    """Makes the names of the database and of its WAL durable; both exist by now.

    SQLite syncs the folder too, but takes no notice when that fails: the WAL could be gone after a
    power cut, with all that was acknowledged from it.
    """
    try:
        sync_names(path.parent)
    except OSError as error:
        raise not_usable(path.parent, error) from error
