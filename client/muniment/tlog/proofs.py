"""RFC 6962 sections 2.1.1-2.1.2, RFC 9162 2.1.3-2.1.4, merkle-tree-certs "Subtrees": proofs.

One construction covers the three kinds of proof. A *subtree* [start, end) is any node of the tree
cut off at some leaf; its consistency proof shows that a hash over these leaves is part of a root.
An inclusion proof is the proof of the subtree [index, index + 1), a consistency proof that of
[0, old).

Proving is split so that it needs no I/O: a `Plan` says which nodes a proof needs and in which
tiles they are; the caller reads these tiles, all at once; `nodes_from_tiles` and `Plan.assemble`
make the proof. Verifying shares nothing with that but the hashing of nodes.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from muniment.tlog.encoding import VerificationError
from muniment.tlog.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    are_hashes,
    join_peaks,
    node_hash,
    pair_hashes,
)
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, check_tile, tile_at

MAX_PROOF: Final = 63
"""Most hashes in a proof on the wire (tlog-witness); enough for every tree below 2**62 leaves."""

CACHED_TILES: Final = 256
"""Tiles whose inner hashes are kept, 50 KB each at most: neighbours ask for the same, and computing
them takes up to 254 hashings."""


Rows: TypeAlias = tuple[Sequence[bytes], ...]
"""The hashes of the complete nodes within a tile: of each height those from left to right."""

NO_ROWS: Final[Rows] = ((),) * TILE_HEIGHT


class Node(NamedTuple):
    """The root of the perfect subtree over the leaves [index << level, (index + 1) << level)."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which coordinates have no use for


class Plan(Struct, frozen=True):
    """Which nodes some hashes are made of.

    A part has, for one hash, the perfect subtrees whose leaves it covers, largest (leftmost) first.
    A single node is a node of the tree; more are its right edge. None are the empty tree.
    """

    parts: tuple[tuple[Node, ...], ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that are needed, each once."""
        return tuple(node for part in self.parts for node in part)

    def tiles(self, size: int) -> tuple[Tile, ...]:
        """The tiles of a tree of `size` that hold the nodes; ValueError if one is not in it."""
        return tiles_of_nodes(self.nodes, size)

    def assemble(self, hashes: Mapping[Node, bytes]) -> tuple[bytes, ...]:
        """The planned hashes, from the leaves to the root; KeyError if a node's hash is missing."""
        return tuple(join_peaks([hashes[node] for node in part]) for part in self.parts)


def plan_inclusion(index: int, size: int) -> Plan:
    """Plans an audit path, at most 63 hashes; ValueError if not ``0 <= index < size``."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of size {size} has no leaf {index}")
    return _plan(index, index + 1, size)


def plan_consistency(old: int, new: int) -> Plan:
    """Plans the consistency proof of two sizes; ValueError if not ``0 <= old <= new``.

    Empty when the sizes are equal or the old tree is empty.
    """
    if not 0 <= old <= new:
        raise ValueError(f"no tree grows from {old} to {new} leaves")
    return _plan(0, old, new)


def plan_subtree(start: int, end: int, size: int) -> Plan:
    """Plans the consistency proof of a subtree and a tree (merkle-tree-certs SUBTREE_PROOF).

    Empty when the subtree is. Raises ValueError if the tree has no such subtree.
    """
    if not is_subtree(start, end) or end > size:
        raise ValueError(f"a tree of size {size} has no subtree [{start}, {end})")
    return _plan(start, end, size)


def plan_root(size: int) -> Plan:
    """Plans the root of a tree: the peaks of its `CompactRange`, in order, make one hash."""
    return plan_subtree_root(0, size)


def plan_subtree_root(start: int, end: int) -> Plan:
    """Plans the hash of a subtree, one hash; ValueError if [start, end) is not a subtree."""
    if not is_subtree(start, end):
        raise ValueError(f"[{start}, {end}) is not a subtree")
    return Plan((_cover(start, end),))


def _plan(start: int, end: int, size: int) -> Plan:
    """Walks from the root down to the subtree, and notes what it leaves aside on its way."""
    if start == end:
        return Plan(())
    aside: list[tuple[Node, ...]] = []
    low, high = 0, size
    verifier_knows = True
    while (low, high) != (start, end):
        # A node over n leaves splits at the largest power of two smaller than n, so its left child
        # is always perfect; its right child is, unless it is on the tree's right edge.
        level = (high - low - 1).bit_length() - 1
        middle = low + (1 << level)
        if end <= middle:
            aside.append(_cover(middle, high))
            high = middle
        else:
            aside.append((Node(level, low >> level),))
            low = middle
            if start < middle:
                # The left child is the beginning of the subtree, so the two hashes share it, and
                # the rest of the subtree is a node that the verifier has no hash of.
                start = middle
                verifier_knows = False
    if not verifier_knows:
        aside.append(_cover(low, high))
    return Plan(tuple(reversed(aside)))


def _cover(start: int, end: int) -> tuple[Node, ...]:
    """Returns the perfect subtrees of the subtree [start, end), largest first."""
    size = end - start
    if size & (size - 1) == 0 and size:
        level = size.bit_length() - 1
        return (Node(level, start >> level),)
    nodes: list[Node] = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def _tile_of(node: Node, size: int) -> Tile:
    """Returns the tile, as it stands in a tree of `size`, from which a node can be computed."""
    if node.index + 1 << node.level > size:
        raise ValueError(f"a tree of size {size} has no {node}")
    level, height = divmod(node.level, TILE_HEIGHT)
    return tile_at(level, node.index << height >> TILE_HEIGHT, size)


def tiles_of_nodes(nodes: Iterable[Node], size: int) -> tuple[Tile, ...]:
    """The tiles of a tree of `size` that hold some nodes; ValueError if one is not in it."""
    return tuple(dict.fromkeys([_tile_of(node, size) for node in nodes]))


def nodes_from_tiles(
    nodes: Iterable[Node], size: int, tiles: Mapping[Tile, bytes]
) -> dict[Node, bytes]:
    """Reads the hashes of nodes from tiles, computing those inside a tile from its hashes.

    Nothing says that the tiles are true: verify what is made of the hashes. The levels inside a
    tile are computed once each, so it pays to ask for the nodes of many proofs together. In place
    of a partial tile, the full tile of which it is a prefix will do, as tlog-tiles lets clients
    fall back to it. Raises FormatError if a tile that is used has the wrong length; ValueError if a
    node is not in the tree, or its tile is missing.
    """
    opened: dict[Tile, Rows] = {}
    hashes: dict[Node, bytes] = {}
    for node in nodes:
        tile = _tile_of(node, size)
        rows = opened.get(tile)
        if rows is None:
            rows = opened[tile] = rows_of(tile, tiles)
        height = node.level % TILE_HEIGHT
        hashes[node] = rows[height][node.index - (tile.index * TILE_WIDTH >> height)]
    return hashes


def rows_of(tile: Tile, tiles: Mapping[Tile, bytes]) -> Rows:
    """The hashes of a tile's complete nodes, lowest row first; errors as `nodes_from_tiles`."""
    return _rows(_open(tile, tiles))


def _open(tile: Tile, tiles: Mapping[Tile, bytes]) -> bytes:
    """Returns the hashes of a tile, from itself or from the full tile in its place."""
    for source in (tile, tile.full):
        data = tiles.get(source)
        if data is not None:
            if len(data) != source.width * HASH_SIZE:
                check_tile(source, data)
            return data[: tile.width * HASH_SIZE]
    raise ValueError(f"{tile.path} is missing")


_NOTHING: Final[tuple[bytes, Rows]] = b"", NO_ROWS

_grown: OrderedDict[bytes, tuple[bytes, Rows]] = OrderedDict()
"""First hash of a tile → the tile as last seen, and its rows."""


@lru_cache(maxsize=CACHED_TILES)
def _rows(data: bytes) -> Rows:
    """Returns the rows of a tile's complete nodes, lowest first.

    Kept by content, not by place: what one tile holds is then never taken for another's. Of a tile
    that has grown only what is new is computed: each head of a log asks for its last tile.
    """
    seen, known = _grown.get(data[:HASH_SIZE], _NOTHING)
    if not data.startswith(seen):
        seen, known = _NOTHING
    new = [data[at : at + HASH_SIZE] for at in range(len(seen), len(data), HASH_SIZE)]
    rows: list[Sequence[bytes]] = [[*known[0], *new]]
    for row in known[1:]:
        below = rows[-1]
        rows.append([*row, *pair_hashes(below[2 * len(row) : len(below) & ~1])])
    found = tuple(rows)
    _grown[data[:HASH_SIZE]] = data, found
    while len(_grown) > CACHED_TILES:
        _grown.popitem(last=False)
    return found


def is_subtree(start: int, end: int) -> bool:
    """Tells whether [start, end) is a subtree (merkle-tree-certs "Definition of a Subtree").

    That is when ``0 <= start <= end`` and `start` is a multiple of the smallest power of two that
    is no smaller than ``end - start``: then the leaves are the beginning of some node's leaves.
    """
    return 0 <= start <= end and not start & ((1 << max(end - start - 1, 0).bit_length()) - 1)


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verifies that a leaf is in a tree (RFC 9162 section 2.1.3.2), or VerificationError."""
    if root_from_inclusion(leaf_hash, index, size, proof) != root:
        raise VerificationError(f"inclusion proof of leaf {index}: not in the tree of size {size}")


def root_from_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Returns the root of the one tree of which the inclusion proof would be true.

    Raises VerificationError if no tree of this size has such a leaf or such a proof.
    """
    if not 0 <= index < size:
        raise VerificationError(f"inclusion proof: a tree of size {size} has no leaf {index}")
    what = f"inclusion proof of leaf {index}"
    return _implied(index, index + 1, leaf_hash, size, proof, what)[1]


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verifies that a tree of size `new` begins with the leaves of one of size `old`.

    The algorithm is that of RFC 9162 section 2.1.4.2. Every tree begins with the empty one, and two
    trees of one size are equal or inconsistent: these cases need an empty proof. Raises
    VerificationError if it is not so, or `old` is larger than `new`.
    """
    if not 0 <= old <= new:
        raise VerificationError(f"consistency proof: no tree grows from {old} to {new} leaves")
    _verify(0, old, old_root, new, new_root, proof, f"consistency proof from {old} to {new}")


def verify_subtree(
    start: int, end: int, subtree: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Verifies that a subtree's leaves are those of a tree (merkle-tree-certs "Verifying …").

    A subtree without leaves has the hash EMPTY_ROOT and an empty proof. Raises VerificationError if
    it is not so, [start, end) is not a subtree, or not in the tree.
    """
    what = f"subtree proof of [{start}, {end}) in a tree of size {size}"
    if not is_subtree(start, end) or end > size:
        raise VerificationError(f"{what}: there is no such subtree")
    _verify(start, end, subtree, size, root, proof, what)


def _verify(
    start: int,
    end: int,
    subtree: bytes,
    size: int,
    root: bytes,
    proof: Sequence[bytes],
    what: str,
) -> None:
    if start == end:
        _check_length(proof, 0, what)
        if subtree != EMPTY_ROOT or (size == 0 and root != EMPTY_ROOT):
            raise VerificationError(f"{what}: not the root of the empty tree")
        if len(root) != HASH_SIZE:
            raise VerificationError(f"{what}: a hash is not {HASH_SIZE} bytes")
    elif (start, end) == (0, size):
        _check_length(proof, 0, what)
        if subtree != root:
            raise VerificationError(f"{what}: two roots of one size")
    else:
        implied_subtree, implied_root = _implied(start, end, subtree, size, proof, what)
        if implied_subtree != subtree:
            raise VerificationError(f"{what}: the subtree or older root does not match")
        if implied_root != root:
            raise VerificationError(f"{what}: the tree root does not match")


def _implied(
    start: int, end: int, subtree: bytes, size: int, proof: Sequence[bytes], what: str
) -> tuple[bytes, bytes]:
    """Returns the hash of the subtree [start, end), not empty, and the root that a proof implies.

    A proof is the sibling hashes on the path from a node up to the root. The node is the highest
    one on the subtree's right edge that is also a node of the tree. If it is the whole subtree then
    the verifier knows its hash, else the proof begins with it. Every sibling goes into the root;
    those that are inside the subtree, all on the left, go into its hash as well. So whatever the
    subtree's hash commits to, the root commits to in the same place.

    In bits: at level L the path of a leaf i is at index i >> L, a right child where bit L is set.
    Three leaves are followed at once: the subtree's first and last, and the tree's last.

    * As long as `last` differs from `edge` above L, every level has a sibling: on the left where
      bit L of `last` is set, on the right where not.
    * Above that the path runs along the right edge of the tree. There a level has a sibling, on the
      left, only where the bit is set; a node that has none goes up as it is.
    * A left sibling is inside the subtree as long as `first` and `last` differ at that level.

    The number of siblings follows from the three numbers, and the proof must have it exactly.
    """
    first, last, edge = start, end - 1, size - 1
    level = (first ^ last).bit_length()
    if last != edge:
        # A node that ends at `end` exists below the lowest bit set in it. Higher up the subtree is
        # cut off in the middle of the tree's nodes.
        level = min(level, (end & -end).bit_length() - 1)
    first, last, edge = first >> level, last >> level, edge >> level
    whole = first == last
    inner = (last ^ edge).bit_length()
    _check_length(proof, (not whole) + inner + (last >> inner).bit_count(), what)
    if not are_hashes((subtree, *proof)):
        raise VerificationError(f"{what}: a hash is not {HASH_SIZE} bytes")

    siblings = iter(proof)
    older = newer = subtree if whole else next(siblings)
    for sibling in siblings:
        if last == edge:
            # Skip the levels at which the right edge has no sibling.
            skip = (last & -last).bit_length() - 1
            first, last, edge = first >> skip, last >> skip, edge >> skip
        if last & 1:
            newer = node_hash(sibling, newer)
            if first < last:
                older = node_hash(sibling, older)
        else:
            newer = node_hash(newer, sibling)
        first, last, edge = first >> 1, last >> 1, edge >> 1
    return older, newer


def _check_length(proof: Sequence[bytes], expected: int, what: str) -> None:
    if len(proof) != expected:
        raise VerificationError(f"{what}: {len(proof)} hashes instead of {expected}")
