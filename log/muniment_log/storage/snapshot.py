"""Reading the embedded store beside the log (design section 4, "The index"): query-only.

What is committed never changes, so each statement is a snapshot of its own and no transaction stays
open: a reader must not keep the writer from resetting its write-ahead log. Close it before the
writer closes.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from muniment.formats.tiles import TILE_WIDTH
from muniment.service.database import DatabaseError, open_reader

if TYPE_CHECKING:
    from pathlib import Path

_BUNDLE: Final = (
    "SELECT data FROM (SELECT -1 AS first, data FROM bundle WHERE idx = ?1"
    " UNION ALL SELECT first, data FROM tail WHERE first BETWEEN ?2 AND ?3) ORDER BY first"
)


class LogSnapshot:
    """One query-only connection to a log's database; belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens the database.

        Raises:
            DatabaseError: it is not there or cannot be opened.
        """
        if not path.is_file():
            raise DatabaseError(f"{path}: no such database")
        self._path = path
        self._connection = open_reader(path)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def vkeys(self) -> list[str]:
        """The log's own keys.

        Raises:
            DatabaseError: the file cannot be read.
        """
        return [str(key) for (key,) in self._all("SELECT vkey FROM identity ORDER BY vkey")]

    def published(self) -> bytes | None:
        """The published checkpoint; None before the first.

        Raises:
            DatabaseError: the file cannot be read.
        """
        rows = self._all("SELECT note FROM head WHERE kind = 'published'")
        return bytes(rows[0][0]) if rows else None

    def bundle(self, index: int) -> bytes:
        """The entry bundle at an index, with all that is committed of it.

        Raises:
            DatabaseError: nothing of it is, or the file cannot be read.
        """
        first = index * TILE_WIDTH
        rows = self._all(_BUNDLE, (index, first, first + TILE_WIDTH - 1))
        if not rows:
            raise DatabaseError(f"{self._path}: entry bundle {index} is missing")
        return b"".join([data for (data,) in rows])

    def _all(self, sql: str, values: tuple[int, ...] = ()) -> list[tuple[bytes]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise DatabaseError(f"{self._path}: {error}") from error
