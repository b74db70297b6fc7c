"""What recognises records and requests that come again, as an embedded log keeps it.

See `0007_recalled.sql`. Crash argument: a commit writes what it keeps as rows of `recalled`, so it
is as durable as the records. Its names are in memory until a later transaction writes them to
`recalled_by_name` and moves the mark; a start reads the names behind the mark from the rows. So
each name that is kept is in memory or in the table, and nothing is new that is there. Memory
changes when a transaction has only to be committed: if that fails, the process ends.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from muniment_log.core.ordering import KnownError
from muniment_log.core.recall import (
    NAME_SIZE,
    SCOPE_SIZE,
    Recall,
    RecordSpan,
    scope_of,
    unpack_runs,
)
from muniment_log.storage.newest import Newest, numbers, places
from muniment_log.storage.reporting import reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_log.core.ordering import Kept
    from muniment_log.core.ports import StreamKey
    from muniment_service.readers import Readers
    from muniment_service.soundness import Findings

MOST_RECENT: Final = 16_384
"""Names that wait in memory: 3 MB."""

_MOST: Final = 256
"""Recalls in one row: whoever reads one of them reads the row."""

_SWEPT: Final = 3
"""Names of the table that are looked at for rows that are gone, for each that comes: so at most
half as many are left over as are kept."""

_KEY: Final = SCOPE_SIZE + NAME_SIZE
PREFIX: Final = f"substr(?1, {_KEY} * key + {SCOPE_SIZE - 1}, 8)"
"""That of a key in ?1, by its number `key`."""

_TABLED: Final = f"FROM json_each(?2) CROSS JOIN recalled_by_name ON prefix = {PREFIX}"
"""Names that may be in the table, of keys in ?1."""

_FIND: Final = f"SELECT key, recalled_by_name.id {_TABLED}"  # constants
_ROW: Final = "first = (SELECT max(first) FROM recalled WHERE first <= {})"
_IS_THERE: Final = f"""
SELECT 1 FROM recalled WHERE {_ROW.format("?1")} AND stream = ?2
    AND substr(names, {NAME_SIZE} * (?1 - first) + 1, {NAME_SIZE}) = ?3
"""  # noqa: S608  # constants
_FIND_OLD: Final = f"""
SELECT key FROM json_each(?2) CROSS JOIN recall ON stream = ?3
    AND name = substr(?1, {_KEY} * key + {SCOPE_SIZE + 1}, {NAME_SIZE})
"""  # noqa: S608  # constants
_LOAD: Final = """
SELECT first, stream, names FROM recalled
WHERE first >= coalesce((SELECT max(first) FROM recalled WHERE first <= ?1), 0) ORDER BY first
"""
_OLDEST: Final = f"""
SELECT first, length(names) / {NAME_SIZE},
    CASE WHEN first + length(names) / {NAME_SIZE} > ?3 THEN names ELSE x'' END
FROM recalled WHERE stream = ?1 AND place < ?2 ORDER BY place
"""  # noqa: S608  # constants
_DROP_OLD: Final = """
DELETE FROM recall WHERE stream = ?1 AND name IN
    (SELECT name FROM recall WHERE stream = ?1 AND place < ?2 ORDER BY place LIMIT ?3)
"""
_SORT: Final = f"INSERT OR IGNORE INTO recalled_by_name SELECT {PREFIX}, value FROM json_each(?2)"  # noqa: S608  # constants
_SWEEP: Final = f"""
DELETE FROM recalled_by_name WHERE (prefix, id) IN (SELECT prefix, id FROM (
    SELECT prefix, id FROM recalled_by_name WHERE prefix >= ?1 ORDER BY prefix, id LIMIT ?2)
WHERE NOT EXISTS (SELECT 1 FROM recalled
    WHERE {_ROW.format("id")} AND first + length(names) / {NAME_SIZE} > id))
"""  # noqa: S608  # constants
_SWEPT_TO: Final = """
SELECT prefix FROM recalled_by_name WHERE prefix >= ?1 ORDER BY prefix, id LIMIT 1 OFFSET ?2
"""

ROWS: Final = f"""
SELECT names, data FROM recalled WHERE +stream = ?3 AND first IN (
    SELECT (SELECT max(first) FROM recalled WHERE first <= found.id) FROM (
        SELECT recalled_by_name.id AS id {_TABLED} UNION SELECT value FROM json_each(?4)) AS found)
"""  # noqa: S608  # constants
"""The rows that may have what is kept under the keys in ?1, of the stream ?3; ?4 are ids."""

_Rest = tuple[bytes, int, tuple[RecordSpan, ...]]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Rest]).decode


class Recalled:
    """What is kept in one file, for who writes it: all runs in its transactions.

    Attributes:
        newest: the newest names, each behind its stream's scope; any thread may get from it.
        has_old: whether a log of before has kept something; any thread may read it.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Reads the newest names; raises sqlite3.Error if the file cannot be read."""
        try:
            mark, self._swept = db.execute("SELECT sorted, swept FROM recalled_state").fetchone()
            self.newest = Newest(mark, SCOPE_SIZE)
            self._next = mark + 1
            for first, stream, names in db.execute(_LOAD, (mark,)):
                keys = [stream + name for name in split(names)]
                ids = range(first, first + len(keys))
                self.newest.add(one for one in zip(keys, ids, strict=True) if one[1] > mark)
                self._next = max(self._next, ids.stop)
        except (TypeError, IndexError) as error:  # no row, or a value that is no such thing
            raise sqlite3.DatabaseError(f"what is kept in recalled is damaged: {error}") from error
        self.has_old = db.execute("SELECT 1 FROM recall LIMIT 1").fetchone() is not None

    def check_new(self, db: sqlite3.Connection, kept: Sequence[Kept]) -> None:
        """Raises KnownError if something of what is to be kept is there."""
        for one in kept:
            if self._known(db, scope_of(one.key), one.recalls):
                raise KnownError

    def remember(self, db: sqlite3.Connection, kept: Kept) -> None:
        """Keeps what is not there."""
        known = self._known(db, scope_of(kept.key), kept.recalls)
        self.add(
            db, [kept._replace(recalls=[one for one in kept.recalls if one.name not in known])]
        )

    def add(self, db: sqlite3.Connection, kept: Sequence[Kept]) -> None:
        """Keeps what is new, as the last thing that a transaction does.

        Of the oldest of the same producers, as many go as come; as many again while there are too
        many.
        """
        if not kept:  # as of logs without tokens
            return
        rows: list[tuple[int, bytes, int, bytes, bytes]] = []
        keys: list[bytes] = []
        first = self._next
        for key, place, _, recalls in kept:
            scope = scope_of(key)
            keys += [scope + one.name for one in recalls]
            for at in range(0, len(recalls), _MOST):
                some = recalls[at : at + _MOST]
                names = b"".join([one.name for one in some])
                rows.append((first, scope, place, names, _encode([one[1:] for one in some])))
                first += len(some)
        db.executemany("INSERT INTO recalled VALUES (?, ?, ?, ?, ?)", rows)
        gone = [key for one in kept if one.oldest for key in self._drop(db, one)]
        newest = self.newest
        move = newest.due(len(keys), MOST_RECENT)
        swept = self._swept
        if move is not None:
            db.execute(_SORT, (b"".join(move.keys), numbers(move.ids)))
            if any(one.oldest for one in kept):
                span = (swept, _SWEPT * len(move.keys))
                (swept,) = db.execute(_SWEPT_TO, span).fetchone() or (b"",)
                db.execute(_SWEEP, span)
            db.execute("UPDATE recalled_state SET sorted = ?, swept = ?", (move.mark, swept))
        # Nothing fails from here on.
        newest.committed()
        if move is not None:
            newest.moved(move)
        newest.add(zip(keys, range(self._next, first), strict=True))
        newest.drop(gone)
        self._next, self._swept = first, swept

    def _known(self, db: sqlite3.Connection, scope: bytes, recalls: Sequence[Recall]) -> set[bytes]:
        """Those of the names that are there."""
        keys = [scope + one.name for one in recalls]
        known = {key[SCOPE_SIZE:] for key in self.newest.find(keys)}
        asked = places(keys)
        for number, id_ in db.execute(_FIND, asked).fetchall():
            name = keys[number][SCOPE_SIZE:]
            if db.execute(_IS_THERE, (id_, scope, name)).fetchone():
                known.add(name)
        if self.has_old:
            for (number,) in db.execute(_FIND_OLD, (*asked, scope)):
                known.add(keys[number][SCOPE_SIZE:])
        return known

    def _drop(self, db: sqlite3.Connection, kept: Kept) -> list[bytes]:
        """Drops what is too old; the keys of it that may be in memory."""
        scope, most = scope_of(kept.key), 2 * len(kept.recalls)
        if self.has_old:
            most -= db.execute(_DROP_OLD, (scope, kept.oldest, most)).rowcount
        keys: list[bytes] = []
        rows: list[tuple[int]] = []
        cursor = db.execute(_OLDEST, (scope, kept.oldest, self.newest.mark))
        while most > 0 and (row := cursor.fetchone()) is not None:
            first, size, names = row
            rows.append((first,))
            keys += [scope + name for name in split(names)]
            most -= size
        cursor.close()
        db.executemany("DELETE FROM recalled WHERE first = ?", rows)
        return keys


def split(names: object) -> list[bytes]:
    """The names of one row; raises sqlite3.DatabaseError if it is damaged."""
    if not isinstance(names, bytes) or len(names) % NAME_SIZE:
        raise sqlite3.DatabaseError("the names in a row of recalled are damaged")
    return [names[at : at + NAME_SIZE] for at in range(0, len(names), NAME_SIZE)]


def recalls_of(names: bytes, data: bytes) -> list[Recall]:
    """What one row has; raises sqlite3.DatabaseError if it is damaged."""
    try:
        return [Recall(name, *rest) for name, rest in zip(split(names), _decode(data), strict=True)]
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise sqlite3.DatabaseError(f"a row of recalled is damaged: {error}") from error


TABLE: Final = "recalled"

_HAS_TABLE: Final = f"SELECT 1 FROM sqlite_schema WHERE name = '{TABLE}'"  # noqa: S608  # a constant
_UNFOUND: Final = f"""
SELECT count(*) FROM json_each(?2) WHERE ?3 + key <= ?4 AND NOT EXISTS
    (SELECT 1 FROM recalled_by_name WHERE prefix = {PREFIX} AND id = ?3 + key)
"""  # noqa: S608  # constants


def check_recalled(db: sqlite3.Connection, findings: Findings) -> None:
    """Looks for rows that are damaged, and for names that nobody would find.

    A record with such a name could be logged twice. A file of an older version has no such rows.
    """
    if db.execute(_HAS_TABLE).fetchone() is None:
        return
    match db.execute("SELECT sorted FROM recalled_state").fetchall():
        case [(int(mark),)]:
            pass
        case _:
            findings.add(TABLE, "it is not known which names are sorted")
            return
    following = 0
    rows = db.execute(f"SELECT first, stream, names, data FROM {TABLE} ORDER BY first")  # noqa: S608  # a constant
    for first, stream, names, data in rows:
        try:
            recalls = recalls_of(names, data)
        except sqlite3.DatabaseError:
            recalls = []
        is_whole = first >= following and isinstance(stream, bytes) and len(stream) == SCOPE_SIZE
        if not recalls or not is_whole:
            findings.add(TABLE, f"row {first}: not what recognises records")
            continue
        following = first + len(recalls)
        keys = [stream + one.name for one in recalls]
        (unfound,) = db.execute(_UNFOUND, (*places(keys), first, mark)).fetchone()
        if unfound:
            findings.add(TABLE, f"row {first}: {unfound} names that would not be found")


_OLD: Final = "SELECT name, content, time, runs FROM recall WHERE stream = ? AND name IN ({})"

_NAMES: Final = 512
"""Names that one statement asks for."""


class _Asked(NamedTuple):
    """What requests that came together ask to recall, and the task that reads it."""

    names: set[bytes]
    reading: asyncio.Task[dict[bytes, Recall]]


class Recalls:
    """Reads what is kept under names, in one statement for all that ask while one is read.

    Belongs to one event loop.
    """

    def __init__(self, readers: Readers, recalled: Recalled) -> None:
        self._readers = readers
        self._recalled = recalled
        self._asked: dict[bytes, _Asked] = {}
        self._reading = asyncio.Lock()

    async def read(self, key: StreamKey, names: Sequence[bytes]) -> dict[bytes, Recall]:
        """What is kept under names of a stream of the log's own.

        Raises StorageError if the file cannot be read.
        """
        scope = scope_of(key)
        asked = self._asked.get(scope)
        if asked is None:
            reading = asyncio.get_running_loop().create_task(self._recall_all(scope))
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            asked = self._asked[scope] = _Asked(set(), reading)
        asked.names.update(names)
        found = await asyncio.shield(asked.reading)  # others may wait for it, too
        return {name: found[name] for name in names if name in found}

    async def _recall_all(self, scope: bytes) -> dict[bytes, Recall]:
        """Reads for all who have asked by the time that the reading before is done."""
        found: dict[bytes, Recall] = {}
        async with self._reading:
            names = list(self._asked.pop(scope).names)
            with reported("reading what was sent before"):
                for start in range(0, len(names), _NAMES):
                    found.update(await self._find(scope, names[start : start + _NAMES]))
        return found

    async def _find(self, scope: bytes, names: Sequence[bytes]) -> dict[bytes, Recall]:
        keys = [scope + name for name in names]
        newest = [self._recalled.newest.get(key) for key in keys]
        ids = numbers(id_ for id_ in newest if id_ is not None)
        wanted = frozenset(names)
        found: dict[bytes, Recall] = {}
        for row in await self._readers.rows(ROWS, (*places(keys), scope, ids)):
            found.update({one.name: one for one in recalls_of(*row) if one.name in wanted})
        if self._recalled.has_old:
            statement = _OLD.format(", ".join("?" * len(names)))
            for name, content, time, runs in await self._readers.rows(statement, (scope, *names)):
                found[name] = Recall(name, content, time, unpack_runs(runs))
        return found
