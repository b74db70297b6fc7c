"""The integrated tree in PostgreSQL: its row, its heads, the entries before it.

The tree's row moves only from exactly the tree that an integration started from, and only for the
integrator of the newest epoch; the same transaction drops what has come into full bundles. Entries
of the partial bundle stay, so that whoever takes over can go on from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment.tlog.heads import Head
from muniment.tlog.tiles import TILE_WIDTH
from muniment_log.cluster.database import SETTLERS, SETTLING, settle
from muniment_log.cluster.lease import LeaseLostError
from muniment_log.core.ordering import StoredHeads
from muniment_log.core.runs import PlacedRow, run_of
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.core.integrate import Integration

READ_ROWS: Final = 24
"""Rows of entries read at a time, each below a megabyte: what one integration step takes."""

_MOVE: Final = """
UPDATE tree SET size = $1, root = $2
WHERE id = 0 AND size = $3 AND root = $4 AND epoch = $5 RETURNING size
"""

# Tiles are written once and for ever, so nothing is made of entries that a failover may take back:
# a statement that finds some ends as after `settle`, in one exchange.
_RUNS: Final = f"""
WITH runs AS MATERIALIZED (
    SELECT first, count, data FROM entries WHERE first >= $1 ORDER BY first LIMIT $2
), settled AS MATERIALIZED (
    {SETTLING.format(SETTLERS)} AND EXISTS (SELECT FROM runs)
)
SELECT runs.first, runs.count, runs.data, settled.message
FROM runs LEFT JOIN settled ON true ORDER BY runs.first
"""  # noqa: S608 - of constants alone

# The share is held until the commit, so that whoever takes over waits for it (`lease.fence`), and
# does not keep the one that integrates from moving the tree meanwhile.
_HOLD: Final = "SELECT epoch FROM tree WHERE id = 0 AND epoch = $1 FOR KEY SHARE"
_PUT_HEAD: Final = """
INSERT INTO head (kind, version, size, note)
SELECT $1, 1, $2, $3 FROM tree WHERE id = 0 AND epoch = $4 FOR KEY SHARE
ON CONFLICT (kind) DO UPDATE
SET version = head.version + 1, size = excluded.size, note = excluded.note, stored = now()
WHERE head.size <= excluded.size RETURNING size
"""


class StoredTree(StoredHeads, frozen=True, kw_only=True):
    """What the database holds of the tree.

    Attributes:
        tail: the entries that are not in a full bundle, and some before them, in order.
    """

    tail: tuple[PlacedRow, ...]


class TreeStore:
    """The tree's row and the heads, as the integrator of one epoch writes them."""

    def __init__(self, database: Database, epoch: int) -> None:
        self._database = database
        self._epoch = epoch

    async def load(self) -> StoredTree:
        """Reads the tree's row, its tail and the heads.

        Raises:
            StorageError: the database lacks the tree, or what belongs to its partial bundle.
            UnavailableError: it cannot be reached.
        """

        async def work(db: DatabaseConnection) -> StoredTree:
            tree = await db.fetchrow("SELECT size, root FROM tree WHERE id = 0")
            if tree is None:
                raise StorageError("the database has lost its tree state")
            rows = await db.fetch(
                "SELECT first, count, data FROM entries WHERE first < $1 ORDER BY first",
                tree["size"],
            )
            heads = await db.fetch("SELECT kind, note FROM head")
            notes = {row["kind"]: row["note"] for row in heads}
            await settle(db)
            tail = tuple(run_of(row["first"], row["count"], row["data"]) for row in rows)
            head = Head(tree["size"], tree["root"])
            return StoredTree(
                head=head,
                signed=notes.get("signed"),
                published=notes.get("published"),
                tail=tail,
            )

        return await self._database.transact(work, "reading the tree")

    async def check_epoch(self) -> None:
        """Checks that no other integrator has begun to work.

        Raises:
            LeaseLostError: one has.
            StorageError, UnavailableError: the database cannot be used.
        """
        epoch = await self._database.read(
            lambda db: db.fetchval("SELECT epoch FROM tree WHERE id = 0"), "reading the epoch"
        )
        if epoch != self._epoch:
            raise LeaseLostError

    async def hold_epoch(self, db: DatabaseConnection) -> None:
        """Checks it within a transaction: before that ends, no other one begins to work.

        Raises LeaseLostError if one has.
        """
        if await db.fetchval(_HOLD, self._epoch) is None:
            raise LeaseLostError

    async def runs(self, first: int) -> list[PlacedRow]:
        """The ordered entries from a leaf index on, bounded; empty when there are none yet.

        Raises:
            StorageError: there is a gap in them.
            UnavailableError: the database cannot be reached.
        """
        rows = await self._database.read(
            lambda db: db.fetch(_RUNS, first, READ_ROWS), "reading ordered entries"
        )
        runs: list[PlacedRow] = []
        for row in rows:
            if row["first"] != first:
                raise StorageError(f"leaf {first} is missing, the next one is {row['first']}")
            runs.append(run_of(first, row["count"], row["data"]))
            first = runs[-1].end
        return runs

    async def move(self, change: Integration, size: int, signed: bytes | None) -> None:
        """Moves the tree and drops the entries that are in full bundles now, `size` bytes in all.

        The tiles of the change are stored already.

        Raises:
            LeaseLostError: another integrator works.
            StorageError: the stored tree is neither the one before nor the one after.
            UnavailableError: the outcome is unknown.
        """
        head = change.edge.head

        async def work(db: DatabaseConnection) -> None:
            moved = await db.fetchval(_MOVE, *head, *change.before, self._epoch)
            if moved is None:
                tree = await db.fetchrow("SELECT epoch, size, root FROM tree WHERE id = 0")
                if tree is not None and tree["epoch"] != self._epoch:
                    raise LeaseLostError
                if tree is None or (tree["size"], tree["root"]) != head:
                    raise StorageError(
                        "the stored tree is not the one of size "
                        f"{change.before.size} that this process extends"
                    )
                # An earlier attempt was committed. Its head is going to be shown to witnesses.
                await settle(db)
                return
            if signed is not None:
                await self._put(db, "signed", head.size, signed)
            await db.execute(
                "DELETE FROM entries WHERE first < $1 AND first + count <= $1",
                head.size // TILE_WIDTH * TILE_WIDTH,
            )
            # Last: frontends wait for this row.
            await db.execute(
                "UPDATE coordinator SET integrated = $1, bytes = bytes - $2 WHERE id = 0",
                head.size,
                size,
            )

        await self._database.transact(work, "moving the tree")

    async def put_signed(self, head: Head, note: bytes) -> None:
        """Stores a signed checkpoint, before anybody sees it; see `move`."""
        await self._put_head("signed", head.size, note)

    async def put_published(self, size: int, note: bytes) -> None:
        """Stores the published checkpoint, before it is served; see `move`."""
        await self._put_head("published", size, note)

    async def _put_head(self, kind: str, size: int, note: bytes) -> None:
        await self._database.transact(
            lambda db: self._put(db, kind, size, note), f"storing a {kind} checkpoint"
        )

    async def _put(self, db: DatabaseConnection, kind: str, size: int, note: bytes) -> None:
        if await db.fetchval(_PUT_HEAD, kind, size, note, self._epoch) is None:
            epoch = await db.fetchval("SELECT epoch FROM tree WHERE id = 0")
            if epoch != self._epoch:
                raise LeaseLostError
            raise StorageError(f"a {kind} checkpoint larger than {size} is stored already")
