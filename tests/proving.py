"""A tree of 700 entries by the RFC 6962 oracle, and its tiles by the formula of tlog-tiles."""

from functools import cache

from hypothesis import strategies as st

import rfc6962
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.tiles import Tile, tiles_of

ENTRIES = [b"entry %d" % index for index in range(700)]
LEAVES = leaf_hashes(ENTRIES)
SIZES = st.integers(1, 100) | st.integers(1, 700) | st.sampled_from([255, 256, 257, 511, 512, 513])


@cache
def root(size: int) -> bytes:
    return rfc6962.MTH(ENTRIES[:size])


@cache
def tiles_at(size: int) -> dict[Tile, bytes]:
    """Every tile of the tree, straight from the formula of tlog-tiles."""
    tiles = {}
    for tile in tiles_of(size):
        span = 256**tile.level
        starts = range(tile.start, tile.end, span)
        tiles[tile] = b"".join(root_of(LEAVES[start : start + span]) for start in starts)
    return tiles
