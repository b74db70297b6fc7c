"""Erases addenda of a cluster: their rows in PostgreSQL first, then their objects in the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from muniment_log.cluster import addendarows
from muniment_log.core.erasable import Mark, Stored, Totals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from muniment_log.cluster.addendaobjects import AddendaObjects
    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.core.erasable import Selection

_EVER: Final = (1 << 63) - 1

# An outcome states no labels: its addenda have those of the decisions on its run.
_COLUMNS: Final = """
id, digest, size, time, leaves, erased,
CASE WHEN subject IS NULL AND labels IS NULL AND execution IS NOT NULL THEN
    ARRAY(SELECT DISTINCT decision.labels FROM addendum AS decision
    WHERE decision.execution = addendum.execution AND decision.labels IS NOT NULL)
WHEN labels IS NULL THEN '{}' ELSE ARRAY[labels] END AS labels
"""

_OF_DIGESTS: Final = f"""
SELECT {_COLUMNS} FROM addendum
WHERE digest = ANY($1::bytea[]) AND erased IS NULL AND time < $2 ORDER BY id LIMIT $3
"""  # noqa: S608  # constants

# What a subject's decisions withhold, and what the outcomes of the runs have that these allow.
_OF_SUBJECT: Final = f"""
SELECT {_COLUMNS} FROM addendum WHERE id IN (
    SELECT id FROM addendum WHERE subject = $1
    UNION ALL
    SELECT id FROM addendum WHERE subject IS NULL AND execution IN
        (SELECT execution FROM addendum WHERE subject = $1 AND execution IS NOT NULL)
) AND erased IS NULL AND time < $2 ORDER BY id LIMIT $3
"""  # noqa: S608  # constants

_AFTER: Final = f"SELECT {_COLUMNS} FROM addendum WHERE id > $1 ORDER BY id LIMIT $2"  # noqa: S608

_BEGIN: Final = """
INSERT INTO erasing (id, record) SELECT v.id, v.record
FROM unnest($1::text[], $2::bytea[]) AS v (id, record) ON CONFLICT (id) DO NOTHING
"""

_HELD: Final = """
SELECT EXISTS (SELECT FROM arriving, unnest(arriving.digests) AS came (digest)
    JOIN addendum ON addendum.digest = came.digest WHERE addendum.erased IS NOT NULL)
"""


class ClusterErasable:
    """The addenda of a cluster, as `Eraser` wants them; in the integrator that leads."""

    def __init__(
        self,
        database: Database,
        objects: AddendaObjects,
        hold_term: Callable[[DatabaseConnection], Awaitable[None]],
    ) -> None:
        """Takes the two, and what checks the term in a transaction: `TreeStore.hold_epoch`."""
        self._database = database
        self._objects = objects
        self._hold_term = hold_term
        self._totals = Totals(0, 0, 0)

    @property
    def totals(self) -> Totals:
        """How much was kept at the last look."""
        return self._totals

    async def look(self) -> None:
        """Counts again."""
        self._totals = await addendarows.totals(self._database)

    async def find(self, selection: Selection, most: int) -> list[Stored]:
        """The selected addenda, see `ErasablePort`."""
        before = _EVER if selection.before_ms is None else selection.before_ms
        by_subject = selection.subject is not None
        wanted = selection.subject if by_subject else list(selection.digests)
        rows = await self._database.read(
            lambda db: db.fetch(_OF_SUBJECT if by_subject else _OF_DIGESTS, wanted, before, most),
            "looking for addenda to erase",
        )
        return [_stored(row) for row in rows]

    async def after(self, id_: int, until_ms: int, most: int) -> tuple[list[Stored], int]:
        """Addenda behind one, see `ErasablePort`."""
        found: list[Stored] = []
        rows = await self._database.read(
            lambda db: db.fetch(_AFTER, id_, most), "looking for what is due"
        )
        for row in rows:
            if row["time"] > until_ms:
                break
            id_ = row["id"]
            if row["erased"] is None:
                found.append(_stored(row))
        return found, id_

    async def begin(self, records: Mapping[str, bytes]) -> None:
        """Notes erasures, see `ErasablePort`; LeaseLostError if another integrator works."""

        async def work(db: DatabaseConnection) -> None:
            # Whoever takes over waits for the commit, and completes what is noted by then.
            await self._hold_term(db)
            await db.execute(_BEGIN, list(records), list(records.values()))

        await self._database.transact(work, "noting an erasure")

    async def begun(self) -> list[bytes]:
        """Erasures that are not complete, see `ErasablePort`."""
        rows = await self._database.read(
            lambda db: db.fetch("SELECT record FROM erasing ORDER BY id"), "reading erasures"
        )
        return [row["record"] for row in rows]

    async def remove(
        self, id_: str, digests: Sequence[bytes], index: int, now_ms: int
    ) -> list[str]:
        """Removes bytes, see `ErasablePort`."""
        came, known = await addendarows.erase(self._database, digests, index, now_ms)
        # E4: a crash between the rows and the objects. Nobody is given the bytes any more, and the
        # erasure is still noted: the next integrator replaces the objects that are left.
        held = await self._objects.erase(digests, known)
        await self._database.read(
            lambda db: db.execute("DELETE FROM erasing WHERE id = $1", id_), "ending an erasure"
        )
        await self.look()
        # A bucket with versions has also kept those of the objects in which they came.
        return [*held, *came] if held else []

    async def mark(self) -> Mark | None:
        """Up to where erasures were carried through, see `ErasablePort`."""
        row = await self._database.read(
            lambda db: db.fetchrow("SELECT next, seen FROM addenda WHERE id = 0"),
            "reading the mark",
        )
        return None if row is None else Mark(row["next"], row["seen"])

    async def put_mark(self, mark: Mark) -> None:
        """Notes up to where, see `ErasablePort`."""
        await self._database.read(
            lambda db: db.execute("UPDATE addenda SET next = $1, seen = $2 WHERE id = 0", *mark),
            "noting the mark",
        )

    async def forget(self) -> bool:
        """Whether nothing of what was erased is still in an object in which it came."""

        async def work(db: DatabaseConnection) -> Any:
            return await db.fetchval(_HELD)

        return not await self._database.read(work, "looking for what is arriving")


def _stored(row: Mapping[str, Any]) -> Stored:
    labels = dict.fromkeys(
        label for text in row["labels"] for label in msgspec.json.decode(text, type=list[str])
    )
    return Stored(row["digest"], row["size"], row["time"], row["leaves"], tuple(labels))
