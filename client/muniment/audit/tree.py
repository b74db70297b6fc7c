"""C2SP tlog-tiles "Merkle Tree": every hash tile of a growing tree, from its leaf hashes alone.

The right edge (the hashes of the partial tile of each level) is all the state there is: at most
255 hashes a level, as much as the log's own partial tiles hold, and enough to compute the root.
"""

from collections.abc import Iterable, Sequence
from typing import Self

from muniment.tlog.encoding import FormatError
from muniment.tlog.merkle import EMPTY_ROOT, HASH_SIZE, root_of, split_hashes
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile


class RightEdge:
    """The hashes of the partial tiles of a tree, level 0 first; grows by whole bundles.

    A level has as many as it has complete nodes, modulo 256; the highest level is not empty.
    """

    def __init__(self) -> None:
        self.size = 0
        self.levels: list[list[bytes]] = []

    @classmethod
    def restore(cls, size: int, levels: Sequence[bytes]) -> Self:
        """Restores an edge from the joined hashes of each level; FormatError if they do not fit."""
        edge = cls()
        edge.size = size
        widths = edge_widths(size)
        if len(levels) != len(widths):
            raise FormatError(f"edge: {len(levels)} levels instead of {len(widths)}")
        for level, (data, width) in enumerate(zip(levels, widths, strict=True)):
            if len(data) != HASH_SIZE * width:
                raise FormatError(
                    f"edge: level {level} has {len(data)} bytes instead of {HASH_SIZE * width}"
                )
            edge.levels.append(split_hashes(data))
        return edge

    def dump(self) -> list[bytes]:
        """The concatenated hashes of each level; the inverse of ``restore``."""
        return [b"".join(level) for level in self.levels]

    def root(self) -> bytes:
        """The tree's root; O(number of hashes in the edge)."""
        ragged: list[bytes] = []
        for level in self.levels:
            # What is complete at this level stands left of what is not: the RFC 6962 split puts
            # the ragged rest last, as if it were one more node.
            if nodes := level + ragged:
                ragged = [root_of(nodes)]
        return ragged[0] if ragged else EMPTY_ROOT

    def old_leaves(self) -> list[bytes]:
        """The leaf hashes that the next bundle begins with."""
        return self.levels[0] if self.levels else []

    def add_bundle(self, leaf_hashes: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Takes the leaf hashes of the next bundle, 1 to 256, which begin with ``old_leaves()``.

        Returns the tiles of level 1 and above that became full, with their contents.
        """
        known = self.size % TILE_WIDTH
        if not known <= len(leaf_hashes) <= TILE_WIDTH:
            raise ValueError(f"{len(leaf_hashes)} leaf hashes cannot follow {known}")
        if len(leaf_hashes) == TILE_WIDTH:
            return self.add_roots([root_of(leaf_hashes)])
        if not self.levels:
            self.levels.append([])
        self.size += len(leaf_hashes) - known
        self.levels[0] = list(leaf_hashes)
        return []

    def add_roots(self, roots: Iterable[bytes]) -> list[tuple[Tile, bytes]]:
        """Takes the roots of the next bundles, all full; the first holds ``old_leaves()``.

        Returns the tiles of level 1 and above that became full, with their contents.
        """
        done: list[tuple[Tile, bytes]] = []
        for root in roots:
            while len(self.levels) < 2:
                self.levels.append([])
            self.size += TILE_WIDTH - self.size % TILE_WIDTH
            self.levels[0] = []
            self.levels[1].append(root)
            level = 1
            while len(self.levels[level]) == TILE_WIDTH:
                full = self.levels[level]
                index = (self.size >> (TILE_HEIGHT * (level + 1))) - 1
                done.append((Tile(level, index), b"".join(full)))
                self.levels[level] = []
                level += 1
                if level == len(self.levels):
                    self.levels.append([])
                self.levels[level].append(root_of(full))
        return done

    def partial_tiles(self) -> list[tuple[Tile, bytes]]:
        """The partial tiles of level 1 and above, with their contents."""
        return [
            (Tile(level, self.size >> (TILE_HEIGHT * (level + 1)), len(hashes)), b"".join(hashes))
            for level, hashes in enumerate(self.levels)
            if level and hashes
        ]


def edge_widths(size: int) -> list[int]:
    """Number of hashes of each level's partial tile in a tree of ``size``, level 0 first."""
    widths: list[int] = []
    while size:
        widths.append(size % TILE_WIDTH)
        size >>= TILE_HEIGHT
    return widths
