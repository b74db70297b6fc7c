"""The mirror's database: copies of logs, as bundles and tiles, and the heads that it cosigned.

One SQLite file, apart from the witness's: it may be large, and is worth nothing without that, while
the witness's heads go on to guard against a second history when it is lost. Every growth of a copy
is guarded by the tree that it starts from, every head by the one before it: neither goes back.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Final, NamedTuple, TypeVar

from muniment.local.sqlitefile import (
    UNREADABLE,
    AbsentDatabaseError,
    DatabaseError,
    FatalDatabaseError,
    Writer,
    log_pages,
)
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.heads import Head
from muniment.tlog.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hashes
from muniment.tlog.note import VKey
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile
from muniment_service.readers import Readers
from muniment_witness.judge.mirroring import CopyEdge, Growth
from muniment_witness.store.database import identify

APPLICATION: Final = 0x4D754D72
"""``MuMr``: SQLite application_id of mirror databases."""

MIGRATIONS: Final = (
    """
    CREATE TABLE identity (vkey TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE ticket (secret BLOB NOT NULL);
    CREATE TABLE copy (
        log INTEGER PRIMARY KEY,
        origin TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        root BLOB NOT NULL
    );
    CREATE TABLE head (
        log INTEGER PRIMARY KEY,
        size INTEGER NOT NULL,
        note BLOB NOT NULL,
        time INTEGER NOT NULL
    );
    CREATE TABLE bundle (
        log INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (log, idx)
    );
    CREATE TABLE tail (
        log INTEGER NOT NULL,
        first INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (log, first)
    );
    CREATE TABLE tile (
        log INTEGER NOT NULL,
        level INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (log, level, idx)
    );
    """,
)
"""Schema changes, oldest first. `copy` is the tree of the entries held, `head` the mirror
checkpoint, which may be of an older tree; `bundle` has full bundles, `tail` the partial one in
pieces; `tile` full tiles and, above level 0, the partial one. Times are Unix seconds."""

WAL_PAGES: Final = 8192
"""Pages in the write-ahead log before a commit checkpoints it, where there is room: 32 MiB."""

READERS: Final = 2
"""Connections that read."""

_SECRET_SIZE: Final = 32
_T = TypeVar("_T")

_LOST: Final = (
    "mount it, or restore it; if it is lost, `muniment-witness new-mirror-database` makes one that "
    "logs fill again"
)


class MirrorCheckpoint(NamedTuple):
    """A mirror checkpoint: its size, the note with the log's signatures and ours, and its time."""

    size: int
    note: bytes
    time: int


class StoredCopy(NamedTuple):
    """What is stored of a log: its number, the edge of the copy, and the mirror checkpoint."""

    number: int
    edge: CopyEdge
    head: MirrorCheckpoint | None


async def create_mirror(path: Path, keys: Sequence[VKey]) -> None:
    """Makes the database of a mirror that holds nothing; DatabaseError if it cannot."""

    def work(connection: Connection) -> None:
        identify(connection, keys)
        secret = secrets.token_bytes(_SECRET_SIZE)
        connection.execute("INSERT INTO ticket (secret) VALUES (?)", (secret,))

    writer = await Writer.open(path, MIGRATIONS, application=APPLICATION, expected="new", fill=work)
    await writer.close()


class MirrorStore:
    """A mirror's database. Use `open`.

    Attributes:
        secret: What tickets are authenticated with.
    """

    def __init__(self, writer: Writer, readers: Readers, secret: bytes) -> None:
        """Takes over an opened database."""
        self._writer = writer
        self._readers = readers
        self.secret: Final = secret
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, path: Path, keys: Sequence[VKey]) -> "MirrorStore":
        """Opens the database of the mirror that has these keys; new ones of its are recorded.

        Raises:
            AbsentDatabaseError: If it is absent or empty.
            DatabaseError: If it is in use, not a mirror's, too new, or another mirror's.
        """
        try:
            writer = await Writer.open(path, MIGRATIONS, application=APPLICATION, expected="old")
        except AbsentDatabaseError as error:
            raise AbsentDatabaseError(f"{error}; {_LOST}") from error
        try:
            secret = await writer.run(lambda connection: _begin(connection, path, keys))
            readers = await Readers.open(path, READERS)
        except (FatalDatabaseError, *UNREADABLE) as error:
            await writer.close()
            raise DatabaseError(f"{path}: {error}") from error
        except BaseException:
            await writer.close()
            raise
        return cls(writer, readers, secret)

    async def load(self, origin: str) -> StoredCopy:
        """Reads what is stored of a log, of which there may be nothing yet.

        Raises DatabaseError if it is damaged: what was stored does not make the tree.
        """
        try:
            return await self._writer.run(lambda connection: _load(connection, origin))
        except FormatError as error:
            raise DatabaseError(f"{self._writer.path}: the copy of {origin}: {error}") from error

    async def origins(self) -> list[str]:
        """The origins of which something is stored, in order."""
        rows = await self._readers.rows("SELECT origin FROM copy ORDER BY origin")
        return [origin for (origin,) in rows]

    async def grow(self, number: int, growth: Growth) -> None:
        """Stores what was added to a copy; when this returns, it is synced.

        Raises FatalDatabaseError if that is in doubt: the process must end.
        """
        await self._run(lambda connection: _grow(connection, number, growth))

    async def put_head(
        self, number: int, old: MirrorCheckpoint | None, make: "MakeHead"
    ) -> MirrorCheckpoint:
        """Makes and stores a mirror checkpoint; when this returns, it is synced.

        `make` runs on the writer's thread. Raises FatalDatabaseError as `grow`.
        """
        return await self._run(lambda connection: _put_head(connection, number, old, make()))

    async def _run(self, work: Callable[[Connection], _T]) -> _T:
        try:
            return await self._writer.run(work)
        except FatalDatabaseError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
            raise

    async def watch(self) -> None:
        """Waits until something cannot be stored, and raises that FatalDatabaseError."""
        await asyncio.shield(self._failed)

    async def tiles(self, number: int, wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """Reads full tiles and bundles; those that are not there are left out."""
        found: dict[Tile, bytes] = {}
        values: tuple[int, ...]
        for tile in wanted:
            if tile.level == ENTRIES:
                sql, values = "bundle WHERE log = ? AND idx = ?", (number, tile.index)
            else:
                sql = "tile WHERE log = ? AND level = ? AND idx = ?"
                values = (number, tile.level, tile.index)
            row = await self._readers.row(f"SELECT data FROM {sql}", values)  # noqa: S608 - constants
            if row is not None:
                found[tile.full] = row[0]
        return found

    async def close(self) -> None:
        """Closes the readers, then the writer."""
        self._failed.cancel()
        try:
            await self._readers.close()
        finally:
            await self._writer.close()


MakeHead = Callable[[], MirrorCheckpoint]
"""Signs: makes the head that is stored."""


def _begin(connection: Connection, path: Path, keys: Sequence[VKey]) -> bytes:
    stored = {vkey for (vkey,) in connection.execute("SELECT vkey FROM identity")}
    if not stored & {str(key) for key in keys}:
        names = ", ".join(sorted({vkey.partition("+")[0] for vkey in stored}))
        raise DatabaseError(f"{path}: belongs to a mirror with other keys ({names})")
    # What a copy holds is true of any key: unlike a witness's, its head says nothing of the past.
    identify(connection, keys)
    connection.execute(f"PRAGMA wal_autocheckpoint={log_pages(path, WAL_PAGES)}")
    (secret,) = connection.execute("SELECT secret FROM ticket").fetchone()
    return bytes(secret)


def _load(connection: Connection, origin: str) -> StoredCopy:
    connection.execute(
        "INSERT INTO copy (origin, size, root) VALUES (?, 0, ?) ON CONFLICT DO NOTHING",
        (origin, EMPTY_ROOT),
    )
    number, size, root = connection.execute(
        "SELECT log, size, root FROM copy WHERE origin = ?", (origin,)
    ).fetchone()
    rows = connection.execute("SELECT data FROM tail WHERE log = ? ORDER BY first", (number,))
    tail = b"".join(data for (data,) in rows)
    entries = unframe(tail, "partial bundle")
    if len(entries) != size % TILE_WIDTH:
        raise FormatError(f"{len(entries)} entries instead of {size % TILE_WIDTH}")
    levels = [b"".join(leaf_hashes(entries))] if size else []
    rest = size >> TILE_HEIGHT
    while rest:
        width, index = rest % TILE_WIDTH, rest >> TILE_HEIGHT
        sql = "SELECT data FROM tile WHERE log = ? AND level = ? AND idx = ?"
        row = connection.execute(sql, (number, len(levels), index)).fetchone() if width else None
        levels.append(b"" if row is None else row[0][: width * HASH_SIZE])
        rest = index
    edge = CopyEdge(TileEdge.restore(size, levels), tail)
    if edge.head != Head(size, root):
        raise FormatError(f"its tiles do not make the root of its tree of {size}")
    head = connection.execute(
        "SELECT size, note, time FROM head WHERE log = ?", (number,)
    ).fetchone()
    if head is not None and head[0] > size:
        raise FormatError(f"its checkpoint has size {head[0]}, beyond its {size} entries")
    return StoredCopy(number, edge, None if head is None else MirrorCheckpoint(*head))


def _grow(connection: Connection, number: int, growth: Growth) -> None:
    moved = connection.execute(
        "UPDATE copy SET size = ?, root = ? WHERE log = ? AND size = ? AND root = ?",
        (*growth.after, number, *growth.before),
    ).rowcount
    if moved != 1:
        raise FatalDatabaseError("the stored copy is not the one that grew: who else writes?")
    if growth.bundles:
        connection.executemany(
            "INSERT INTO bundle (log, idx, data) VALUES (?, ?, ?)",
            [(number, *bundle) for bundle in growth.bundles],
        )
        connection.execute("DELETE FROM tail WHERE log = ?", (number,))
    if growth.fragment is not None:
        connection.execute(
            "INSERT INTO tail (log, first, data) VALUES (?, ?, ?)", (number, *growth.fragment)
        )
    connection.executemany(
        "INSERT INTO tile (log, level, idx, data) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (log, level, idx) DO UPDATE SET data = excluded.data",
        [(number, *tile) for tile in growth.tiles],
    )


def _put_head(
    connection: Connection, number: int, old: MirrorCheckpoint | None, new: MirrorCheckpoint
) -> MirrorCheckpoint:
    moved = connection.execute(
        "UPDATE head SET size = ?, note = ?, time = ?"
        " WHERE log = ? AND size = ? AND time = ? AND size <= ?"
        " AND ? <= (SELECT size FROM copy WHERE copy.log = head.log)",
        (*new, number, *((old.size, old.time) if old else (None, None)), new.size, new.size),
    ).rowcount
    if moved == 0 and old is None:
        moved = connection.execute(
            "INSERT INTO head (log, size, note, time)"
            " SELECT log, ?, ?, ? FROM copy WHERE log = ? AND size >= ? ON CONFLICT DO NOTHING",
            (*new, number, new.size),
        ).rowcount
    if moved != 1:
        raise FatalDatabaseError("the stored mirror checkpoint is not the one decided on")
    return new
