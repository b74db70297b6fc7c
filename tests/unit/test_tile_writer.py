"""Which objects a growing tree writes."""

from collections import Counter
from collections.abc import Iterable

from log_tools import GatewayStream
from muniment.tlog.tiles import ENTRIES, Tile, tile_at, tiles_of
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.storage.tilewriter import write_partials, write_tiles


class Kept:
    """A place for files that counts how often each was written."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.writes: Counter[str] = Counter()

    async def create_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        for path, data in items:
            assert self.files.setdefault(path, data) == data
            self.writes[path] += 1


def resources(size: int) -> set[str]:
    """The paths that a reader of a tree of this size may ask for."""
    tiles: set[Tile] = set(tiles_of(size))
    bundles = {tile_at(ENTRIES, index, size) for index in range(-(-size // 256))}
    return {tile.path for tile in tiles | bundles}


async def test_every_resource_of_every_shown_head_is_written_once() -> None:
    kept, stream, edge = Kept(), GatewayStream(), EMPTY_EDGE
    stored: frozenset[str] = frozenset()
    wanted: set[str] = set()
    # Heads that leave the partial tile of level 1 as it is, move it, fill that of level 0.
    for count in (3, 200, 51, 2, 255, 4, 300, 600):
        change = integrate(edge, [stream.take(count - 1)])
        edge = change.edge
        await write_tiles(kept, change)
        stored = await write_partials(kept, edge, stored)
        assert stored <= resources(edge.head.size)
        wanted |= resources(edge.head.size)
        assert wanted <= set(kept.files)
    assert set(kept.writes.values()) == {1}
