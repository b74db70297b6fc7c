"""From ordered batches to tiles and bundles (C2SP tlog-tiles, RFC 6962 section 2.1). Pure.

The right edge is everything of the tree that later leaves can still change: the partial entry
bundle and the partial tile of each level. It stays in memory, so a commit reads nothing back and
writes only what is new: full bundles, full tiles, the fragment of the partial bundle that this
commit added, and the partial upper tiles that changed. Bundles are cut out of the batches' own
framing; no entry is decoded or encoded here.

Tiles are a pure function of the ordered leaves: however they are split into batches and commits,
the same bundles and tiles come out (tests/unit/test_log_integrate.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from muniment.tlog import merkle
from muniment.tlog.encoding import FormatError, first_entries, unframe
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NO_TILES = TileEdge()


class Framed(Protocol):
    """What integration needs of a batch: its framing and its leaf hashes.

    ``offsets[i]`` is where the length prefix of entry ``i`` begins in ``body``.
    """

    @property
    def body(self) -> bytes:
        """All entries, each with its length prefix, nothing else."""
        ...

    @property
    def offsets(self) -> Sequence[int]:
        """One offset per entry, ascending, the first 0."""
        ...

    @property
    def leaf_hashes(self) -> Sequence[bytes]:
        """One RFC 6962 leaf hash per entry."""
        ...


class RightEdge(Struct, frozen=True):
    """The part of a tree of ``head.size`` leaves that more leaves can change.

    Attributes:
        head: the tree.
        fragments: the framed entries of the partial bundle, in order, cut where commits ended.
        tiles: the partial tiles.
    """

    head: Head
    fragments: tuple[bytes, ...] = ()
    tiles: TileEdge = _NO_TILES

    def read(self, tile: Tile) -> bytes | None:
        """The tile if it lies in the edge, cut to its width; None if it is not a partial of it."""
        level = max(tile.level, 0)
        if level >= len(self.tiles.partials):
            return None
        data = self.tiles.partials[level]
        if tile.width > len(data) // HASH_SIZE:
            return None
        if tile.index != self.head.size >> (TILE_HEIGHT * (level + 1)):
            return None
        if tile.level == ENTRIES:
            return cut_bundle(b"".join(self.fragments), tile.width)
        return data[: tile.width * HASH_SIZE]


EMPTY_EDGE = RightEdge(Head(0, merkle.EMPTY_ROOT))


class Integration(Struct, frozen=True):
    """What one commit writes, and the edge that it leaves.

    Attributes:
        before: the tree it starts from.
        edge: the right edge after it.
        bundles: (index, framed entries) of each bundle that became full.
        fragment: (leaf index of its first entry, framed entries) to append to the partial bundle;
            None when the commit ends exactly at a bundle's end. When `bundles` is not empty, all
            earlier fragments are parts of the first of them and go.
        tiles: (level, index, hashes) of each tile that became full, and of each partial tile above
            level 0 that changed. The partial tile of level 0 follows from the fragments.
    """

    before: Head
    edge: RightEdge
    bundles: list[tuple[int, bytes]]
    fragment: tuple[int, bytes] | None
    tiles: list[tuple[int, int, bytes]]


def integrate(edge: RightEdge, batches: Sequence[Framed]) -> Integration:
    """Appends batches to the tree whose right edge is given.

    Costs one node hash per leaf (each interior node is hashed once, when it becomes complete) and
    one copy of the framed bytes.
    """
    bundles, fragments, fragment = _cut(edge, batches)
    before = edge.head.size
    grown, full = edge.tiles.append([leaf for batch in batches for leaf in batch.leaf_hashes])
    tiles = [(tile.level, tile.index, data) for tile, data in full]
    for tile, data in grown.tiles():
        height = TILE_HEIGHT * tile.level
        if tile.level and grown.size >> height > before >> height:
            tiles.append((tile.level, tile.index, data))
    after = RightEdge(Head(grown.size, grown.root()), fragments, grown)
    return Integration(edge.head, after, bundles, fragment, tiles)


def restore(
    head: Head, fragments: Sequence[bytes], partials: Mapping[int, tuple[int, bytes]]
) -> RightEdge:
    """Rebuilds the right edge from what storage holds, and checks it against the tree's root.

    `fragments` are the framed ones of the partial bundle, in order; `partials` has level → (tile
    index, hashes) of the last stored tile of each level above 0. Raises StorageError if what is
    stored does not make this tree.
    """
    edge = edge_of(head.size, fragments, partials)
    if edge.head != head:
        raise StorageError(f"the stored tiles do not make the root of the stored tree {head.size}")
    return edge


def edge_of(
    size: int, fragments: Sequence[bytes], partials: Mapping[int, tuple[int, bytes]]
) -> RightEdge:
    """The right edge of a tree whose root nobody has told; see `restore`.

    Raises StorageError if what is given is not of a tree of this size.
    """
    try:
        entries = unframe(b"".join(fragments), "partial bundle")
    except FormatError as error:
        raise StorageError(f"the stored {error}") from error
    if len(entries) != size % TILE_WIDTH:
        raise StorageError(
            f"the partial bundle holds {len(entries)} entries, "
            f"a tree of {size} needs {size % TILE_WIDTH}"
        )
    levels = [b"".join(merkle.leaf_hashes(entries))] if size else []
    rest = size >> TILE_HEIGHT
    while rest:
        level = len(levels)
        width, index = rest % TILE_WIDTH, rest >> TILE_HEIGHT
        if width == 0:
            levels.append(b"")
        else:
            stored = partials.get(level)
            if stored is None or stored[0] != index or len(stored[1]) != width * HASH_SIZE:
                raise StorageError(f"the partial tile of level {level} is missing or damaged")
            levels.append(stored[1])
        rest = index
    tiles = TileEdge.restore(size, levels)
    return RightEdge(Head(size, tiles.root()), tuple(fragments), tiles)


def cut_bundle(data: bytes, width: int) -> bytes:
    """The first `width` entries of a bundle that holds at least as many, still framed.

    Raises StorageError if the bundle is truncated.
    """
    try:
        return first_entries(data, width)
    except FormatError as error:
        raise StorageError(f"a stored entry bundle is truncated: {error}") from error


def _cut(
    edge: RightEdge, batches: Sequence[Framed]
) -> tuple[list[tuple[int, bytes]], tuple[bytes, ...], tuple[int, bytes] | None]:
    """Cuts the batches' bodies at bundle boundaries; slices are views until a bundle is full."""
    pending: list[bytes | memoryview] = list(edge.fragments)
    kept = len(pending)  # how many of `pending` are already stored
    index, width = divmod(edge.head.size, TILE_WIDTH)
    begin = edge.head.size  # leaf index of the first entry in pending[kept:]
    bundles: list[tuple[int, bytes]] = []
    for batch in batches:
        body, offsets = memoryview(batch.body), batch.offsets
        count, at = len(offsets), 0
        while count - at >= TILE_WIDTH - width:
            end = at + TILE_WIDTH - width
            pending.append(body[offsets[at] : offsets[end] if end < count else len(body)])
            bundles.append((index, b"".join(pending)))
            pending.clear()
            index, width, kept, at = index + 1, 0, 0, end
            begin = index * TILE_WIDTH
        if at < count:
            pending.append(body[offsets[at] :])
            width += count - at
    stored: tuple[bytes, ...] = edge.fragments if not bundles else ()
    new = b"".join(pending[kept:])
    if not new:
        return bundles, stored, None
    return bundles, (*stored, new), (begin, new)
