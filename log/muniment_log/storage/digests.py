"""Which row an addendum has: the digests of the newest in memory, and a table of the others.

See `newest` for why; the mark is `log.sorted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment_log.storage.newest import Newest, numbers, places
from muniment_log.storage.packs import SLOTS_BEHIND, digest_at

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

MOST_RECENT: Final = 32_768
"""Digests that wait in memory: 6 MB."""

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
        (sorted_,) = db.execute("SELECT sorted FROM log").fetchone()
        self._newest = Newest(sorted_, 0)
        self.load(db)

    def load(self, db: sqlite3.Connection) -> None:
        """Reads the rows that have come since, for who does not write them."""
        (sorted_,) = db.execute("SELECT sorted FROM log").fetchone()
        if sorted_ > self._newest.mark:
            # What the table has need not wait here; and of what has come again the row is there.
            self._newest = Newest(sorted_, 0)
        newest = self._newest
        newest.add(db.execute(_LOAD, (newest.last, _ALL)).fetchall())

    def recent(self, digest: bytes) -> int | None:
        """The row of a digest, if it is among the newest: who reads may not see it in the table."""
        return self._newest.get(digest)

    def find(self, db: sqlite3.Connection, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The rows of those of the digests that have one."""
        found = self._newest.find(digests)
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
        newest = self._newest
        move = newest.due(len(digests), MOST_RECENT)
        if move is not None:
            db.execute(_SORT, (b"".join(move.keys), numbers(move.ids)))
            db.execute("UPDATE log SET sorted = ?", (move.mark,))
        newest.committed()
        if move is not None:
            newest.moved(move)
        newest.add(zip(digests, range(first, first + len(digests)), strict=True))

    def drop(self, db: sqlite3.Connection, rows: Mapping[bytes, int]) -> None:
        """Rows are gone."""
        self._newest.drop(rows)
        db.execute(
            "DELETE FROM by_digest WHERE (prefix, id) IN"
            " (SELECT substr(?1, key * 32 + 1, 8), value FROM json_each(?2))",
            (b"".join(rows), numbers(rows.values())),
        )


def is_searched(db: sqlite3.Connection) -> bool:
    """Whether a file is so new that it has no index of its digests, and needs all this."""
    return db.execute(_TABLE).fetchone() is not None
