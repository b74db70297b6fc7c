"""What a failure of an SQLite file means: it does not fit, it may pass, or the disk is in doubt."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from muniment.tlog.encoding import MunimentError

UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: the module cannot decode an error message of SQLite that
quotes damaged text."""

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

_NO_TEXT: Final = "Could not decode to UTF-8"

_CAUSES: Final = 8
"""Errors that are looked at, from the last to what caused it."""


class DatabaseError(MunimentError):
    """A database that cannot be opened or does not fit the program; one line, names the file."""


class InUseError(DatabaseError):
    """A database that another process has open."""


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


def is_locked(error: BaseException) -> bool:
    """Whether another program keeps the file locked, which passes."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def is_fatal(error: sqlite3.Error) -> bool:
    """Whether an error of SQLite casts doubt on the disk, rather than on the statement."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _FATAL_CODES


def is_unlike(error: BaseException) -> bool:
    """Whether a file has not the tables or texts that a statement asks for.

    The statements are fixed, and fit what the migrations make: such a file is damaged.
    """
    if isinstance(error, UnicodeDecodeError):
        return True
    code: int | None = getattr(error, "sqlite_errorcode", None)
    # The module itself raises the one about text, and gives it no code.
    return code == sqlite3.SQLITE_ERROR or (code is None and _NO_TEXT in str(error))


def not_usable(path: Path, error: BaseException) -> DatabaseError:
    """What to raise when a database cannot be opened or made; says when that may pass."""
    reason = passing(path, error)
    text = getattr(error, "strerror", None) or error
    return (
        DatabaseError(f"{path}: {text}")
        if reason is None
        else UnwritableError(f"{path}: {reason}: {text}")
    )


def passing(path: Path, error: BaseException) -> str | None:
    """Why a file cannot be written now, when that may pass by itself; None for all other errors."""
    if isinstance(error, OSError):
        return _PASSING_ERRORS.get(error.errno or 0)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in _DOUBTFUL_CODES:
        return _PASSING_CODES.get(code)
    # Here: it brings four compressors into every process that opens a database.
    import tempfile  # noqa: PLC0415

    try:
        # The file system itself knows best: it may have quotas, and be read-only since an error.
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as refused:
        return _PASSING_ERRORS.get(refused.errno or 0)
    return None
