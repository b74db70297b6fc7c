"""C2SP tlog-tiles "Merkle Tree", RFC 6962 section 2.1: parts of a tree out of authenticated tiles.

Whoever makes a proof goes the same way: plan which nodes it takes, read the tiles that hold them
all at once, authenticate each of them up to the tree's root, and only then use one. What makes
proofs here takes `AuthenticTiles`, so no way leads around that. There are two kinds:

* `TreeTiles` authenticates the bytes of anybody (a log, a mirror, a peer, a folder) by a head.
* A log's own process holds the right edge of its tree in memory and reads only full tiles, which it
  checks by `is_below`: `storage.embedded` in the log, fast behind the same interface.

Why every hash is authenticated: the tiles on the right edge hold exactly the perfect subtrees that
make up the tree, so the root computed from them commits to all of their hashes; every other tile is
full, and its own root is one hash of the tile above it. The hashes of a bundle's entries are the
tile of level 0 next to it.

Two checkers share nothing with this module, on purpose: the log's `storage.leafwalk` and the naive
oracle of the tests. They are what would notice a fault in it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from muniment.tlog.auditpath import plan_inclusions, plan_path
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError, unframe
from muniment.tlog.heads import Head, Prefix
from muniment.tlog.merkle import HASH_SIZE, leaf_hashes, root_of, split_hashes
from muniment.tlog.proofs import (
    Node,
    nodes_from_tiles,
    plan_consistency,
    plan_inclusion,
    plan_root,
    tiles_of_nodes,
)
from muniment.tlog.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    check_bundle,
    check_tile,
    cut_tile,
    tile_at,
)

Fetch: TypeAlias = Callable[[Sequence[Tile]], Awaitable[Mapping[Tile, bytes]]]
"""Reads tiles and bundles from anywhere, all that were asked for; nothing says that they are true.
In place of a partial tile it gives that many hashes of the full one, when the log has dropped it.
"""


async def read_served(
    tile: Tile,
    get: Callable[[Tile], Awaitable[bytes]],
    *,
    is_dropped: Callable[[MunimentError], bool],
    cut: Callable[[Tile, bytes], bytes] = cut_tile,
) -> bytes:
    """Reads a tile; a partial one that its log has dropped is cut from the full one.

    That is what tlog-tiles ("Partial Tiles") lets a log do once the full tile exists. `get` raises
    a MunimentError for what it cannot read, and `is_dropped` tells of which the full tile is to be
    tried: a client that tries each request several times only of those that say so plainly.
    """
    try:
        return await get(tile)
    except MunimentError as error:
        if not tile.is_partial or not is_dropped(error):
            raise
    return cut(tile, await get(tile.full))


class AuthenticTiles(Protocol):
    """Tiles and bundles of one tree, each authenticated before it is given out."""

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """The bytes of tiles and bundles, in one round to wherever they are."""
        ...


Place: TypeAlias = tuple[int, int]
"""Where a full tile or a bundle is: its level, `ENTRIES` for a bundle, and its index."""


def place_above(level: int, index: int) -> Place:
    """The place of the tile that authenticates a full tile, or a bundle (`ENTRIES`)."""
    return (0, index) if level == ENTRIES else (level + 1, index >> TILE_HEIGHT)


def is_below(level: int, index: int, data: bytes, above: bytes) -> bool:
    """Tells whether a full tile, or a bundle, is the one that the tile above it was made of.

    `above` has the bytes of the tile at `place_above`, partial or full, already authenticated.
    Costs 255 hashes; for a bundle, one an entry.
    """
    if level == ENTRIES:
        try:
            return b"".join(leaf_hashes(unframe(data, "bundle"))) == above
        except FormatError:
            return False
    if len(data) != TILE_WIDTH * HASH_SIZE:
        return False
    at = index % TILE_WIDTH * HASH_SIZE
    return root_of(split_hashes(data)) == above[at : at + HASH_SIZE]


def with_path(tiles: Iterable[Tile], size: int) -> tuple[Tile, ...]:
    """Plans a read: tiles of a tree of `size`, its right edge and all between, each once."""
    wanted = dict.fromkeys((*tiles_of_nodes(plan_root(size).nodes, size), *tiles))
    for tile in tuple(wanted):
        below = tile
        # A partial hash tile is itself on the right edge.
        while below.level == ENTRIES or not below.is_partial:
            below = tile_at(*place_above(below.level, below.index), size)
            wanted.setdefault(below)
    return tuple(wanted)


def authenticate(head: Head, tiles: Iterable[Tile], contents: Mapping[Tile, bytes]) -> None:
    """Authenticates tiles planned by `with_path`, every hash and every entry, by their tree's head.

    Raises VerificationError if they are not of that tree; FormatError if a hash tile has the wrong
    length; ValueError if one is missing.
    """
    planned = tuple(tiles)
    for tile in planned:
        if tile not in contents:
            raise ValueError(f"{tile.path} is missing")
        if tile.level != ENTRIES:
            check_tile(tile, contents[tile])
    edge = plan_root(head.size)
    if edge.assemble(nodes_from_tiles(edge.nodes, head.size, contents)) != (head.root,):
        raise VerificationError("the tiles are not those of the checkpoint: another root")
    for tile in planned:
        if tile.is_partial and tile.level != ENTRIES:
            continue  # on the right edge: just verified
        above = tile_at(*place_above(tile.level, tile.index), head.size)
        if not is_below(tile.level, tile.index, contents[tile], contents[above]):
            raise VerificationError(f"the tiles do not fit together at {tile.path}")


class TreeTiles:
    """The tiles and bundles of the tree of a head, read from anywhere."""

    def __init__(self, head: Head, fetch: Fetch) -> None:
        """Takes the head, from a checkpoint that the caller has verified, and how to read."""
        self._head = head
        self._fetch = fetch

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """The bytes of tiles and bundles as they stand in this tree.

        Raises VerificationError if what is read is not of this tree; FormatError if a length is
        wrong.
        """
        planned = with_path(tiles, self._head.size)
        contents = await self._fetch(planned)
        authenticate(self._head, planned, contents)
        return {tile: contents[tile] for tile in tiles}


async def read_nodes(tiles: AuthenticTiles, nodes: Sequence[Node], size: int) -> dict[Node, bytes]:
    """The hashes of nodes of the tree of `size`; ValueError if a node is not in that tree."""
    wanted = tiles_of_nodes(nodes, size)
    return nodes_from_tiles(nodes, size, await tiles.read(wanted) if wanted else {})


async def read_inclusion(
    tiles: AuthenticTiles, index: int, size: int
) -> tuple[bytes, tuple[bytes, ...]]:
    """A leaf hash and its audit path in the tree of `size`; ValueError if there is none."""
    plan = plan_inclusion(index, size)
    leaf = Node(0, index)
    hashes = await read_nodes(tiles, tuple(dict.fromkeys((leaf, *plan.nodes))), size)
    return hashes[leaf], plan.assemble(hashes)


async def read_inclusions(
    tiles: AuthenticTiles, start: int, end: int, size: int
) -> list[tuple[bytes, ...]]:
    """The audit paths of the leaves [start, end) in order; ValueError if there are none."""
    if end == start + 1:
        path = plan_path(start, size)
        return [path.assemble(await tiles.read(path.tiles) if path.tiles else {})]
    plan = plan_inclusions(start, end, size)
    return plan.assemble(await read_nodes(tiles, plan.nodes, size))


async def read_consistency(tiles: AuthenticTiles, old: int, new: int) -> tuple[bytes, ...]:
    """The proof that the tree of size `new` extends that of `old`; ValueError if that is larger."""
    plan = plan_consistency(old, new)
    return plan.assemble(await read_nodes(tiles, plan.nodes, new))


async def read_prefix(tiles: AuthenticTiles, old: int, size: int) -> Prefix:
    """What the tree of `size` begins with: the root at an older size, and the proof from there."""
    return _assemble_prefix(old, size, await read_nodes(tiles, _nodes_of_prefix(old, size), size))


def tiles_of_prefix(old: int, size: int) -> tuple[Tile, ...]:
    """Plans the read of `prefix_from`: at most 8 levels, three tiles or so in each."""
    return with_path(tiles_of_nodes(_nodes_of_prefix(old, size), size), size)


def prefix_from(head: Head, old: int, contents: Mapping[Tile, bytes]) -> Prefix:
    """As `read_prefix`, from the contents of (at least) `tiles_of_prefix`, authenticated here.

    For who tries several sources, and keeps what turns out to be authentic. Raises
    VerificationError if they are not the tiles of that tree; FormatError if one has the wrong
    length; ValueError if one is missing, or `old` is more than the tree's size.
    """
    authenticate(head, tiles_of_prefix(old, head.size), contents)
    nodes = _nodes_of_prefix(old, head.size)
    return _assemble_prefix(old, head.size, nodes_from_tiles(nodes, head.size, contents))


def _nodes_of_prefix(old: int, size: int) -> tuple[Node, ...]:
    return tuple(dict.fromkeys((*plan_consistency(old, size).nodes, *plan_root(old).nodes)))


def _assemble_prefix(old: int, size: int, hashes: Mapping[Node, bytes]) -> Prefix:
    return Prefix(plan_root(old).assemble(hashes)[0], plan_consistency(old, size).assemble(hashes))


async def read_root(tiles: AuthenticTiles, size: int) -> bytes:
    """The root of the tree of `size`; ValueError if the size is negative."""
    plan = plan_root(size)
    return plan.assemble(await read_nodes(tiles, plan.nodes, size))[0]


async def read_leaf_hash(tiles: AuthenticTiles, index: int, size: int) -> bytes:
    """The leaf hash at `index` of the tree of `size`; ValueError if not ``0 <= index < size``."""
    tile = tile_at(0, index // TILE_WIDTH, size)
    data = (await tiles.read([tile]))[tile]
    at = index % TILE_WIDTH * HASH_SIZE
    return data[at : at + HASH_SIZE]


async def read_entry(tiles: AuthenticTiles, index: int, size: int) -> bytes:
    """The leaf bytes at `index` of the tree of `size`; ValueError if not ``0 <= index < size``."""
    bundle = tile_at(ENTRIES, index // TILE_WIDTH, size)
    data = (await tiles.read([bundle]))[bundle]
    return check_bundle(bundle, data)[index % TILE_WIDTH]
