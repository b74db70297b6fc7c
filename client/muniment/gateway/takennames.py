"""The names by which a spool recognises what others send again: the newest million, at least.

Names are digests, and so like random numbers: an index of them in the file would have a page of it
written for nearly each name. So the file has them as they came, those of one transaction in a row,
and who looks them up has a table in memory.
"""

import mmap
import sqlite3
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from muniment.local.sqlitefile import DatabaseError

RECOGNISED: Final = 1_000_000
"""Names, the newest, by which records are recognised that come again."""

NAME: Final = 16
"""Bytes of a name that are compared, the first ones: none has fewer."""

_HALF: Final = NAME // 2
_SLOTS: Final = 1 << 21  # at most half of them are used
_halves: Final = Struct("=QQ").unpack_from


class TakenNames:
    """The names, in memory: 32 MB for each million, of which there are two at most."""

    def __init__(self) -> None:
        """There is none yet."""
        self._new = _Table()
        self._old = _Table()

    def unknown(self, names: Iterable[bytes]) -> list[bytes]:
        """Those of some names that are not known."""
        return self._old.unknown(self._new.unknown(names))

    def add(self, names: Sequence[bytes]) -> None:
        """Adds names that are not known."""
        while names:
            if not (room := RECOGNISED - self._new.count):
                self._old, self._new = self._new, _Table()
                continue
            self._new.add(names[:room])
            names = names[room:]


class _Table:
    """A hash table of names, each in two halves, in the first free slot from its own on.

    A first half of 0, of one name in 2**64, is taken for 1: in a free slot it is 0.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._firsts = memoryview(mmap.mmap(-1, _SLOTS * _HALF)).cast("Q")
        self._seconds = memoryview(mmap.mmap(-1, _SLOTS * _HALF)).cast("Q")

    def unknown(self, names: Iterable[bytes]) -> list[bytes]:
        firsts, seconds, halves = self._firsts, self._seconds, _halves  # locals: half of the time
        found: list[bytes] = []
        for name in names:
            first, second = halves(name)
            first = first or 1
            slot = first % _SLOTS
            while (there := firsts[slot]) and (there != first or seconds[slot] != second):
                slot = (slot + 1) % _SLOTS
            if not there:
                found.append(name)
        return found

    def add(self, names: Sequence[bytes]) -> None:
        firsts, seconds, halves = self._firsts, self._seconds, _halves
        for name in names:
            first, second = halves(name)
            first = first or 1
            slot = first % _SLOTS
            while firsts[slot]:
                slot = (slot + 1) % _SLOTS
            firsts[slot], seconds[slot] = first, second
        self.count += len(names)


def write_names(names: Sequence[bytes], db: sqlite3.Connection) -> None:
    """Adds names to the file, and removes those that are too old."""
    (last,) = db.execute("SELECT coalesce(max(last), 0) FROM recognised").fetchone()
    joined = b"".join([name[:NAME] for name in names])
    db.execute("INSERT INTO recognised VALUES (?, ?)", (last + len(names), joined))
    db.execute("DELETE FROM recognised WHERE last <= ?", (last + len(names) - RECOGNISED,))


def read_names(db: sqlite3.Connection) -> TakenNames:
    """The names of a file; takes half a second for a million.

    Raises DatabaseError if it is damaged.
    """
    found = TakenNames()
    for (names,) in db.execute("SELECT names FROM recognised ORDER BY last"):
        if not isinstance(names, bytes) or len(names) % NAME:
            raise DatabaseError("the spool is damaged: its names are none")
        found.add([names[at : at + NAME] for at in range(0, len(names), NAME)])
    return found
