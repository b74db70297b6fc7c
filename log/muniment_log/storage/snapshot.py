"""Reading the embedded store beside the log: query-only, on a thread or from async code.

What is committed never changes, so each statement is a snapshot of its own and no transaction stays
open: a reader must not keep the writer from resetting its write-ahead log. Close it before the
writer closes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from muniment.local.sqlitefile import DatabaseError, open_reader
from muniment.local.sqliteopen import select
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH
from muniment_log.core.integrate import cut_bundle
from muniment_log.storage.addendarows import check_version
from muniment_log.storage.digests import Digests, is_searched
from muniment_log.storage.packs import data_at, stand_in
from muniment_log.storage.prunedsize import SIZE, TABLE, pruned_size
from muniment_service.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from muniment.tlog.tiles import Tile

_BUNDLE: Final = (
    "SELECT data FROM (SELECT -1 AS first, data FROM bundle WHERE idx = ?1"
    " UNION ALL SELECT first, data FROM tail WHERE first BETWEEN ?2 AND ?3) ORDER BY first"
)


_ADDENDUM: Final = f"""
SELECT data FROM addendum WHERE id = ?1
UNION ALL SELECT data FROM ({data_at("(SELECT ?1 AS id)")})
"""  # noqa: S608  # constants
_TILE: Final = "SELECT data FROM tile WHERE level = ? AND idx = ?"
_PUBLISHED: Final = "SELECT note FROM head WHERE kind = 'published'"


class LogSnapshot:
    """One query-only connection to a log's database; belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DatabaseError(f"{path}: no such database")
        self._path = path
        self._connection = open_reader(path)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def vkeys(self) -> list[str]:
        """The log's own keys; DatabaseError if the file cannot be read."""
        return [str(key) for key in self._all("SELECT vkey FROM identity ORDER BY vkey")]

    def published(self) -> bytes | None:
        """The published checkpoint; None before the first.

        Raises DatabaseError if the file cannot be read.
        """
        rows = self._all(_PUBLISHED)
        return rows[0] if rows else None

    def bundle(self, index: int) -> bytes:
        """The entry bundle at an index, with all that is committed of it.

        Raises DatabaseError if nothing of it is, or the file cannot be read.
        """
        rows = self._all(_BUNDLE, _bundle_at(index))
        return _joined(self._path, index, rows, pruned_size(self._connection) if not rows else 0)

    def tile(self, level: int, index: int) -> bytes:
        """A full hash tile; DatabaseError if it is not stored, or the file cannot be read."""
        return _only(self._path, level, index, self._all(_TILE, (level, index)))

    def _all(self, sql: str, values: tuple[int, ...] = ()) -> list[bytes]:
        return [data for (data,) in select(self._connection, self._path, sql, values)]


class SnapshotTiles:
    """The published tree of a file as a `TileSource`: its bundles and its full hash tiles."""

    def __init__(self, path: Path, readers: Readers) -> None:
        """Takes over an opened connection; use `open`."""
        self._path = path
        self._readers = readers

    @classmethod
    async def open(cls, path: Path) -> SnapshotTiles:
        """Opens a connection to the database of a log.

        Raises DatabaseError if it is not there or cannot be opened.
        """
        return cls(path, await Readers.open(path, 1))

    async def close(self) -> None:
        """Closes the connection."""
        await self._readers.close()

    async def checkpoint(self) -> bytes | None:
        """The published checkpoint; None before the first."""
        rows = await self._rows(_PUBLISHED)
        return rows[0] if rows else None

    async def min_index(self) -> int:
        """The index of the first entry that is kept; those before were pruned."""
        rows = await self._rows(SIZE) if await self._rows(TABLE) else []
        return int(rows[0]) if rows else 0

    async def read(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """The bytes of bundles and full tiles.

        Raises DatabaseError if one is missing, or the file cannot be read.
        """
        return {tile: await self._read(tile) for tile in tiles}

    async def _read(self, tile: Tile) -> bytes:
        if tile.level == ENTRIES:
            rows = await self._rows(_BUNDLE, _bundle_at(tile.index))
            pruned = 0 if rows else await self.min_index()
            return cut_bundle(_joined(self._path, tile.index, rows, pruned), tile.width)
        if tile.is_partial:
            raise LookupError(f"{tile.path} is not a full tile")
        rows = await self._rows(_TILE, (tile.level, tile.index))
        return _only(self._path, tile.level, tile.index, rows)

    async def _rows(self, sql: str, values: tuple[int, ...] = ()) -> list[Any]:
        try:
            return [data for (data,) in await self._readers.rows(sql, values)]
        except sqlite3.Error as error:
            raise DatabaseError(f"{self._path}: {error}") from error


class SnapshotAddenda:
    """The addenda of a log, read beside it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Takes over an opened connection; use `open`."""
        self._path = path
        self._connection = connection
        self._digests: Digests | None = None

    @classmethod
    async def open(cls, path: Path) -> SnapshotAddenda | None:
        """Opens a connection to the file of addenda; None if the log has none.

        Raises DatabaseError if it cannot be opened, or a newer program has made it.
        """
        if not await asyncio.to_thread(path.is_file):
            return None
        connection = await asyncio.to_thread(open_reader, path)
        try:
            await asyncio.to_thread(check_version, connection)
        except sqlite3.Error as error:
            await asyncio.to_thread(connection.close)
            raise DatabaseError(f"{path}: {error}") from error
        return cls(path, connection)

    async def close(self) -> None:
        """Closes the connection."""
        await asyncio.to_thread(self._connection.close)

    async def addendum(self, digest: bytes) -> bytes | None:
        """The bytes of a digest; None if they are not there, or not any more.

        Raises DatabaseError if the file cannot be read.
        """
        try:
            return await asyncio.to_thread(self._read, digest)
        except sqlite3.Error as error:
            raise DatabaseError(f"{self._path}: {error}") from error

    def _read(self, digest: bytes) -> bytes | None:
        db = self._connection
        if not is_searched(db):
            row = db.execute("SELECT data FROM addendum WHERE digest = ?", (digest,)).fetchone()
        else:
            stand_in(db)
            if self._digests is None:
                self._digests = Digests(db)
            row = self._find(db, self._digests, digest)
            if row is None:  # it may have come since, also one that was dropped before
                self._digests.load(db)
                row = self._find(db, self._digests, digest)
        return None if row is None else row[0]

    def _find(
        self, db: sqlite3.Connection, digests: Digests, digest: bytes
    ) -> tuple[bytes | None] | None:
        id_ = digests.find(db, [digest]).get(digest)
        found: tuple[bytes | None] | None = db.execute(_ADDENDUM, (id_,)).fetchone()
        return found


def _bundle_at(index: int) -> tuple[int, int, int]:
    first = index * TILE_WIDTH
    return index, first, first + TILE_WIDTH - 1


def _joined(path: Path, index: int, rows: Sequence[bytes], pruned: int) -> bytes:
    if not rows and index * TILE_WIDTH < pruned:
        raise DatabaseError(
            f"{path}: entry bundle {index} was pruned: entries before {pruned} are in the archive; "
            "`muniment-log unprune` puts them back"
        )
    if not rows:
        raise DatabaseError(f"{path}: entry bundle {index} is missing")
    return b"".join(rows)


def _only(path: Path, level: int, index: int, rows: Sequence[bytes]) -> bytes:
    if not rows:
        raise DatabaseError(f"{path}: tile {index} of level {level} is missing")
    return rows[0]
