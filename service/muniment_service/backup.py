"""Copies a service's database while the service runs (SQLite online backup).

The copy is one snapshot: one read transaction on a query-only connection, which never writes or
checkpoints, so the single writer goes on beside it. Restoring is putting the copy in the place of
the database, without the old `-wal` and `-shm` files; what a service does with a copy that is
older than what it has told others is its own matter.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from muniment.local.sqlitefile import DatabaseError, UnwritableError, not_usable, open_reader

PAGES: Final = 4096
"""Pages copied between two reports of progress: 16 MiB."""

Progress = Callable[[int, int], None]
Mark = Callable[[sqlite3.Connection], object]


def backup(
    source: Path, target: Path, *, mark: Mark | None = None, progress: Progress | None = None
) -> None:
    """Copies a database into a new file, durably; the name appears when the copy is complete.

    A service may be running on the source. `mark` is called with the copy, open for writing, before
    it is complete; `progress` is told of pages copied and pages in all, from time to time. Raises
    DatabaseError if the source cannot be read, or the target exists or cannot be written.
    """
    if target.exists():
        raise DatabaseError(f"{target}: exists already")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _copy(source, part, mark, progress)
            _sync(part)
            # Unlike a rename, a link does not replace what somebody else made meanwhile.
            target.hardlink_to(part)
        finally:
            for leftover in (part, *(part.with_name(part.name + end) for end in ("-wal", "-shm"))):
                leftover.unlink(missing_ok=True)
        _sync(target.parent)
    except OSError as error:
        raise not_usable(target, error) from error


def _copy(source: Path, part: Path, mark: Mark | None, progress: Progress | None) -> None:
    def report(_: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with closing(open_reader(source)) as reader:
        try:
            # The service's commits would otherwise make the copy begin anew, again and again.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            with closing(sqlite3.connect(part)) as copy:
                reader.backup(copy, pages=PAGES, progress=report)
                if mark is not None:
                    with copy:
                        mark(copy)
        except sqlite3.Error as error:
            if isinstance(passing := not_usable(part, error), UnwritableError):
                raise passing from error
            raise DatabaseError(f"{source}: backup: {error}") from error
        finally:
            if reader.in_transaction:
                reader.execute("ROLLBACK")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
