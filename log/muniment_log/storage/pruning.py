"""Prunes the entries below an index from a log's database, and puts them back.

Only whole entry bundles go, of the published tree, and only when an archive was seen to hold the
same bytes and the hash tile beside them says that they are the tree's. Hash tiles stay, all of
them: every proof that was given verifies as before, and every proof can still be made. The log must
not run meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from muniment.local.sqlitefile import Writer
from muniment.records.manifest import MANIFEST
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.merkle import leaf_hashes
from muniment.tlog.tiles import TILE_WIDTH
from muniment_log.errors import StorageError
from muniment_log.storage.prunedsize import pruned_size
from muniment_log.storage.reporting import reported
from muniment_log.storage.schema import APPLICATION_ID, migrations

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    Archived = Callable[[int], bytes]


_T = TypeVar("_T")


class PruningPlan(NamedTuple):
    """What may be pruned.

    Attributes:
        pruned: entries below this index are pruned already.
        upto: entries below this index may be.
        kept: the first entry that is too young, and its time (Unix milliseconds); None when the
            published tree or what was asked for ends before there is one.
    """

    pruned: int
    upto: int
    kept: tuple[int, int] | None


class _Timed(msgspec.Struct):
    time: int = 0


class Pruning:
    """The database of a log that does not run. Use `open`, and `close`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @classmethod
    async def open(cls, path: Path) -> Pruning:
        """Locks the database; DatabaseError if the log runs, or there is none."""
        writer = await Writer.open(path, migrations(), application=APPLICATION_ID, expected="old")
        return cls(writer)

    async def close(self) -> None:
        """Lets others have the database."""
        await self._writer.close()

    async def plan(self, before: int | None, cutoff: int) -> PruningPlan:
        """What may go: whole bundles of entries that all are of `cutoff` (Unix ms) or before.

        Those below the index `before`, or of the whole published tree. An entry's time is what its
        producer states. Raises StorageError if the file cannot be read.
        """
        return await self._run(lambda db: _plan(db, before, cutoff))

    async def prune(self, upto: int, archived: Archived) -> None:
        """Removes the entries below `upto`, of which `archived` gives the bundles by index.

        The file is written anew: nothing of them is left in it, and it takes that much less room.

        Raises StorageError if a bundle differs, or is not the tree's; nothing has changed then.
        """
        await self._run(lambda db: _prune(db, upto, archived))
        with reported("writing the file anew"):
            await self._writer.compact()

    async def unprune(self, archived: Archived) -> int:
        """Puts all pruned entries back; how many. Raises as `prune`."""
        return await self._run(lambda db: _unprune(db, archived))

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with reported("pruning"):
            return await self._writer.run(work)


def _plan(db: sqlite3.Connection, before: int | None, cutoff: int) -> PruningPlan:
    pruned = pruned_size(db)
    row = db.execute("SELECT note FROM head WHERE kind = 'published'").fetchone()
    size = 0 if row is None else parse_signed_checkpoint(bytes(row[0])).checkpoint.size
    end = (size if before is None else min(before, size)) // TILE_WIDTH
    for index in range(pruned // TILE_WIDTH, end):
        for place, entry in enumerate(unframe(_bundle(db, index), f"entry bundle {index}")):
            if not entry.startswith(MANIFEST) and (stated := _time(entry)) > cutoff:
                return PruningPlan(pruned, index * TILE_WIDTH, (index * TILE_WIDTH + place, stated))
    return PruningPlan(pruned, max(pruned, end * TILE_WIDTH), None)


def _time(entry: bytes) -> int:
    try:
        return msgspec.json.decode(entry, type=_Timed).time
    except msgspec.MsgspecError as error:
        raise StorageError(f"an entry is no record: {error}") from error


def _prune(db: sqlite3.Connection, upto: int, archived: Archived) -> None:
    first = pruned_size(db) // TILE_WIDTH
    for index in range(first, upto // TILE_WIDTH):
        data = _bundle(db, index)
        if archived(index) != data:
            raise StorageError(f"entry bundle {index} of the archive is not the log's")
        _check(db, index, data)
    db.execute("DELETE FROM bundle WHERE idx < ?", (upto // TILE_WIDTH,))
    db.execute("INSERT OR REPLACE INTO pruned VALUES (0, ?, ?)", (upto, int(time.time())))


def _unprune(db: sqlite3.Connection, archived: Archived) -> int:
    size = pruned_size(db)
    for index in range(size // TILE_WIDTH):
        data = archived(index)
        _check(db, index, data)
        db.execute("INSERT INTO bundle (idx, data) VALUES (?, ?)", (index, data))
    db.execute("DELETE FROM pruned")
    return size


def _bundle(db: sqlite3.Connection, index: int) -> bytes:
    row = db.execute("SELECT data FROM bundle WHERE idx = ?", (index,)).fetchone()
    if row is None:
        raise StorageError(f"entry bundle {index} is missing: see `muniment-log check`")
    return bytes(row[0])


def _check(db: sqlite3.Connection, index: int, data: bytes) -> None:
    """Checks a bundle against its hash tile."""
    row = db.execute("SELECT data FROM tile WHERE level = 0 AND idx = ?", (index,)).fetchone()
    try:
        hashes = leaf_hashes(unframe(data, f"entry bundle {index}"))
    except FormatError as error:
        raise StorageError(str(error)) from error
    if row is None or b"".join(hashes) != bytes(row[0]):
        raise StorageError(f"entry bundle {index} is not that of the log's hash tile")
