"""Rebuilding a right edge out of full tiles (C2SP tlog-tiles), where nothing else of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.merkle import HASH_SIZE, root_of, split_hashes
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


async def upper_partials(
    size: int, read: Callable[[Sequence[tuple[int, int]]], Awaitable[Sequence[bytes]]]
) -> dict[int, tuple[int, bytes]]:
    """The partial tiles above level 0 of a tree, as `integrate.restore` takes them.

    The hashes of a partial tile are the roots of full tiles of the level below: at most 255 are
    read for each of a handful of levels. `read` gives full tiles at (level, index), in the order
    asked for. Raises StorageError if a tile is not a full one.
    """
    partials: dict[int, tuple[int, bytes]] = {}
    level, rest = 1, size >> TILE_HEIGHT
    while rest:
        index, width = divmod(rest, TILE_WIDTH)
        children = await read([(level - 1, rest - width + i) for i in range(width)])
        partials[level] = index, b"".join(map(_root, children))
        level, rest = level + 1, index
    return partials


def _root(tile: bytes) -> bytes:
    if len(tile) != TILE_WIDTH * HASH_SIZE:
        raise StorageError("a full tile has another length")
    return root_of(split_hashes(tile))
