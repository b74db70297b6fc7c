"""Ordering in PostgreSQL: exactly once, gapless, whoever does it.

One transaction orders a group of batches: it advances their streams from exactly where the
frontend believed them, takes the next indices from the coordinator's row, and writes the entries.
The coordinator's row stays locked until the commit, so indices become visible in their order and
have no gaps; it is taken last, in the statement that writes the rest, so the lock lasts for one
statement and the commit. When the tree is too far behind, nothing is taken.

A transaction whose outcome is unknown is simply repeated: if it was committed its streams have
moved, and the rows of exactly these batches say so. A commit that is visible need not be on any
standby yet, so what is recognised is told to nobody before it is (`database.settle`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from muniment_log.cluster.addendarows import check_arriving
from muniment_log.cluster.database import settle
from muniment_log.core.ordering import (
    MAX_REFUSED,
    Accepted,
    Kept,
    RecalledError,
    StreamsMovedError,
    kept_of,
)
from muniment_log.core.ports import NEW_STREAM, StreamKey, StreamState
from muniment_log.core.recall import KEPT, Recall, pack_runs, scope_of, unpack_runs
from muniment_log.core.runs import UnplacedRow, rows_of
from muniment_log.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.core.ordering import Ordering

DIGEST_SIZE: Final = 32

_NEW_STREAMS: Final = """
INSERT INTO stream (gateway, label, next, manifest)
SELECT v.gateway, v.label, 0, $3 FROM unnest($1::text[], $2::text[]) AS v (gateway, label)
ON CONFLICT (gateway, label) DO NOTHING
"""

_ADVANCE: Final = """
UPDATE stream SET next = v.next, manifest = v.manifest
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[])
    AS v (gateway, label, from_next, from_manifest, next, manifest)
WHERE stream.gateway = v.gateway AND stream.label = v.label
    AND stream.next = v.from_next AND stream.manifest = v.from_manifest
RETURNING stream.id, stream.gateway, stream.label
"""

_TAKE: Final = """
WITH taken AS (
    UPDATE coordinator SET next = next + $1, bytes = bytes + $2
    WHERE id = 0 AND next - integrated < $3 AND bytes < $4
    RETURNING next - $1 AS at
), batches AS (
    INSERT INTO batch (stream, first, count, digest, idx)
    SELECT v.stream, v.first, v.count, v.digest, taken.at + v.place
    FROM taken, unnest($5::bigint[], $6::bigint[], $7::integer[], $8::bytea[], $9::bigint[])
        AS v (stream, first, count, digest, place)
), runs AS (
    INSERT INTO entries (first, count, data)
    SELECT taken.at + v.place, v.count, v.data
    FROM taken, unnest($10::bigint[], $11::integer[], $12::bytea[]) AS v (place, count, data)
)
SELECT at FROM taken
"""

_STREAMS: Final = """
SELECT stream.gateway, stream.label, stream.next, stream.manifest
FROM stream, unnest($1::text[], $2::text[]) AS v (gateway, label)
WHERE stream.gateway = v.gateway AND stream.label = v.label
"""

_ACCEPTED: Final = """
SELECT batch.first, batch.count, batch.digest, batch.idx FROM batch, stream
WHERE stream.gateway = $1 AND stream.label = $2 AND batch.stream = stream.id AND batch.first = $3
"""

_LOCK: Final = "SELECT next FROM stream WHERE gateway = $1 AND label = $2 FOR UPDATE"

_RECALL: Final = """
SELECT name, content, time, runs FROM recall WHERE stream = $1 AND name = ANY($2::bytea[])
"""

_KEEP: Final = """
INSERT INTO recall (stream, name, content, time, place, runs)
SELECT $1, v.name, v.content, v.time, $2, v.runs
FROM unnest($3::bytea[], $4::bytea[], $5::bigint[], $6::bytea[])
    AS v (name, content, time, runs)
"""

# Of the oldest, as many go as come, and as many again if there are too many.
_FORGET: Final = """
DELETE FROM recall WHERE stream = $1 AND name IN (
    SELECT name FROM recall WHERE stream = $1 AND place < $2 ORDER BY place LIMIT $3)
"""

_REFUSE: Final = """
INSERT INTO refused (gateway, label, first, note) SELECT $1, $2, $3, $4
WHERE (SELECT count(*) FROM refused) < $5 ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far ordering may be ahead of the tree; beyond it the answer is 503.

    Attributes:
        leaves: leaves ordered and not yet integrated.
        bytes: their bytes.
    """

    leaves: int = 2_000_000
    bytes: int = 2 << 30

    def is_full(self, leaves: int, size: int) -> bool:
        """Whether nothing is ordered while so many leaves, and their bytes, wait; see `_TAKE`."""
        return leaves >= self.leaves or size >= self.bytes


class PostgresOrder:
    """The `Order` in PostgreSQL, one of any number."""

    def __init__(
        self,
        database: Database,
        backlog: Backlog,
        wake: Callable[[], None] = lambda: None,
        kept: int = KEPT,
        arriving: Collection[str] = (),
    ) -> None:
        """Takes the database.

        Args:
            database: where the order is.
            backlog: how far the tree may be behind.
            wake: called when something was ordered: an integrator in this process need not poll.
            kept: records of each producer by which a request is recognised.
            arriving: the objects of this process's requests with addenda that are not ordered yet.
        """
        self._arriving = arriving
        self._database = database
        self._backlog = backlog
        self._wake = wake
        self._kept = kept

    async def order(self, orderings: Sequence[Ordering]) -> int:
        """Orders batches in one transaction; see `Order.order`."""
        group, arriving = _Group.of(orderings), [*self._arriving]
        try:
            first = await self._database.transact(
                lambda db: _order(db, group, self._backlog, self._kept, arriving),
                "ordering batches",
            )
        except StreamsMovedError as error:
            # That transaction was rolled back, so nobody has waited for what it saw.
            states = await self.streams(list(error.states))
            raise StreamsMovedError(
                {key: states.get(key, NEW_STREAM) for key in error.states}
            ) from None
        # C6: a crash of the frontend before its receipts are given, or of the integrator before it
        # has seen the group. The records are durable at their indices: a retry gets its first
        # receipt again from any frontend, and the next integrator finds them.
        self._wake()
        return first

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues."""
        return (await self.streams([key])).get(key, NEW_STREAM)

    async def streams(self, keys: Sequence[StreamKey]) -> Mapping[StreamKey, StreamState]:
        """Where streams continue; those never seen are left out."""

        async def work(db: DatabaseConnection) -> Mapping[StreamKey, StreamState]:
            found = await _streams(db, keys)
            if found:
                await settle(db)
            return found

        return await self._database.transact(work, "reading streams")

    async def accepted(self, key: StreamKey, first: int) -> Accepted | None:
        """The batch that begins at a sequence number; None if none begins there."""

        async def work(db: DatabaseConnection) -> Mapping[str, Any] | None:
            found = await db.fetchrow(_ACCEPTED, *key, first)
            if found is not None:
                await settle(db)
            return found

        row = await self._database.transact(work, "reading a batch")
        if row is None:
            return None
        return Accepted(key, row["first"], row["count"], row["digest"], row["idx"])

    async def recall(self, key: StreamKey, names: Sequence[bytes]) -> Mapping[bytes, Recall]:
        """What is kept under names of a stream of the log's own."""

        async def work(db: DatabaseConnection) -> Mapping[bytes, Recall]:
            found = await _recall(db, scope_of(key), names)
            if found:
                await settle(db)
            return found

        return await self._database.transact(work, "reading what was sent before")

    async def remember(self, key: StreamKey, recalls: Sequence[Recall]) -> None:
        """Keeps recalls of records that have their indices already; see `Order.remember`."""

        async def work(db: DatabaseConnection) -> None:
            place = await db.fetchval(_LOCK, *key)
            if found := await _recall(db, scope_of(key), [recall.name for recall in recalls]):
                raise RecalledError({key: frozenset(found)})
            await _keep(db, Kept(key, place, max(0, place - self._kept), recalls))

        await self._database.transact(work, "storing what recognises a request")

    async def keep_refused(self, key: StreamKey, first: int, note: bytes) -> None:
        """Keeps a manifest that contradicts an accepted one, once; bounded by `MAX_REFUSED`."""
        await self._database.read(
            lambda db: db.execute(_REFUSE, *key, first, note, MAX_REFUSED),
            "storing a refused manifest",
        )


@dataclass(frozen=True, slots=True)
class _Group:
    """What one transaction orders, computed once for all its attempts.

    Attributes:
        moves: stream → where it must continue before, and where it does after.
        batches: (stream, sequence number, records, digest, leaves before it in the group).
        rows: the entries.
        leaves: number of entries.
        size: their bytes.
        orderings: the batches themselves.
        recalling: those with something to be recognised by.
    """

    moves: Mapping[StreamKey, tuple[StreamState, StreamState]]
    batches: Sequence[tuple[StreamKey, int, int, bytes, int]]
    rows: Sequence[UnplacedRow]
    leaves: int
    size: int
    orderings: Sequence[Ordering]
    recalling: Sequence[Ordering]

    @classmethod
    def of(cls, orderings: Sequence[Ordering]) -> _Group:
        moves: dict[StreamKey, tuple[StreamState, StreamState]] = {}
        batches = []
        place = 0
        for ordering in orderings:
            key, batch = ordering.key, ordering.batch
            before = moves[key][0] if key in moves else ordering.before
            moves[key] = before, ordering.after
            # The log's own batches are recognised only by the call that orders them, so that it
            # finds out whether an earlier attempt was committed: equal records of two requests
            # are two records.
            digest = (
                secrets.token_bytes(DIGEST_SIZE) if ordering.digest is None else ordering.digest
            )
            batches.append((key, batch.manifest.first, batch.manifest.count, digest, place))
            place += batch.manifest.count + 1
        rows = rows_of(ordering.batch for ordering in orderings)
        recalling = [ordering for ordering in orderings if ordering.recalls]
        size = sum(len(row.data) for row in rows)
        return cls(moves, batches, rows, place, size, orderings, recalling)


async def _order(
    db: DatabaseConnection, group: _Group, backlog: Backlog, kept: int, arriving: Sequence[str]
) -> int:
    moves = list(group.moves.items())
    fresh = [key for key, (before, _) in moves if before == NEW_STREAM]
    if fresh:
        await db.execute(_NEW_STREAMS, *_columns(fresh, 2), NEW_STREAM.manifest)
    moved = await db.fetch(
        _ADVANCE, *_columns([(*key, *before, *after) for key, (before, after) in moves], 6)
    )
    ids = {StreamKey(row["gateway"], row["label"]): row["id"] for row in moved}
    others = [key for key in group.moves if key not in ids]
    if others:
        at = await _first_of(db, group)
        if at is not None:
            await settle(db)
            return at
        states = await _streams(db, others)
        raise StreamsMovedError({key: states.get(key, NEW_STREAM) for key in others})
    await check_arriving(db, arriving)
    # The streams' rows are locked now: whoever logged the same on them has committed, and shows.
    if group.recalling:
        await _check_new(db, group.recalling)
    batches = [(ids[key], *batch) for key, *batch in group.batches]
    at = await db.fetchval(
        _TAKE,
        group.leaves,
        group.size,
        backlog.leaves,
        backlog.bytes,
        *_columns(batches, 5),
        *_columns(group.rows, 3),
    )
    if at is None:
        raise OverloadedError("the tree is too far behind what is ordered")
    if group.recalling:
        for one in kept_of(group.orderings, int(at), kept):
            await _keep(db, one)
    return int(at)


async def _recall(
    db: DatabaseConnection, scope: bytes, names: Sequence[bytes]
) -> dict[bytes, Recall]:
    rows = await db.fetch(_RECALL, scope, list(names))
    return {
        row["name"]: Recall(row["name"], row["content"], row["time"], unpack_runs(row["runs"]))
        for row in rows
    }


async def _check_new(db: DatabaseConnection, orderings: Sequence[Ordering]) -> None:
    """Makes sure that nothing of what is to be ordered was ordered before."""
    known: dict[StreamKey, frozenset[bytes]] = {}
    for ordering in orderings:
        names = [recall.name for recall in ordering.recalls]
        found = await _recall(db, scope_of(ordering.key), names)
        if found:
            known[ordering.key] = known.get(ordering.key, frozenset()) | found.keys()
    if known:
        raise RecalledError(known)


async def _keep(db: DatabaseConnection, kept: Kept) -> None:
    scope = scope_of(kept.key)
    rows = [(one.name, one.content, one.time, pack_runs(one.runs)) for one in kept.recalls]
    await db.execute(_KEEP, scope, kept.place, *_columns(rows, 4))
    await db.execute(_FORGET, scope, kept.oldest, 2 * len(rows))


async def _first_of(db: DatabaseConnection, group: _Group) -> int | None:
    """The index of a group that an earlier attempt committed; None if none did."""
    first = None
    for key, number, count, digest, place in group.batches:
        row = await db.fetchrow(_ACCEPTED, *key, number)
        if row is None or (row["count"], row["digest"]) != (count, digest):
            return None
        at = row["idx"] - place
        if first not in (None, at):
            return None
        first = at
    return first


async def _streams(
    db: DatabaseConnection, keys: Sequence[StreamKey]
) -> dict[StreamKey, StreamState]:
    rows = await db.fetch(_STREAMS, *_columns(keys, 2))
    return {
        StreamKey(row["gateway"], row["label"]): StreamState(row["next"], row["manifest"])
        for row in rows
    }


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """The columns of rows of a width, which are none when there are no rows."""
    return [[row[at] for row in rows] for at in range(width)]
