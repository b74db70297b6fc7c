"""RFC 6962 section 2.1.1: audit paths, of one leaf straight from the tiles on its way.

A sibling is always in the tile of the node itself, so each tile on the way to the root gives eight
of them. The paths of neighbouring leaves have nearly all their hashes in common: `plan_inclusions`
plans them together, a few nodes and one small tuple each, where one by one they cost the depth of
the tree each. A log needs that, which proves whole batches.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from muniment.tlog.merkle import join_peaks, node_hash
from muniment.tlog.proofs import (
    NO_ROWS,
    Node,
    nodes_from_tiles,
    plan_root,
    rows_of,
    tiles_of_nodes,
)
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_at


class PathsPlan(Struct, frozen=True):
    """Which nodes the audit paths of the leaves [start, end) need; made by `plan_inclusions`.

    `edge` is the highest level at which a path's sibling is the incomplete node on the tree's right
    edge; 0 when there is none, as a leaf is never incomplete.
    """

    start: int
    end: int
    size: int
    edge: int
    nodes: tuple[Node, ...]

    def tiles(self, size: int) -> tuple[Tile, ...]:
        """The tiles of a tree of `size` that hold the nodes; ValueError if one is not in it."""
        return tiles_of_nodes(self.nodes, size)

    def assemble(self, hashes: Mapping[Node, bytes]) -> list[tuple[bytes, ...]]:
        """The audit path of each leaf, in order; KeyError if the hash of a node is missing."""
        if self.start == self.end:
            return []
        edges = self._edges(hashes)
        # From the root down: a node's path is its sibling, then the path of its parent.
        paths: list[tuple[bytes, ...]] = [()]
        for level in reversed(range(_depth(self.size))):
            first, parent = self.start >> level, self.start >> level + 1
            perfect = self.size >> level
            nodes = range(first, (self.end - 1 >> level) + 1)
            above = [paths[(index >> 1) - parent] for index in nodes]
            # A node of an odd level that has no sibling is its own parent.
            paths = [
                (hashes[Node(level, index ^ 1)], *path)
                if index ^ 1 < perfect
                else (edges[level], *path)
                if index ^ 1 == perfect and level in edges
                else path
                for index, path in zip(nodes, above, strict=True)
            ]
        return paths

    def _edges(self, hashes: Mapping[Node, bytes]) -> dict[int, bytes]:
        """Returns the hash of the incomplete node at each level up to `edge` that has one."""
        edges: dict[int, bytes] = {}
        for node in reversed(plan_root(self.size).nodes):
            if node.level >= self.edge:
                break
            # The lowest peak stands for all levels above it, up to where the next one joins.
            below = edges.get(node.level)
            value = hashes[node] if below is None else node_hash(hashes[node], below)
            edges |= dict.fromkeys(range(node.level + 1, self.edge + 1), value)
        return edges


def plan_inclusions(start: int, end: int, size: int) -> PathsPlan:
    """Plans the audit paths of the leaves [start, end) in a tree of `size`.

    Takes O(end - start + depth of the tree). Without leaves there is nothing to read or prove.
    Raises ValueError if not ``0 <= start <= end <= size``.
    """
    if not 0 <= start <= end <= size:
        raise ValueError(f"a tree of size {size} has no leaves [{start}, {end})")
    if start == end:
        return PathsPlan(start, end, size, 0, ())
    nodes: list[Node] = []
    edge = 0
    for level in range(_depth(size)):
        perfect = size >> level
        siblings = [index ^ 1 for index in range(start >> level, (end - 1 >> level) + 1)]
        nodes += [Node(level, index) for index in siblings if index < perfect]
        if perfect in siblings[-2:] and size & ((1 << level) - 1):
            edge = level
    nodes += [node for node in plan_root(size).nodes if node.level < edge]
    return PathsPlan(start, end, size, edge, tuple(dict.fromkeys(nodes)))


def _depth(size: int) -> int:
    """Returns how many levels are below the root of a tree that is not empty."""
    return (size - 1).bit_length()


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
