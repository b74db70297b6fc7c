"""Counts by key, exact, with memory that does not grow with the number of keys.

The newest keys are counted in a dictionary. When that is full, its rows are added to a temporary
SQLite database, which keeps itself on disk as far as it does not fit into its cache.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

from muniment.local.sqlitefile import DatabaseError
from muniment.local.sqliteopen import select

MAX_RANGES: Final = 16
"""Ranges of leaves that a row keeps, the first ones."""

_MAX_KEYS: Final = 65_536
_MAX_CHARACTERS: Final = 16 << 20  # of keys in the dictionary, at most
_CACHE_KIBIBYTES: Final = 32 << 10
_RANGES_CHARACTERS: Final = 600  # of a row's ranges: at least MAX_RANGES of them

_SCHEMA: Final = """
CREATE TABLE tally (
    dimension TEXT NOT NULL, key TEXT NOT NULL,
    allowed INTEGER NOT NULL, denied INTEGER NOT NULL,
    earliest INTEGER NOT NULL, latest INTEGER NOT NULL, last INTEGER NOT NULL,
    ranges TEXT NOT NULL,
    PRIMARY KEY (dimension, key)
) WITHOUT ROWID
"""
_ADD: Final = f"""
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    allowed = allowed + excluded.allowed, denied = denied + excluded.denied,
    earliest = min(earliest, excluded.earliest), latest = max(latest, excluded.latest),
    last = excluded.last,
    ranges = CASE WHEN length(ranges) < {_RANGES_CHARACTERS}
        THEN ranges || ',' || excluded.ranges ELSE ranges END
"""  # noqa: S608 - a constant
_TOP: Final = """
SELECT key, allowed, denied, earliest, latest, last, ranges FROM tally WHERE dimension = ?
ORDER BY allowed + denied DESC, key LIMIT ?
"""


class LeafRanges:
    """Which leaves are behind a figure: how many, the first ranges of them, and the last one."""

    __slots__ = ("count", "last", "ranges")

    def __init__(self) -> None:
        self.count = 0
        self.last = -1
        self.ranges: list[int] = []  # first, end, first, end, …

    def add(self, index: int) -> None:
        """Takes a leaf behind those that it has."""
        ranges = self.ranges
        self.count += 1
        self.last = index
        if ranges and ranges[-1] == index:
            ranges[-1] += 1
        elif len(ranges) < 2 * MAX_RANGES:
            ranges += (index, index + 1)

    def members(self) -> dict[str, Any]:
        """As JSON values."""
        return _leaves(self.count, self.ranges, self.last)


class TallyRow(NamedTuple):
    """One key's row.

    Attributes:
        key: The parts of the key, each a text or null.
        earliest: The least time of its records, Unix milliseconds; `latest` the greatest.
        leaves: Which they are, as JSON values.
    """

    key: tuple[str | None, ...]
    allowed: int
    denied: int
    earliest: int
    latest: int
    leaves: dict[str, Any]

    @property
    def count(self) -> int:  # type: ignore[override]  # hides tuple.count, of no use here
        """How many records it counts."""
        return self.allowed + self.denied


class _Count(LeafRanges):
    __slots__ = ("allowed", "earliest", "latest")

    def __init__(self, time: int) -> None:
        super().__init__()
        self.allowed = 0
        self.earliest = self.latest = time


class Tally:
    """Counts of records by dimension and key; a context manager, used by one thread.

    Raises DatabaseError if the temporary database cannot be written.
    """

    def __init__(self, *, keys: int = _MAX_KEYS) -> None:
        """`keys` are counted in memory at most."""
        self._most = keys
        self._counts: dict[tuple[str, tuple[str | None, ...]], _Count] = {}
        self._characters = 0
        # The empty name: a database on temporary disk, gone with its connection.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIBIBYTES}")
        self._db.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(
        self, dimension: str, key: tuple[str | None, ...], index: int, time: int, *, allowed: bool
    ) -> None:
        """Counts a record; leaves come in ascending order."""
        place = dimension, key
        count = self._counts.get(place)
        if count is None:
            if len(self._counts) >= self._most or self._characters >= _MAX_CHARACTERS:
                self._flush()
            count = self._counts[place] = _Count(time)
            self._characters += sum(len(part) for part in key if part is not None)
        elif time < count.earliest:
            count.earliest = time
        elif time > count.latest:
            count.latest = time
        count.allowed += allowed
        count.add(index)

    def distinct(self, dimension: str) -> int:
        """How many keys a dimension has."""
        self._flush()
        [found] = self._all("SELECT count(*) FROM tally WHERE dimension = ?", (dimension,))
        return int(found[0])

    def top(self, dimension: str, most: int) -> Iterator[TallyRow]:
        """The keys with most records, at most so many; of equals the first by their text."""
        self._flush()
        for key, allowed, denied, earliest, latest, last, ranges in self._all(
            _TOP, (dimension, most)
        ):
            numbers = _joined([int(text) for text in ranges.split(",")])[: 2 * MAX_RANGES]
            yield TallyRow(
                tuple(json.loads(key)),
                allowed,
                denied,
                earliest,
                latest,
                _leaves(allowed + denied, numbers, last),
            )

    def _flush(self) -> None:
        rows = [
            (
                dimension,
                json.dumps(key),
                one.allowed,
                one.count - one.allowed,
                one.earliest,
                one.latest,
                one.last,
                ",".join(map(str, one.ranges)),
            )
            for (dimension, key), one in self._counts.items()
        ]
        self._counts.clear()
        self._characters = 0
        rows.sort(key=lambda row: row[:2])
        try:
            self._db.execute("BEGIN")
            self._db.executemany(_ADD, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise DatabaseError(f"temporary database: {error}") from error

    def _all(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return select(self._db, "temporary database", sql, values)


def _joined(numbers: list[int]) -> list[int]:
    """Ranges, of which two that touch are one."""
    found: list[int] = []
    for first, end in zip(numbers[::2], numbers[1::2], strict=True):
        if found and found[-1] == first:
            found[-1] = end
        else:
            found += (first, end)
    return found


def _leaves(count: int, ranges: list[int], last: int) -> dict[str, Any]:
    """As JSON values: ranges [first, end); `whole` says whether they are all."""
    pairs = [[first, end] for first, end in zip(ranges[::2], ranges[1::2], strict=True)]
    listed = sum(end - first for first, end in pairs)
    return {
        "count": count,
        "ranges": pairs,
        "last": None if last < 0 else last,
        "whole": listed == count,
    }
