"""The map in a file: it takes leaves in batches, and has the root of all that it took.

A batch is one transaction: what is committed is the map of exactly `size` leaves, with the compact
range of these, so that whoever feeds it can compare their root with the log's head. The file holds
nothing that the leaves do not; one that is lost or rotten is made again from them.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from muniment.local.sqlitefile import DatabaseError, Writer, log_pages
from muniment.map.batch import BatchUpdate, load
from muniment.map.bucket import MAX_LEAVES, Rot
from muniment.map.levels import Levels
from muniment.map.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    PAGE_BYTES,
    MapState,
    read_passed,
    read_state,
    write_state,
)
from muniment.records.touched import MAP_VERSION, touched_by
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.mpt import EMPTY

WAL_PAGES: Final = 65_536
"""Pages of the write-ahead log before a commit checkpoints it: 64 MiB. Batches change the same
upper pages again and again, and a checkpoint writes each once."""

CACHE_KIBIBYTES: Final = 32_768


def forget_map(path: Path) -> None:
    """Deletes a map, which nobody has open: the next one is built from the leaves."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


class MapFile:
    """The writing side of one map, on a thread of its own. Use `open`, then `close`."""

    def __init__(self, writer: Writer, origin: str, state: MapState) -> None:
        """Takes over an opened writer."""
        self._writer = writer
        self.origin: Final = origin
        self._state = state
        self._kinds: dict[int, Levels] | None = None  # None: to be read from the file

    @classmethod
    async def open(cls, path: Path, origin: str) -> "MapFile":
        """Locks and opens the map of a log's leaves, creating it (not its folder) when absent.

        Raises DatabaseError if it is in use, no map, rotten, or that of another log or of another
        version of the map function.
        """

        def fill(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO state VALUES (1, ?, ?, 0, x'', ?)", (MAP_VERSION, origin, EMPTY)
            )

        def set_up(db: sqlite3.Connection) -> MapState:
            db.execute(f"PRAGMA wal_autocheckpoint={log_pages(path, WAL_PAGES)}")
            db.execute(f"PRAGMA cache_size=-{CACHE_KIBIBYTES}")
            version, found = db.execute("SELECT version, origin FROM state").fetchone()
            if (version, found) != (MAP_VERSION, origin):
                raise DatabaseError(
                    f"{path}: map {version} of {found}, not map {MAP_VERSION} of {origin}"
                )
            try:
                return read_state(db)
            except Rot as error:
                raise DatabaseError(f"{path}: rotten: {error}; it can be made again") from None

        writer = await Writer.open(
            path, MIGRATIONS, application=APPLICATION_ID, fill=fill, page_bytes=PAGE_BYTES
        )
        try:
            return cls(writer, origin, await writer.run(set_up))
        except BaseException:
            await writer.close()
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._writer.path

    @property
    def size(self) -> int:
        """How many leaves it took."""
        return self._state.range.size

    @property
    def range(self) -> CompactRange:
        """The compact range of the leaves that it took."""
        return self._state.range

    @property
    def root(self) -> bytes:
        """The root of the map of these leaves."""
        return self._state.root

    async def close(self) -> None:
        """Waits for running work and closes the file."""
        await self._writer.close()

    async def apply(self, first: int, leaves: Sequence[bytes]) -> MapState:
        """Takes the next leaves, in one transaction; some 60 µs and 2 kB of memory for each.

        Raises ValueError if they are not the next ones, `DatabaseError` if the file contradicts
        itself, and `FatalDatabaseError` if the disk's state is unknown.
        """
        if first != self.size:
            raise ValueError(f"leaf {first} does not follow {self.size} leaves")
        if first + len(leaves) > MAX_LEAVES:
            raise ValueError("too many leaves")

        def work(db: sqlite3.Connection) -> tuple[MapState, dict[int, Levels]]:
            # Whatever happens from here on, what is in memory is only true once it is committed.
            kinds, self._kinds = self._kinds, None
            if kinds is None:
                kinds = load(db, self.root)
            batch = BatchUpdate(db, kinds)
            root = batch.take(touched_by(leaves, first, self.origin))
            state = MapState(self.range.extend(leaf_hashes(leaves)), root)
            write_state(db, state)
            return state, kinds

        try:
            self._state, self._kinds = await self._writer.run(work, synced=False)
        except Rot as error:
            raise DatabaseError(f"{self.path}: rotten: {error}; it can be made again") from None
        return self._state

    async def passed(self, size: int) -> tuple[bytes, bytes] | None:
        """The roots of the tree and of the map when a batch ended at a size.

        None if none did, or too long ago (`schema.PASSED` batches).
        """
        return await self._writer.run(lambda db: read_passed(db, size))

    async def clear(self) -> None:
        """Forgets everything, to build the map again."""

        def work(db: sqlite3.Connection) -> None:
            for table in ("passed", "kind", "bucket", "tile", "chunk"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            db.execute("UPDATE state SET size = 0, peaks = x'', root = ?", (EMPTY,))

        await self._writer.run(work)
        self._state, self._kinds = MapState(CompactRange.EMPTY, EMPTY), {}
