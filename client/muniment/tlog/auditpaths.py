"""RFC 6962 section 2.1.1: the audit paths of neighbouring leaves, all at once.

The paths of a batch have nearly all their hashes in common. Planned one by one they cost the depth
of the tree each; planned together, a few nodes and one small tuple each, which is what a log needs
that proves whole batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from muniment.tlog.merkle import node_hash
from muniment.tlog.proofs import Node, plan_root, tiles_of_nodes
from muniment.tlog.tiles import Tile


@dataclass(frozen=True, slots=True)
class PathsPlan:
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
