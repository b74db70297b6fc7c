"""Which row an addendum has: the digests of the newest in memory, and a table of the others.

Digests are in no order, so an index in which each had its place at once would cost each a page to
write. Here the newest wait in memory, in parts by their first bits. What is too much goes to the
table a part at a time, in order. A start reads the rows behind the mark `log.sorted` again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from muniment_log.storage.packs import SLOTS_BEHIND, digest_at

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

MOST_RECENT: Final = 32_768
"""Digests that wait in memory: 6 MB."""

_PARTS: Final = 16
_SHIFT: Final = 4  # of the first byte, for the part

_LOAD: Final = (
    f"SELECT digest, id FROM ({SLOTS_BEHIND}) UNION ALL"  # noqa: S608  # constants
    " SELECT digest, id FROM addendum WHERE id > ?1 ORDER BY id"
)
_FIND: Final = f"""
SELECT {digest_at("by_digest.id")}, by_digest.id FROM json_each(?2)
CROSS JOIN by_digest ON prefix = substr(?1, key * 32 + 1, 8)
"""  # noqa: S608  # constants
_SORT: Final = """
INSERT OR IGNORE INTO by_digest
SELECT substr(?1, key * 32 + 1, 8), value FROM json_each(?2)
"""

_ALL: Final = -1  # no limit

_TABLE: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'by_digest'"

FOUND: Final = "SELECT id FROM by_digest WHERE prefix = substr(?2, 1, 8)"
"""The ids of rows that may have the digest ?2 and are in the table."""

ROW: Final = f"(SELECT ?1 UNION ALL {FOUND})"
"""The ids of rows that may have the digest ?2, which has the row ?1 in memory (or null)."""


class Digests:
    """The digests of the rows of one file.

    All that gets a connection runs in its transactions, one after the other; `recent` may be asked
    by any thread.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Reads the newest from a file; raises sqlite3.Error if it cannot be read."""
        self._recent: dict[bytes, int] = {}
        self._moved: dict[bytes, int] = {}  # to the table, perhaps not committed yet
        self._parts: list[list[bytes]] = [[] for _ in range(_PARTS)]
        self._last = 0  # row that is known here
        (sorted_,) = db.execute("SELECT sorted FROM log").fetchone()
        self._sorted = [int(sorted_)] * _PARTS  # up to which row each part is in the table
        self._turn = 0
        self.load(db)

    def load(self, db: sqlite3.Connection) -> None:
        """Reads the rows that have come since, for who does not write them."""
        (sorted_,) = db.execute("SELECT sorted FROM log").fetchone()
        self._add(db.execute(_LOAD, (max(self._last, sorted_), _ALL)).fetchall())

    def recent(self, digest: bytes) -> int | None:
        """The row of a digest, if it is among the newest: who reads may not see it in the table."""
        row = self._recent.get(digest)
        return self._moved.get(digest) if row is None else row

    def find(self, db: sqlite3.Connection, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The rows of those of the digests that have one."""
        recent = self._recent
        found = {digest: recent[digest] for digest in recent.keys() & digests}
        left = [digest for digest in digests if digest not in found] if found else digests
        if left:
            wanted = frozenset(left)
            # Others have the same prefix, perhaps.
            found.update(row for row in db.execute(_FIND, places(left)) if row[0] in wanted)
        return found

    def add(self, db: sqlite3.Connection, digests: Sequence[bytes], first: int) -> None:
        """New rows have come, one for each digest from an id on; has the table take what is due.

        Once in a transaction: what the one before has moved is committed.
        """
        self._moved = {}
        self._add(zip(digests, range(first, first + len(digests)), strict=True))
        while len(self._recent) > MOST_RECENT:
            self._sort(db)

    def drop(self, db: sqlite3.Connection, rows: Mapping[bytes, int]) -> None:
        """Rows are gone."""
        for digest in rows:
            self._recent.pop(digest, None)
        db.execute(
            "DELETE FROM by_digest WHERE (prefix, id) IN"
            " (SELECT substr(?1, key * 32 + 1, 8), value FROM json_each(?2))",
            (b"".join(rows), numbers(rows.values())),
        )

    def _add(self, rows: Iterable[tuple[bytes, int]]) -> None:
        recent, parts = self._recent, self._parts
        for digest, id_ in rows:
            recent[digest] = self._last = id_
            parts[digest[0] >> _SHIFT].append(digest)

    def _sort(self, db: sqlite3.Connection) -> None:
        """Moves the next part to the table."""
        turn, recent = self._turn, self._recent
        part = sorted({digest for digest in self._parts[turn] if digest in recent})
        if part:
            db.execute(_SORT, (b"".join(part), numbers(map(recent.__getitem__, part))))
        self._sorted[turn] = self._last
        db.execute("UPDATE log SET sorted = ?", (min(self._sorted),))
        self._turn = (turn + 1) % _PARTS
        self._parts[turn] = []
        self._moved.update({digest: recent[digest] for digest in part})
        for digest in part:
            del recent[digest]


def is_searched(db: sqlite3.Connection) -> bool:
    """Whether a file is so new that it has no index of its digests, and needs all this."""
    return db.execute(_TABLE).fetchone() is not None


def places(digests: Sequence[bytes]) -> tuple[bytes, str]:
    """Digests as two values, for `json_each`."""
    return b"".join(digests), f"[0{',0' * (len(digests) - 1)}]"


def numbers(ids: Iterable[int]) -> str:
    """Ids as one value, for `json_each`."""
    return msgspec.json.encode([*ids]).decode()
