"""Whose an SQLite file is: of one process, or of several by turns, each for one transaction.

`<database>.lock` is locked with flock(2) before the file is opened, and for as long as it is open:
a second process on the same database refuses to start. The kernel drops the lock with the process,
however it ends, so there is nothing to clean up. A file that several processes share is locked so
for each transaction instead.
"""

import fcntl
import os
import time
import weakref
from pathlib import Path
from typing import Final, Self

from muniment.local.sqliteerrors import InUseError, not_usable
from muniment.local.sqliteopen import BUSY_MILLISECONDS

_SHARED_PAUSE: Final = 0.005  # seconds between two looks at a lock that another process has


class DatabaseOwner:
    """The exclusive right to a database, held as an OS lock on the file next to it.

    As a context manager it is given up at the end of the block.
    """

    def __init__(self, database: Path) -> None:
        """Takes it; InUseError if another process has it, DatabaseError if it cannot be taken."""
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
            raise InUseError(
                f"{database}: in use by another process" + (f" ({holder})" if holder else "")
            ) from error
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"pid {os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            os.close(self._file)
            raise not_usable(self._path, error) from error
        _OWNERS.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Gives the right up. The file stays: removing it would race with the next owner."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


_OWNERS: Final[weakref.WeakSet[DatabaseOwner]] = weakref.WeakSet()


def _disown() -> None:
    """Lets go of all databases in a fork of this process: they stay its parent's alone.

    The fork has the descriptors, and with them the locks, which would outlive the parent.
    """
    for owner in list(_OWNERS):
        owner.release()


os.register_at_fork(after_in_child=_disown)


def shared_owner(database: Path) -> DatabaseOwner:
    """The right to a database that others write to as well; waits for their transactions.

    Raises as `DatabaseOwner`, InUseError when they take too long.
    """
    until = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            return DatabaseOwner(database)
        except InUseError:
            if time.monotonic() > until:
                raise
            time.sleep(_SHARED_PAUSE)
