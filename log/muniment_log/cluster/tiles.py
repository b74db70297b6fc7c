"""Tiles of published trees out of the object store (C2SP tlog-tiles).

The keys are the paths of tlog-tiles, so the same bucket serves readers without any program of ours.
Stored are full tiles and bundles, and the partial ones of published heads: what is partial in the
newest published tree is cut out of that tree's objects, everything else out of full ones.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.local.bytecache import ByteCache
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, TILE_WIDTH, Tile
from muniment_log.cluster.stored import published_edge, read_objects
from muniment_log.core.integrate import EMPTY_EDGE, cut_bundle
from muniment_log.errors import DamagedTileError
from muniment_log.storage.embedded import EmbeddedTiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.tlog.heads import Head
    from muniment_log.cluster.objects import ObjectStore

CACHE_BYTES: Final = 64 << 20
"""Entry bundles kept in memory: hundreds of short records."""


class ObjectTiles:
    """A `TileSource` of what is published; belongs to one event loop.

    What is read is checked before it is used or kept: full tiles against the tile above them, up to
    the right edge of the published tree, and that against the published root.
    """

    def __init__(
        self,
        store: ObjectStore,
        published: Callable[[], Head],
        *,
        damaged: Callable[[DamagedTileError], object] = lambda _: None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Gives out nothing beyond the tree of `published`, the newest that this process knows."""
        self._store = store
        self._published = published
        self._damaged = damaged
        self._bundles: ByteCache[int, bytes] = ByteCache(cache_bytes)
        self._tiles = EmbeddedTiles(_FullObjects(store), EMPTY_EDGE, None, damaged=damaged)
        self._move: tuple[Head, asyncio.Task[None]] | None = None

    async def checkpoint(self) -> bytes | None:
        """The published checkpoint as the store has it, or None before the first.

        Raises:
            StorageError: the store refuses.
            UnavailableError: it does not answer.
        """
        try:
            return await self._store.get(CHECKPOINT)
        except LookupError:
            return None

    async def read(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """The bytes of tiles and bundles, partial ones cut to their width.

        Raises:
            LookupError: a tile reaches beyond the published tree.
            DamagedTileError: the store lacks or damaged what it must hold.
            StorageError: it refuses.
            UnavailableError: it does not answer.
        """
        head = self._published()
        found: dict[Tile, bytes] = {}
        missing: dict[Tile, Tile] = {}
        for tile in tiles:
            if tile.end > head.size:
                raise LookupError(f"{tile.path} reaches beyond the published tree")
            kept = self._bundles.get(tile.index) if tile.level == ENTRIES else None
            if kept is None:
                is_full = tile.level == ENTRIES and (tile.index + 1) * TILE_WIDTH <= head.size
                missing[tile] = Tile(ENTRIES, tile.index) if is_full else tile
            else:
                found[tile] = cut_bundle(kept, tile.width)
        if missing:
            await self._follow(head)
            read = await self._tiles.read(list(dict.fromkeys(missing.values())))
            for tile, stored in missing.items():
                found[tile] = read[stored]
                if stored.level == ENTRIES and not stored.is_partial:
                    self._bundles.put(stored.index, read[stored])
                    found[tile] = cut_bundle(read[stored], tile.width)
        return found

    async def _follow(self, head: Head) -> None:
        """Goes on to the right edge of a newly published tree; one read for all who ask."""
        if self._tiles.edge.head.size >= head.size:
            return
        if self._move is None or self._move[0] != head:
            task = asyncio.create_task(self._go(head))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._move = head, task
        await asyncio.shield(self._move[1])

    async def _go(self, head: Head) -> None:
        try:
            edge = await published_edge(self._store, head)
            if edge.head.size > self._tiles.edge.head.size:
                self._tiles.follow(edge)
        except DamagedTileError as error:
            self._damaged(error)
            raise
        finally:
            self._move = None


class _FullObjects:
    """The full tiles for `EmbeddedTiles`, which checks them; see `embedded.FullTiles`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        return await read_objects(self._store, [Tile(*which) for which in wanted])

    async def put_published(self, note: bytes) -> None:
        raise AssertionError(f"who only reads publishes nothing: {note!r}")
