"""Reading the embedded store beside the log: query-only.

What is committed never changes, so each statement is a snapshot of its own and no transaction stays
open: a reader must not keep the writer from resetting its write-ahead log. Close it before the
writer closes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import DatabaseError, open_reader
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH
from muniment_log.core.integrate import cut_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from muniment.tlog.tiles import Tile

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

    def tile(self, level: int, index: int) -> bytes:
        """A full hash tile.

        Raises:
            DatabaseError: it is not stored, or the file cannot be read.
        """
        rows = self._all("SELECT data FROM tile WHERE level = ? AND idx = ?", (level, index))
        if not rows:
            raise DatabaseError(f"{self._path}: tile {index} of level {level} is missing")
        return bytes(rows[0][0])

    def _all(self, sql: str, values: tuple[int, ...] = ()) -> list[tuple[bytes]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise DatabaseError(f"{self._path}: {error}") from error


class SnapshotTiles:
    """The published tree of a file as a `TileSource`: its bundles and its full hash tiles."""

    def __init__(self, snapshot: LogSnapshot) -> None:
        """Reads through a connection of its own."""
        self._snapshot = snapshot

    async def checkpoint(self) -> bytes | None:
        """The published checkpoint; None before the first."""
        return await asyncio.to_thread(self._snapshot.published)

    async def read(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """The bytes of bundles and full tiles.

        Raises:
            DatabaseError: one is missing, or the file cannot be read.
        """
        return await asyncio.to_thread(lambda: {tile: self._read(tile) for tile in tiles})

    def _read(self, tile: Tile) -> bytes:
        if tile.level == ENTRIES:
            return cut_bundle(self._snapshot.bundle(tile.index), tile.width)
        if tile.is_partial:
            raise LookupError(f"{tile.path} is not a full tile")
        return self._snapshot.tile(tile.level, tile.index)
