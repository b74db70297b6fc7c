"""Rebuilds from the leaves what follows from them.

That is tiles, tree, streams and batches. The rules: never beside a running log (the writer's lock),
never from leaves that are damaged, never silently (every damage is told before and what remains
after), all or nothing in one transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import FatalDatabaseError, UnwritableError, Writer
from muniment_log.errors import StorageError
from muniment_log.storage.check import REBUILT, CheckReport, examine, need_sound
from muniment_log.storage.leafwalk import walk
from muniment_log.storage.prunedsize import pruned_size
from muniment_log.storage.schema import APPLICATION_ID, migrations
from muniment_service.soundness import FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from muniment.tlog.note import Verifier
    from muniment_log.core.ordering import Accepted
    from muniment_service.soundness import Damage

_PUT_TILE: Final = (
    "INSERT INTO tile (level, idx, data) VALUES (?, ?, ?)"
    " ON CONFLICT (level, idx) DO UPDATE SET data = excluded.data WHERE data IS NOT excluded.data"
)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did: what the check found first, and what it finds now.

    What cannot be rebuilt from leaves is still there.
    """

    before: CheckReport
    after: CheckReport

    @property
    def rebuilt(self) -> list[Damage]:
        """The damage that is gone."""
        left = set(self.after.damage)
        return [damage for damage in self.before.damage if damage not in left]


async def repair(path: Path, origin: str, keys: Sequence[Verifier]) -> Repaired:
    """Rebuilds what can be rebuilt, and tells what was and what is still damaged.

    Raises:
        DatabaseError: the database is not there, in use, or cannot be opened.
        StorageError: the leaves are damaged, or the file cannot be written; nothing was changed.
    """
    writer = await Writer.open(path, migrations(), application=APPLICATION_ID, expected="old")
    try:
        return await writer.run(lambda db: _repair(db, origin, keys))
    except UnwritableError:
        raise
    except (FatalDatabaseError, sqlite3.Error) as error:
        raise StorageError(f"repair: {error}") from error
    finally:
        await writer.close()


def _repair(db: sqlite3.Connection, origin: str, keys: Sequence[Verifier]) -> Repaired:
    before = examine(db, origin, keys, full=True)
    tables = {damage.table for damage in before.damage}
    if not tables:
        return Repaired(before, before)
    need_sound(before)
    if pruned_size(db):
        raise StorageError("entries were pruned: put them back first, by `muniment-log unprune`")
    if tables & (REBUILT | {FILE}):
        _rebuild(db, streams=bool(tables & {"stream", "batch", FILE}))
    if FILE in tables:
        db.execute("REINDEX")
    return Repaired(before, examine(db, origin, keys, full=True))


class _Store:
    """Stores what the leaves imply."""

    def __init__(self, db: sqlite3.Connection, *, streams: bool) -> None:
        self.db = db
        self.streams = streams
        self.tiles: dict[int, int] = {}

    def tile(self, level: int, index: int, data: bytes) -> None:
        self.db.execute(_PUT_TILE, (level, index, data))
        self.tiles[level] = index + 1

    def batch(self, batch: Accepted) -> None:
        if not self.streams:
            return
        # The stream's state follows at the end of the walk; a batch needs its row now.
        self.db.execute(
            "INSERT INTO stream (gateway, label, next, manifest) VALUES (?, ?, 0, x'')"
            " ON CONFLICT DO NOTHING",
            batch.key,
        )
        self.db.execute(
            "INSERT INTO batch (stream, first, count, digest, idx) VALUES"
            " ((SELECT id FROM stream WHERE gateway = ? AND label = ?), ?, ?, ?, ?)",
            (*batch.key, batch.first, batch.count, batch.digest, batch.index),
        )


def _rebuild(db: sqlite3.Connection, *, streams: bool) -> None:
    if streams:
        db.execute("DELETE FROM batch")
        db.execute("DELETE FROM stream")
    store = _Store(db, streams=streams)
    walked = walk(db, (), store)
    db.execute(
        "INSERT INTO tree (id, size, root) VALUES (0, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET size = excluded.size, root = excluded.root",
        (walked.size, walked.root),
    )
    # Whatever lies outside of what the leaves make.
    for (level,) in db.execute("SELECT DISTINCT level FROM tile").fetchall():
        db.execute(
            "DELETE FROM tile WHERE level = ? AND NOT idx BETWEEN 0 AND ?",
            (level, store.tiles.get(level, 0) - 1),
        )
    if streams:
        db.executemany(
            "INSERT INTO stream (gateway, label, next, manifest) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (gateway, label)"
            " DO UPDATE SET next = excluded.next, manifest = excluded.manifest",
            [(*key, *state) for key, state in walked.streams.items()],
        )
