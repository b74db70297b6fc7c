"""Whether bucket and database of a cluster are those of one log, at the start of a frontend.

A wrong path, an emptied bucket, a database that was made anew: each looks sound in itself. They are
compared before anything is served or taken; an integrator compares more when it takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.tiles import CHECKPOINT, TILE_WIDTH, Tile
from muniment_log.cluster.stored import published_edge, read_objects
from muniment_log.core.heads import read_own_checkpoint
from muniment_log.errors import DamagedTileError, RolledBackError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.cluster.view import PublishedView


async def check_bucket(
    objects: ObjectStore, view: PublishedView, origin: str, keys: Sequence[Verifier]
) -> None:
    """Compares the bucket with the database, and brings the view up to date.

    Raises:
        RolledBackError: the bucket holds a head of this log that the database does not have.
        StorageError: the bucket is another log's, or lacks what this one has stored.
        UnavailableError: one of the two cannot be reached.
    """
    found = await objects.get_versioned(CHECKPOINT)
    # In this order: the bucket is never ahead of the database.
    await view.look()
    size = 0 if view.published is None else view.tree.size
    if found is not None:
        known = read_own_checkpoint(found[0], f"the checkpoint in {objects.name}", origin, keys)
        if view.published is None or known.size > size:
            raise RolledBackError(
                f"the database was rolled back, or made anew: it has published {size} leaves, and "
                f"{objects.name} holds a checkpoint of {known.size} that this log signed; restore "
                "the newest database"
            )
        if known.size == size:
            if known.root != view.tree.root:
                raise RolledBackError(
                    f"{objects.name} holds a checkpoint of {size} leaves of another history than "
                    "the database"
                )
            return
    try:
        if view.published is not None:
            await published_edge(objects, view.tree)
        elif view.integrated.size >= TILE_WIDTH:
            last = Tile(0, view.integrated.size // TILE_WIDTH - 1, TILE_WIDTH)
            await read_objects(objects, [last])
    except DamagedTileError as error:
        raise StorageError(
            f"{objects.name} does not hold what this log has stored there ({error}): is it the "
            "right bucket, and complete?"
        ) from error
