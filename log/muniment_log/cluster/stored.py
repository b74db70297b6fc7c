"""Tiles as the bucket has them (C2SP tlog-tiles): full ones, and the edge of a published tree.

Whatever is missing or is not what the tree was made of is named. Full tiles are checked by whoever
reads them, against the tile above (`storage.embedded`); the chain ends in the right edge, which is
checked here against the root that the log has published.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile
from muniment_log.core.integrate import EMPTY_EDGE, restore
from muniment_log.errors import DamagedTileError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.heads import Head
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.core.integrate import RightEdge

READS: Final = 64
"""Objects read at the same time by one call."""


async def read_objects(objects: ObjectStore, tiles: Sequence[Tile]) -> list[bytes]:
    """The objects of tiles, in the order asked for; not checked.

    Raises:
        DamagedTileError: one is not stored.
        StorageError, UnavailableError: the object store refuses or cannot be reached.
    """
    found: list[bytes] = []
    for at in range(0, len(tiles), READS):
        found += await asyncio.gather(*(_get(objects, tile) for tile in tiles[at : at + READS]))
    return found


async def published_edge(objects: ObjectStore, head: Head) -> RightEdge:
    """The right edge of a published tree out of its partial tiles, checked against its root.

    Raises:
        DamagedTileError: a partial tile or the partial bundle is missing or damaged.
        StorageError, UnavailableError: the object store refuses or cannot be reached.
    """
    tiles: list[Tile] = []
    level, rest = 0, head.size
    while rest:
        rest, width = divmod(rest, TILE_WIDTH)
        if width:
            tiles.append(Tile(level, head.size >> (TILE_HEIGHT * (level + 1)), width))
        level += 1
    if not tiles:
        return EMPTY_EDGE
    lowest = tiles[0]
    if lowest.level == 0:
        tiles.append(Tile(ENTRIES, lowest.index, lowest.width))
    found = dict(zip(tiles, await read_objects(objects, tiles), strict=True))
    fragments = [data for tile, data in found.items() if tile.level == ENTRIES]
    partials = {tile.level: (tile.index, data) for tile, data in found.items() if tile.level > 0}
    try:
        edge = restore(head, fragments, partials)
    except StorageError as error:
        which = f"or another tile of the right edge of {head.size} leaves is damaged"
        raise DamagedTileError(tiles[-1].path, which) from error
    if lowest.level == 0 and found[lowest] != edge.tiles.partials[0][: lowest.width * HASH_SIZE]:
        raise DamagedTileError(lowest.path, "is damaged")
    return edge


async def _get(objects: ObjectStore, tile: Tile) -> bytes:
    try:
        return await objects.get(tile.path)
    except LookupError:
        raise DamagedTileError(tile.path, f"is missing in {objects.name}") from None
