"""Taking over: rebuild the right edge from the bucket, and believe nothing else.

A new integrator goes on only when everything agrees: the tiles with the root in the database, the
signed and published checkpoints with the tree, the published object with the database, and the
witnesses with all of it. A published checkpoint that is ahead of the database means that the
database was restored or failed over to an older state, and going on would fork the log: the process
ends and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.tiles import CHECKPOINT, TILE_WIDTH, Tile
from muniment.tlog.treereader import read_root
from muniment_log.cluster.stored import published_edge, read_objects
from muniment_log.core.edges import upper_partials
from muniment_log.core.heads import read_own_checkpoint
from muniment_log.core.integrate import restore
from muniment_log.errors import RolledBackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.cluster.objects import ObjectStore, Version
    from muniment_log.cluster.treestore import StoredTree, TreeStore
    from muniment_log.core.integrate import RightEdge
    from muniment_log.core.ports import TileSource


class BucketTiles:
    """Full tiles in the bucket, and the published checkpoint; see `embedded.FullTiles`."""

    def __init__(self, objects: ObjectStore, store: TreeStore) -> None:
        """Takes the bucket, and the database that knows of a checkpoint before the bucket does."""
        self._objects = objects
        self._store = store
        self._version: Version | None = None

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """Full tiles at (level, index), in the order asked for.

        Raises:
            DamagedTileError: one is not stored.
            UnavailableError: the object store cannot be reached.
        """
        return await read_objects(self._objects, [Tile(*which) for which in wanted])

    async def check_published(self, stored: StoredTree) -> None:
        """Checks that the bucket holds the right edge of the published tree.

        Its partial tiles were stored before the head was signed, so a bucket that lacks them was
        emptied, whatever the size of the tree.

        Raises:
            DamagedTileError: they are missing or damaged.
            UnavailableError: the object store cannot be reached.
        """
        if stored.published is not None:
            known = parse_signed_checkpoint(stored.published).checkpoint
            await published_edge(self._objects, known.head)

    async def put_published(self, note: bytes) -> None:
        """Stores the published checkpoint in the database, then swaps the object.

        In this order the object is never ahead of the database, unless the database went back.

        Raises:
            LeaseLostError: another integrator works.
            SwapLostError: somebody else wrote the object.
            StorageError, UnavailableError: it is not known to be stored.
        """
        size = parse_signed_checkpoint(note).checkpoint.size
        await self._store.put_published(size, note)
        # C8: a crash between the two. The object is behind; `reconcile` swaps it at the takeover.
        self._version = await self._objects.swap(CHECKPOINT, note, self._version)

    async def reconcile(
        self,
        origin: str,
        keys: Sequence[Verifier],
        stored: StoredTree,
        tiles: TileSource,
    ) -> None:
        """Compares what is published with the database, and brings the object up to date.

        Raises:
            RolledBackError: the object is ahead of the database, or of another history.
            StorageError: the object is not a checkpoint of this log.
        """
        newest = 0
        if stored.published is not None:
            newest = parse_signed_checkpoint(stored.published).checkpoint.size
        found = await self._objects.get_versioned(CHECKPOINT)
        if found is not None:
            data, self._version = found
            if data == stored.published:
                return
            known = read_own_checkpoint(data, "the checkpoint in the bucket", origin, keys)
            if known.size > newest:
                raise RolledBackError(
                    f"the database was rolled back: the newest checkpoint that it published has "
                    f"{newest} leaves, the one in the bucket {known.size}"
                )
            if await read_root(tiles, known.size) != known.root:
                raise RolledBackError(
                    f"the checkpoint of {known.size} leaves in the bucket is of another history "
                    "than the database"
                )
        if stored.published is not None:
            self._version = await self._objects.swap(CHECKPOINT, stored.published, self._version)


async def rebuild(stored: StoredTree, tiles: BucketTiles) -> RightEdge:
    """Rebuilds the right edge from full tiles and the entries after them, and checks the root.

    Raises:
        StorageError: what is stored does not make the stored tree.
        UnavailableError: the object store cannot be reached.
    """
    size = stored.head.size
    begin = size // TILE_WIDTH * TILE_WIDTH
    fragments = [
        run.body[run.offsets[max(0, begin - run.first)] :] for run in stored.tail if run.end > begin
    ]
    partials = await upper_partials(size, tiles.tiles)
    return restore(stored.head, fragments, partials)
