"""Copying a log out of one file into a cluster: the tree, then all else at once.

Bundles and tiles go to the bucket first, a step at a time; a copy that was interrupted goes on
there. Then one transaction makes the database what it would be had the cluster logged everything
itself, and at last the checkpoint is published in the bucket. Until that transaction the cluster
takes nothing: what it gave an index to would contradict what is being copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.heads import Head
from muniment.tlog.tiles import CHECKPOINT, TILE_WIDTH, Tile, bundles_of, tiles_of
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.adoptaddenda import copy_addenda
from muniment_log.cluster.exporting import BucketTarget, open_bucket
from muniment_log.cluster.keys import claim
from muniment_log.cluster.lease import end_term
from muniment_log.cluster.migrate import check_schema
from muniment_log.cluster.startup import Startup
from muniment_log.cluster.view import CLOSED_BYTES
from muniment_log.core.heads import read_own_checkpoint
from muniment_log.core.integrate import RightEdge, restore
from muniment_log.core.runs import UnplacedRow, rows_of, run_of
from muniment_log.errors import RolledBackError
from muniment_log.export import carry, present
from muniment_log.publish.rollback import COPY
from muniment_log.storage.contents import Contents
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from muniment_log.cluster.database import DatabaseConnection
    from muniment_log.config import LogConfig
    from muniment_log.core.ordering import Loaded

_STATE: Final = """
SELECT coordinator.next, tree.size, tree.root FROM coordinator JOIN tree ON tree.id = 0
WHERE coordinator.id = 0 FOR UPDATE
"""

_STREAMS: Final = """
INSERT INTO stream (gateway, label, next, manifest)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
"""

_BATCHES: Final = """
INSERT INTO batch (stream, first, count, digest, idx)
SELECT stream.id, v.first, v.count, v.digest, v.idx
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::integer[], $5::bytea[], $6::bigint[])
    AS v (gateway, label, first, count, digest, idx)
JOIN stream ON stream.gateway = v.gateway AND stream.label = v.label
"""

_REFUSED: Final = """
INSERT INTO refused (gateway, label, first, note)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
"""

_RECALLS: Final = """
INSERT INTO recall (stream, name, content, time, place, runs)
SELECT * FROM unnest(
    $1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[])
"""

_ENTRIES: Final = "INSERT INTO entries (first, count, data) VALUES ($1, $2, $3)"

_HEAD: Final = """
INSERT INTO head (kind, version, size, note) VALUES ($1, 1, $2, $3)
ON CONFLICT (kind) DO UPDATE
SET version = head.version + 1, size = excluded.size, note = excluded.note, stored = now()
"""


class Copied(NamedTuple):
    """What a copy did.

    Attributes:
        size: leaves in the tree.
        published: leaves under the published checkpoint.
        is_new: whether the database was not complete before.
        addenda: how many were copied; None if none were to be, or all was copied before.
    """

    size: int
    published: int
    is_new: bool
    addenda: int | None = None


async def copy(
    path: Path,
    config: LogConfig,
    tell: Callable[[int, int], None] = lambda *_: None,
    addenda: Path | None = None,
) -> Copied:
    """Copies the log in a file to the cluster of a configuration with the same origin and keys.

    The file is locked meanwhile, and not changed. `tell` is told now and then how many leaves are
    done, and how many there are. With the file of its addenda these come along.

    Raises:
        DatabaseError: the file is in use, or a database cannot be used.
        WrongIdentityError: the file or the cluster is another log.
        RolledBackError: the cluster holds something that the file does not, or the file is a
            backup's or a restore's and nothing was added, so that it may lack something itself.
        StorageError: one of the two is damaged.
        UnavailableError: the cluster cannot be reached; copy again.
    """
    origin, vkeys, keys = config.file.origin, config.vkeys, config.verifiers
    source = await SQLiteStore.open(path)
    database = objects = None
    try:
        await source.claim(origin, vkeys)
        needs_quorum = config.policy is not None and not config.policy.is_met(())
        if needs_quorum and await source.is_copy():
            raise RolledBackError(
                f"{path}: {COPY}; the original may have gone on, and a cluster would not wait for "
                "its witnesses: start the log on this file until it has taken a record, and copy "
                "then"
            )
        loaded = await source.load()
        edge = restore(loaded.head, loaded.fragments, loaded.partials)
        tiles = EmbeddedTiles(source, edge, loaded.published)
        database = await Startup(config.cluster).database(2)
        await check_schema(database)
        await claim(database, origin, vkeys)
        is_there = await database.transact(lambda db: _close(db, loaded.head), "preparing the copy")
        objects = open_bucket(
            config.cluster.object_store, is_locked=config.cluster.lock_days is not None
        )
        await objects.probe()
        target = BucketTarget(objects)
        published = before = 0
        if loaded.published is not None:
            checkpoint = read_own_checkpoint(loaded.published, "the log's checkpoint", origin, keys)
            published = checkpoint.size
            before = await present(target, checkpoint, origin, keys)
        await carry(tiles, loaded.head, target, tell)
        # Also of the head that was signed last: the cluster publishes it as soon as it is cosigned.
        for note in filter(None, (loaded.published, loaded.signed)):
            size = parse_signed_checkpoint(note).checkpoint.size
            found = await tiles.read([tile for tile in _resources(size) if tile.is_partial])
            await target.create_many((tile.path, data) for tile, data in found.items())
        copied = None
        if addenda is not None and not is_there:
            copied = await copy_addenda(
                addenda,
                origin,
                database=database,
                objects=AddendaObjects(objects),
                leaves=tiles.leaves,
            )
        contents = Contents(path)
        is_new = await database.transact(
            lambda db: _adopt(db, loaded, edge, contents), "copying streams and receipts"
        )
        if before < published and loaded.published is not None:
            await target.replace(CHECKPOINT, loaded.published)
        return Copied(loaded.head.size, published, is_new, copied)
    finally:
        if objects is not None:
            await objects.close()
        if database is not None:
            await database.close()
        await source.close()


def _resources(size: int) -> list[Tile]:
    """The tiles of a tree, and its last bundle."""
    begin = size // TILE_WIDTH * TILE_WIDTH
    return [*tiles_of(size), *bundles_of(begin, size, size)]


async def _state(db: DatabaseConnection, head: Head) -> bool:
    """Whether the cluster has the tree already; False while it has nothing at all."""
    row = await db.fetchrow(_STATE)
    if row is None:
        raise RolledBackError("the cluster's database has lost its state")
    if row["next"] == 0 and row["size"] == 0:
        return head.size == 0
    if row["next"] >= head.size and Head(row["size"], row["root"]) == head:
        return True
    raise RolledBackError(
        f"the cluster has logged {row['next']} leaves of its own; copy into an empty one"
    )


async def _close(db: DatabaseConnection, head: Head) -> bool:
    """Lets the cluster take nothing, unless it has the tree already; whether it does."""
    is_there = await _state(db, head)
    if not is_there:
        await db.execute("UPDATE coordinator SET bytes = $1 WHERE id = 0", CLOSED_BYTES)
    return is_there


async def _adopt(
    db: DatabaseConnection, loaded: Loaded, edge: RightEdge, contents: Contents
) -> bool:
    """Writes everything that the database keeps; False when it is there already."""
    head = loaded.head
    if await _state(db, head):
        return False
    # Whoever leads goes by an empty tree, and would find leaves missing.
    await end_term(db)
    for streams in contents.streams():
        keys = list(zip(*(key for key, _ in streams), strict=True))
        states = list(zip(*(state for _, state in streams), strict=True))
        await db.execute(_STREAMS, *map(list, (*keys, *states)))
    for batches in contents.batches():
        rows = [
            (*batch.key, batch.first, batch.count, batch.digest, batch.index) for batch in batches
        ]
        await db.execute(_BATCHES, *map(list, zip(*rows, strict=True)))
    for refused in contents.refused():
        notes = [(*key, first, note) for key, first, note in refused]
        await db.execute(_REFUSED, *map(list, zip(*notes, strict=True)))
    for recalls in contents.recalls():
        await db.execute(_RECALLS, *map(list, zip(*recalls, strict=True)))
    begin = head.size // TILE_WIDTH * TILE_WIDTH
    for row in _tail(begin, edge, head.size - begin):
        await db.execute(_ENTRIES, begin + row.place, row.leaves, row.data)
    for kind, note in (("signed", loaded.signed), ("published", loaded.published)):
        if note is not None:
            await db.execute(_HEAD, kind, parse_signed_checkpoint(note).checkpoint.size, note)
    await db.execute("UPDATE tree SET size = $1, root = $2 WHERE id = 0", *head)
    await db.execute(
        "UPDATE coordinator SET next = $1, integrated = $1, bytes = 0 WHERE id = 0", head.size
    )
    return True


def _tail(begin: int, edge: RightEdge, count: int) -> list[UnplacedRow]:
    """The entries of the partial bundle, as the database keeps them."""
    if count == 0:
        return []
    return rows_of([run_of(begin, count, b"".join(edge.fragments))])
