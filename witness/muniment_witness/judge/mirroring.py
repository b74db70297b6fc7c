"""C2SP tlog-mirror, "add-entries": what a mirror may take, purely; and what it writes of that.

A `Copy` is what a mirror holds of one log: all entries below its size, the *next entry*. Entries
are proven to be part of a checkpoint before they are taken, and taken in order, so there are no
gaps. Packages end where bundles do: of bundles only the last is ever partial.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from muniment.tlog.encoding import first_entries, frame
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE, leaf_hashes, root_of, split_hashes
from muniment.tlog.mirrorwire import Package, PackageRange, Upload
from muniment.tlog.proofs import verify_subtree
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile

MAX_EXCESS: Final = 8 * TILE_WIDTH
"""Most entries that an upload may begin before the next entry: what is sent in vain."""


def is_in_place(upload: Upload, *, known: bool, mirrored: int, next_entry: int) -> bool:
    """Whether an upload's packages are to be read; otherwise it is answered with 409.

    It may begin before the next entry, not too far, and not after it.

    Args:
        upload: What it begins with.
        known: Whether its end is the size of a checkpoint that is or was pending.
        mirrored: The size of the mirror checkpoint, 0 without one; no upload ends before it.
        next_entry: The first entry that the mirror lacks.
    """
    excess = min(upload.end, next_entry) - upload.start
    return known and upload.end >= mirrored and upload.start <= next_entry and excess <= MAX_EXCESS


def verify_package(package: Package, before: Sequence[bytes], tree: Head) -> list[bytes]:
    """Verifies that a package's entries are those of a tree, and returns their leaf hashes.

    `before` are the leaf hashes of the subtree that are before the package's first entry. Raises
    VerificationError if the proof does not hold.
    """
    hashes = leaf_hashes(package.entries)
    place = package.place
    root = root_of([*before, *hashes])
    verify_subtree(place.base, place.end, root, tree.size, tree.root, package.proof)
    return hashes


class Growth(Struct, frozen=True):
    """What is written when a copy has grown.

    Attributes:
        before: The tree that it grew from.
        after: The tree that it is now.
        bundles: Index and framed entries of each bundle that became full; the fragments of the
            partial bundle before it go then.
        fragment: Index of the first entry, and the framed entries, to add to the partial bundle;
            None when there are none.
        tiles: Level, index and hashes of each tile that became full, and of each partial one above
            level 0 that changed.
    """

    before: Head
    after: Head
    bundles: list[tuple[int, bytes]]
    fragment: tuple[int, bytes] | None
    tiles: list[tuple[int, int, bytes]]


class CopyEdge(Struct, frozen=True):
    """The part of a copy that more entries can change: partial tiles, and the partial bundle."""

    tiles: TileEdge
    tail: bytes

    @property
    def head(self) -> Head:
        """The tree."""
        return Head(self.tiles.size, self.tiles.root())

    def read(self, tile: Tile) -> bytes | None:
        """A tile or bundle that lies in the edge, cut to its width; None for any other."""
        level = max(tile.level, 0)
        if level >= len(self.tiles.partials):
            return None
        data = self.tiles.partials[level]
        if tile.index != self.tiles.size >> (TILE_HEIGHT * (level + 1)):
            return None
        if tile.width > len(data) // HASH_SIZE:
            return None
        if tile.level != ENTRIES:
            return data[: tile.width * HASH_SIZE]
        return first_entries(self.tail, tile.width)


class Copy:
    """What a mirror holds of one log: `edge`, and what of it was not given out by `grown` yet."""

    def __init__(self, edge: CopyEdge) -> None:
        self.edge = edge
        self._before = edge.tiles
        self._bundles: list[tuple[int, bytes]] = []
        self._tiles: list[tuple[int, int, bytes]] = []
        self._kept = len(edge.tail)  # bytes of the partial bundle that were given out
        self.unsaved = 0

    @property
    def size(self) -> int:
        """The next entry."""
        return self.edge.tiles.size

    def hashes_before(self, place: PackageRange) -> list[bytes] | None:
        """The leaf hashes of [base, start) of a package; None when a full tile has them."""
        if place.start == place.base:
            return []
        tile = Tile(0, place.base // TILE_WIDTH, place.start - place.base)
        data = self.edge.read(tile)
        return None if data is None else split_hashes(data)

    def take(self, package: Package, hashes: Sequence[bytes]) -> None:
        """Takes a verified package, given its leaf hashes; what is here already is skipped.

        ValueError if it begins after the next entry.
        """
        place, size = package.place, self.size
        if place.start > size:
            raise ValueError(f"an entry at {place.start} before that at {size}")
        if place.end <= size:
            return
        known = size - place.start
        framed = package.framed if not known else frame(package.entries[known:])
        tiles, full = self.edge.tiles.append(hashes[known:])
        tail = self.edge.tail + framed
        self.unsaved += len(framed)
        self._tiles += [(tile.level, tile.index, data) for tile, data in full]
        if place.end % TILE_WIDTH == 0:
            self._bundles.append((place.base // TILE_WIDTH, tail))
            self._kept, tail = 0, b""
        self.edge = CopyEdge(tiles, tail)

    def grown(self) -> Growth | None:
        """What was taken since this was asked last; None for nothing."""
        before, edge = self._before, self.edge
        after = edge.tiles
        if before.size == after.size:
            return None
        tiles = self._tiles
        for tile, data in after.tiles():
            height = TILE_HEIGHT * tile.level
            if tile.level and after.size >> height > before.size >> height:
                tiles.append((tile.level, tile.index, data))
        fragment = None
        if len(edge.tail) > self._kept:
            first = max(before.size, after.size - after.size % TILE_WIDTH)
            fragment = first, edge.tail[self._kept :]
        growth = Growth(Head(before.size, before.root()), edge.head, self._bundles, fragment, tiles)
        self._before, self._bundles, self._tiles = after, [], []
        self._kept, self.unsaved = len(edge.tail), 0
        return growth
