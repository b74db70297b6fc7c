"""Tiles of published trees out of the object store (C2SP tlog-tiles; design section 7).

The keys are the paths of tlog-tiles, so the same bucket serves readers without any program of ours.
Stored are full tiles and bundles, and the partial ones of published heads: what is partial in the
newest published tree is cut out of that tree's object, everything else out of full ones.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from muniment.formats.merkle import HASH_SIZE
from muniment.formats.tiles import ENTRIES, Tile, tile_at
from muniment_log.errors import StorageError
from muniment_log.integrate import cut_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment_log.cluster.objects import ObjectStore

CHECKPOINT: Final = "checkpoint"
"""The key of the published checkpoint."""

CACHE_BYTES: Final = 64 << 20
"""Objects kept in memory: the tiles that prove the last two million leaves, or a thousand bundles
of short records."""

READS: Final = 32
"""Objects read at the same time by one call."""


class ObjectTiles:
    """A `TileSource` of what is published; belongs to one event loop."""

    def __init__(
        self, store: ObjectStore, published: Callable[[], int], *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        """Takes the store.

        Args:
            store: where the tiles are.
            published: the size of the newest published tree that this process knows; 0 before the
                first. Nothing beyond it is given out.
            cache_bytes: most bytes of objects kept in memory.
        """
        self._store = store
        self._published = published
        self._capacity = cache_bytes
        self._held = 0  # bytes
        self._cache: OrderedDict[Tile, bytes] = OrderedDict()

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
            StorageError: the store lacks or damaged what it must hold.
            UnavailableError: it does not answer.
        """
        size = self._published()
        stored: dict[Tile, Tile] = {}
        for tile in tiles:
            if tile.end > size:
                raise LookupError(f"{tile.path} reaches beyond the published tree")
            stored[tile] = tile_at(tile.level, tile.index, size)
        # Kept here and not only in the cache, which may be smaller than what one call asks for.
        found = {wanted: self._cached(wanted) for wanted in dict.fromkeys(stored.values())}
        missing = [wanted for wanted, data in found.items() if data is None]
        for at in range(0, len(missing), READS):
            part = missing[at : at + READS]
            for wanted, data in zip(
                part, await asyncio.gather(*map(self._fetch, part)), strict=True
            ):
                found[wanted] = data
                self._keep(wanted, data)
        return {tile: _cut(found[wanted] or b"", tile) for tile, wanted in stored.items()}

    async def _fetch(self, tile: Tile) -> bytes:
        try:
            data = await self._store.get(tile.path)
        except LookupError:
            raise StorageError(f"{self._store.name} lacks {tile.path}") from None
        wanted = len(_cut(data, tile)) if tile.level == ENTRIES else tile.width * HASH_SIZE
        if len(data) != wanted:
            raise StorageError(f"{self._store.name}: {tile.path} is damaged")
        return data

    def _cached(self, tile: Tile) -> bytes | None:
        data = self._cache.get(tile)
        if data is not None:
            self._cache.move_to_end(tile)
        return data

    def _keep(self, tile: Tile, data: bytes) -> None:
        if tile in self._cache:
            return
        self._cache[tile] = data
        self._held += len(data)
        while self._held > self._capacity:
            _, old = self._cache.popitem(last=False)
            self._held -= len(old)


def _cut(data: bytes, tile: Tile) -> bytes:
    if tile.level == ENTRIES:
        return cut_bundle(data, tile.width)
    return data[: tile.width * HASH_SIZE]
