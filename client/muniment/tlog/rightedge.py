"""C2SP tlog-tiles "Merkle Tree": every hash tile of a growing tree, from its leaf hashes alone.

The partial tiles are all the state there is: at most 255 hashes a level, enough to compute the root
and every tile that becomes full. A log grows its own tree by it, an auditor the tree it recomputes.
"""

from collections.abc import Sequence
from typing import Final, Self

from msgspec import Struct

from muniment.tlog.encoding import FormatError
from muniment.tlog.merkle import HASH_SIZE, CompactRange, split_hashes
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile

_NO_PEAKS: Final = CompactRange.EMPTY
_TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE  # bytes


class TileEdge(Struct, frozen=True):
    """The partial tiles of a tree of `size` leaves: what of its hashes more leaves can change.

    Attributes:
        partials: For each level up to the highest, level 0 first, the hashes of its partial tile,
            concatenated; empty where it has none.
        ranges: The peaks of each partial tile, of the same length as `partials`.
    """

    size: int = 0
    partials: tuple[bytes, ...] = ()
    ranges: tuple[CompactRange, ...] = ()

    @classmethod
    def restore(cls, size: int, partials: Sequence[bytes]) -> Self:
        """Restores an edge from its `partials`; FormatError if a tree of this size has others."""
        lengths: list[int] = []
        rest = size
        while rest:
            lengths.append(rest % TILE_WIDTH * HASH_SIZE)
            rest >>= TILE_HEIGHT
        found = [len(data) for data in partials]
        if found != lengths:
            raise FormatError(f"edge: levels of {found} bytes instead of {lengths}")
        ranges = tuple(_NO_PEAKS.extend(split_hashes(data)) for data in partials)
        return cls(size, tuple(partials), ranges)

    def append(
        self, hashes: Sequence[bytes], level: int = 0
    ) -> tuple["TileEdge", list[tuple[Tile, bytes]]]:
        """Returns the edge after more nodes, and the tiles that became full, lowest level first.

        Each interior node is hashed once, when it becomes complete. Nodes above level 0 are roots
        of full tiles of the level below; ValueError if the leaves do not end where one ends.
        """
        if self.size & ((1 << TILE_HEIGHT * level) - 1):
            raise ValueError(f"no node of tile level {level} begins at leaf {self.size}")
        size = self.size + (len(hashes) << TILE_HEIGHT * level)
        partials, ranges = list(self.partials), list(self.ranges)
        tiles: list[tuple[Tile, bytes]] = []
        while hashes:
            while level >= len(partials):
                partials.append(b"")
                ranges.append(_NO_PEAKS)
            index = self.size >> (TILE_HEIGHT * (level + 1))
            full, hashes, partials[level], ranges[level] = _grow(
                partials[level], ranges[level], hashes
            )
            tiles += [(Tile(level, index + i), data) for i, data in enumerate(full)]
            level += 1
        return TileEdge(size, tuple(partials), tuple(ranges)), tiles

    def without_bundle(self) -> "TileEdge":
        """The edge before the leaves of the partial bundle, for who gets these again."""
        if not self.size % TILE_WIDTH:
            return self
        size = self.size - self.size % TILE_WIDTH
        return TileEdge(size, (b"", *self.partials[1:]), (_NO_PEAKS, *self.ranges[1:]))

    def tiles(self) -> list[tuple[Tile, bytes]]:
        """The partial tiles, lowest level first, with their contents."""
        return [
            (Tile(level, self.size >> (TILE_HEIGHT * (level + 1)), len(data) // HASH_SIZE), data)
            for level, data in enumerate(self.partials)
            if data
        ]

    def root(self) -> bytes:
        """The root of the tree."""
        # The peaks of the levels, highest level first, are the peaks of the tree: a peak of height
        # h within level L's partial tile is a perfect subtree of height 8L + h.
        peaks = [peak for level in reversed(self.ranges) for peak in level.peaks]
        return CompactRange.from_peaks(self.size, peaks).root()


def _grow(
    partial: bytes, peaks: CompactRange, hashes: Sequence[bytes]
) -> tuple[list[bytes], list[bytes], bytes, CompactRange]:
    """Appends hashes to one level: full tiles, their roots, the partial tile that remains."""
    data = partial + b"".join(hashes)
    room = TILE_WIDTH - len(partial) // HASH_SIZE
    full: list[bytes] = []
    roots: list[bytes] = []
    at = 0
    while len(hashes) - at >= room:
        peaks = peaks.extend(hashes[at : at + room])
        roots.append(peaks.peaks[0])
        full.append(data[len(full) * _TILE_SIZE : (len(full) + 1) * _TILE_SIZE])
        peaks, at, room = _NO_PEAKS, at + room, TILE_WIDTH
    return full, roots, data[len(full) * _TILE_SIZE :], peaks.extend(hashes[at:])
