"""RFC 6962 section 2.1.1: the audit path of one leaf, straight from the tiles on its way.

A sibling is always in the tile of the node itself, so each tile on the way to the root gives eight
of them. For many neighbours together see `auditpaths`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from muniment.tlog.merkle import join_peaks
from muniment.tlog.proofs import (
    NO_ROWS,
    Node,
    nodes_from_tiles,
    plan_root,
    rows_of,
    tiles_of_nodes,
)
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_at


class PathPlan(NamedTuple):
    """Which tiles the audit path of a leaf in a tree of `size` is in; made by `plan_path`.

    Attributes:
        leaf: The leaf's index.
        size: The tree's size.
        way: The tile on the way to the root, by level of tiles; None where it has no sibling.
        edge: The level at which the sibling is the incomplete node on the tree's right edge; -1
            when there is none.
        peaks: The perfect subtrees that make up that node, largest first.
        tiles: All tiles that are needed, each once.
    """

    leaf: int
    size: int
    way: tuple[Tile | None, ...]
    edge: int
    peaks: tuple[Node, ...]
    tiles: tuple[Tile, ...]

    def assemble(self, contents: Mapping[Tile, bytes]) -> tuple[bytes, ...]:
        """The path, from the leaf's sibling to below the root.

        As `nodes_from_tiles`, it takes what the tiles have for true. Raises FormatError if a tile
        has the wrong length; ValueError if one is missing.
        """
        path: list[bytes] = []
        rows = NO_ROWS
        node, perfect, base = self.leaf, self.size, 0
        for level in range((self.size - 1).bit_length()):
            height = level % TILE_HEIGHT
            if not height:
                tile = self.way[level // TILE_HEIGHT]
                rows = NO_ROWS if tile is None else rows_of(tile, contents)
                base = node & -TILE_WIDTH
            if node ^ 1 < perfect:
                path.append(rows[height][(node ^ 1) - base])
            elif level == self.edge:
                hashes = nodes_from_tiles(self.peaks, self.size, contents)
                path.append(join_peaks([hashes[peak] for peak in self.peaks]))
            node >>= 1
            perfect >>= 1
            base >>= 1
        return tuple(path)


def plan_path(leaf: int, size: int) -> PathPlan:
    """Plans the audit path of a leaf; ValueError if not ``0 <= leaf < size``."""
    if not 0 <= leaf < size:
        raise ValueError(f"a tree of size {size} has no leaf {leaf}")
    depth = (size - 1).bit_length()
    way: list[Tile | None] = [None] * -(-depth // TILE_HEIGHT)
    edge = -1
    for level in range(depth):
        sibling, perfect = leaf >> level ^ 1, size >> level
        if sibling < perfect:
            number = level // TILE_HEIGHT
            if way[number] is None:
                way[number] = tile_at(number, sibling >> TILE_HEIGHT - level % TILE_HEIGHT, size)
        elif sibling == perfect and size & ((1 << level) - 1):
            edge = level
    peaks = tuple(node for node in _peaks(size) if node.level < edge)
    needed = [tile for tile in way if tile is not None]
    needed += tiles_of_nodes(peaks, size)
    return PathPlan(leaf, size, tuple(way), edge, peaks, tuple(dict.fromkeys(needed)))


@lru_cache(maxsize=64)
def _peaks(size: int) -> tuple[Node, ...]:
    return plan_root(size).nodes
