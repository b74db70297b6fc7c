"""What PostgreSQL knows of addenda: each statement that frontends and the eraser run on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from muniment_log.cluster.database import LOCK_CLASS, SETTLERS, settle
from muniment_log.cluster.objects import Version
from muniment_log.core.addenda import Erased
from muniment_log.core.erasable import Totals
from muniment_log.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.core.addenda import Addendum

_GATE: Final = SETTLERS + 1
"""The advisory lock that whoever notes arrivals shares, and who erases has alone: an erasure knows
of every arrival that was noted without knowing of the erasure."""

_NOTE: Final = """
INSERT INTO arriving (key, digests, leaves)
SELECT $1, $2, next FROM coordinator WHERE id = 0
ON CONFLICT (key) DO UPDATE SET digests = excluded.digests RETURNING leaves
"""

_ADD: Final = """
INSERT INTO addendum
    (digest, subject, execution, time, leaves, labels, size, source, e_tag, version)
SELECT v.digest, v.subject, v.execution, $1, $2, v.labels, v.size, $3, v.e_tag, v.version
FROM unnest($4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::integer[], $9::text[],
    $10::text[]) AS v (digest, subject, execution, labels, size, e_tag, version)
ON CONFLICT (digest) DO NOTHING RETURNING size
"""

_ERASE: Final = """
UPDATE addendum SET erased = $2, erasure = $3
WHERE erased IS NULL AND digest = ANY($1::bytea[]) RETURNING digest, size, e_tag, version
"""

BAR: Final = """
INSERT INTO addendum (digest, time, leaves, size, erased, erasure)
SELECT v.digest, $2, 0, 0, $2, $3 FROM unnest($1::bytea[]) AS v (digest)
ON CONFLICT (digest) DO NOTHING RETURNING digest
"""

COUNT: Final = """
UPDATE addenda SET addenda = addenda + $1, bytes = bytes + $2, erased = erased + $3 WHERE id = 0
RETURNING addenda, bytes, erased
"""

# One turn after the other, in the order in which ids are given out.
TURN: Final = """
UPDATE addenda SET id = 0 WHERE id = 0
RETURNING (extract(epoch FROM clock_timestamp()) * 1000)::bigint
"""


class Known(NamedTuple):
    """What is known of a request's addenda before it is ordered.

    Attributes:
        stored: digests of those that are kept already, or were erased.
        leaves: how many leaves are ordered.
    """

    stored: frozenset[bytes]
    leaves: int


class Left(NamedTuple):
    """An arrival that nobody has finished.

    Attributes:
        key: the object in which it came.
        digests: what came.
        leaves: its records stand there or behind.
    """

    key: str
    digests: frozenset[bytes]
    leaves: int


async def note(
    database: Database, key: str, digests: Sequence[bytes], expected: Iterable[bytes]
) -> Known:
    """Notes that addenda are going to be in an object, except for those that are kept already.

    Nothing is noted if one that is expected is absent, or nothing is new.
    """
    wanted = frozenset(expected)

    async def work(db: DatabaseConnection) -> Known:
        await db.execute("SELECT pg_advisory_xact_lock_shared($1, $2)", LOCK_CLASS, _GATE)
        rows = await db.fetch(
            "SELECT digest FROM addendum WHERE digest = ANY($1::bytea[])", [*digests, *wanted]
        )
        stored = frozenset(row["digest"] for row in rows)
        if stored:
            await settle(db)
        new = [digest for digest in digests if digest not in stored]
        leaves = await db.fetchval(_NOTE, key, new) if new and wanted <= stored else 0
        return Known(stored, leaves)

    return await database.transact(work, "noting addenda")


async def add(
    database: Database,
    key: str,
    addenda: Sequence[tuple[Addendum, Version]],
    leaves: int,
    barred: Sequence[bytes],
) -> None:
    """Adds addenda whose objects are stored; `barred` are those that were erased in their place."""
    rows = [
        (
            one.digest,
            one.subject,
            None if one.execution is None else one.execution.encode(),
            msgspec.json.encode(one.labels) if one.labels else None,
            len(one.data),
            version.e_tag,
            version.version,
        )
        for one, version in addenda
    ]

    async def work(db: DatabaseConnection) -> None:
        now = await db.fetchval(TURN)
        added = await db.fetch(_ADD, now, leaves, key, *_columns(rows, 7)) if rows else ()
        gone = await db.fetch(BAR, barred, now, None) if barred else ()
        await db.fetchrow(COUNT, len(added), sum(row["size"] for row in added), len(gone))
        if len(added) + len(gone) < len(rows) + len(barred):
            await settle(db)

    await database.transact(work, "adding addenda")


async def erase(
    database: Database, digests: Sequence[bytes], index: int, now_ms: int
) -> tuple[list[str], dict[bytes, Version]]:
    """Notes addenda as erased, those that are not kept, too.

    Returns the objects in which they came, and the versions of the objects that they have, as far
    as these were told when they were stored.
    """

    async def work(db: DatabaseConnection) -> tuple[list[str], dict[bytes, Version]]:
        await db.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, _GATE)
        await db.fetchval(TURN)
        gone = await db.fetch(_ERASE, digests, now_ms, index)
        barred = await db.fetch(BAR, digests, now_ms, index)
        size = sum(row["size"] for row in gone)
        await db.fetchrow(COUNT, -len(gone), -size, len(gone) + len(barred))
        came = await db.fetch(
            "SELECT DISTINCT source FROM addendum"
            " WHERE digest = ANY($1::bytea[]) AND source IS NOT NULL",
            digests,
        )
        await settle(db)
        known = {row["digest"]: Version(row["e_tag"], row["version"]) for row in gone}
        told = {digest: one for digest, one in known.items() if one.e_tag is not None}
        return sorted(row["source"] for row in came), told

    return await database.transact(work, "erasing addenda")


async def find(database: Database, digest: bytes) -> Erased | str | None:
    """What became of an addendum: erased, or in which object it came; empty once it has its place.

    None if it is neither kept nor arriving.
    """

    async def work(db: DatabaseConnection) -> Erased | str | None:
        row = await db.fetchrow("SELECT erased, erasure FROM addendum WHERE digest = $1", digest)
        if row is not None:
            return "" if row["erased"] is None else Erased(row["erased"], row["erasure"])
        key: str | None = await db.fetchval(
            "SELECT key FROM arriving WHERE $1 = ANY(digests) LIMIT 1", digest
        )
        return key

    return await database.transact(work, "looking for an addendum")


async def check_arriving(db: DatabaseConnection, keys: Sequence[str]) -> None:
    """Keeps the sweeper from arrivals until the transaction ends, which orders their requests.

    Raises UnavailableError if it has begun with one: the request has to come again.
    """
    if not keys:
        return
    found = await db.fetch(
        "SELECT key FROM arriving WHERE key = ANY($1::text[]) AND NOT swept FOR SHARE", keys
    )
    if len(found) < len(keys):
        raise UnavailableError("what came with a request was taken for left behind; send it again")


async def left(database: Database, seconds: float, most: int) -> tuple[list[Left], int]:
    """Arrivals older than this, at most so many; and how many leaves are ordered.

    What is ordered from now on is ordered without these, see `check_arriving`; and those that are
    being ordered are left out.
    """

    async def work(db: DatabaseConnection) -> tuple[list[Left], int]:
        rows = await db.fetch(
            "UPDATE arriving SET swept = true WHERE key IN (SELECT key FROM arriving"
            " WHERE since < now() - $1 * interval '1 second' ORDER BY since LIMIT $2"
            " FOR UPDATE SKIP LOCKED) RETURNING key, digests, leaves",
            seconds,
            most,
        )
        if rows:
            await settle(db)
        ordered = await db.fetchval("SELECT next FROM coordinator WHERE id = 0")
        return [Left(row["key"], frozenset(row["digests"]), row["leaves"]) for row in rows], ordered

    return await database.transact(work, "looking for addenda that are left")


async def done(database: Database, keys: Sequence[str]) -> None:
    """Notes that objects in which addenda came are gone."""
    await database.read(
        lambda db: db.execute("DELETE FROM arriving WHERE key = ANY($1::text[])", keys),
        "noting that addenda have arrived",
    )


async def known(database: Database, digests: Sequence[bytes]) -> frozenset[bytes]:
    """Those of the digests that are kept, or were erased."""
    rows = await database.read(
        lambda db: db.fetch("SELECT digest FROM addendum WHERE digest = ANY($1::bytea[])", digests),
        "looking for addenda",
    )
    return frozenset(row["digest"] for row in rows)


async def page(database: Database, after: int, most: int) -> list[tuple[int, bytes]]:
    """Id and digest of the addenda behind an id, at most so many."""
    rows = await database.read(
        lambda db: db.fetch(
            "SELECT id, digest FROM addendum WHERE id > $1 ORDER BY id LIMIT $2", after, most
        ),
        "reading addenda",
    )
    return [(row["id"], row["digest"]) for row in rows]


async def totals(database: Database) -> Totals:
    """How many addenda are kept, their bytes, and how many were erased."""
    row = await database.read(
        lambda db: db.fetchrow("SELECT addenda, bytes, erased FROM addenda WHERE id = 0"),
        "counting addenda",
    )
    return Totals(0, 0, 0) if row is None else Totals(row["addenda"], row["bytes"], row["erased"])


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [[row[at] for row in rows] for at in range(width)]
