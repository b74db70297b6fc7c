"""Writing tiles to the object store (C2SP tlog-tiles): each resource under its path, create-only.

Full tiles and bundles are written once, when they are full. Partial ones are written for heads
that are going to be signed, and for no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from muniment_log.core.integrate import Integration, RightEdge


PARTIALS_SECONDS: Final = 3600.0
"""Partial tiles stay that long after they were replaced: who has an older checkpoint may be reading
them. Once the full tile is there, C2SP tlog-tiles lets them go."""

TIDY_SECONDS: Final = 600.0
"""Between two looks for partial tiles that may go."""


class Creating(Protocol):
    """Where tiles are written: a bucket, or another place for files that never change."""

    async def create_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes objects by their keys; see `objects.ObjectStore.create_many`."""
        ...


async def write_tiles(objects: Creating, change: Integration) -> None:
    """Stores the bundles and tiles that an integration filled.

    Raises:
        DivergedError: something else is stored there already.
        UnavailableError: the object store cannot be reached.
    """
    items = [(Tile(ENTRIES, index).path, data) for index, data in change.bundles]
    items += [
        (Tile(level, index).path, data)
        for level, index, data in change.tiles
        if len(data) == TILE_WIDTH * HASH_SIZE
    ]
    await objects.create_many(items)


async def write_partials(
    objects: Creating, edge: RightEdge, stored: Collection[str] = ()
) -> frozenset[str]:
    """Stores the partial tiles and the partial bundle of a head, and returns their paths.

    Those in `stored` are there already: a high level keeps its partial tile for long. See
    `write_tiles`.
    """
    items = {}
    for tile, hashes in edge.tiles.tiles():
        items[tile.path] = hashes
        if tile.level == 0:
            items[tile._replace(level=ENTRIES).path] = b"".join(edge.fragments)
    await objects.create_many((path, items[path]) for path in items if path not in stored)
    return frozenset(items)
