"""A replica where nothing can be written: a read-only medium, a copy kept as evidence.

SQLite reads a file in WAL mode through shared memory, in a file beside it that it makes when there
is none. A follower that stops cleanly leaves neither that nor a write-ahead log. Where nobody can
make one, the file alone is all there is, and may be read as one that never changes. Whether it
really does not is looked at after each question: a medium that is read-only here may be written to
elsewhere, and a follower that comes back there would change pages under the reader.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

from muniment.local.sqlitefile import DatabaseError, open_reader

_NO_MEMORY: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
"""What SQLite says when the shared memory cannot be made."""


class Still:
    """That a file has not changed since it was opened as one that does not."""

    def __init__(self, path: Path) -> None:
        """Remembers how the file is."""
        self._path = path
        self._log = _log_of(path)
        self._seen = self._look()

    def check(self) -> None:
        """Raises `DatabaseError` if the file may have changed."""
        if self._look() != self._seen or _size(self._log):
            raise DatabaseError(f"{self._path}: was written to while it was read; read it again")

    def _look(self) -> tuple[int, int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise DatabaseError(f"{self._path}: {error.strerror}") from error
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def open_replica(path: Path, *, cache: int) -> tuple[sqlite3.Connection, Still | None]:
    """Opens a replica for reading, also where nothing can be written beside it.

    Raises DatabaseError if it cannot be opened.

    Args:
        path: The replica.
        cache: Page cache, in KiB.

    Returns:
        A query-only connection; and what has to be checked after each question, for a file that is
        read as one that does not change.
    """
    try:
        return open_reader(path, cache=cache), None
    except DatabaseError as error:
        code = getattr(error.__cause__, "sqlite_errorcode", None)
        if code is None or (code & 0xFF) not in _NO_MEMORY:
            raise
        for one in (path, _log_of(path)):
            if one.exists() and not os.access(one, os.R_OK):
                raise DatabaseError(
                    f"{one}: may not be read by this user: let them read the replica and what is "
                    "beside it, or read it as the follower's user"
                ) from error
        if _size(_log_of(path)):
            raise DatabaseError(
                f"{path}: has a write-ahead log, and where nothing can be written that cannot be "
                "read without its -shm file: let the follower stop before the file is copied, or "
                "open the copy once where it can be written"
            ) from error
    still = Still(path)
    connection = open_reader(path, cache=cache, is_still=True)
    try:
        still.check()
    except BaseException:
        connection.close()
        raise
    return connection, still


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
