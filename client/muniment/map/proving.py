"""Proofs from the nodes of a map, wherever these are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from muniment.map.bucket import ABSENT, inner
from muniment.map.levels import KIND_BITS
from muniment.tlog.mpt import EMPTY, bit_of, prove_items, uvarint


class Nodes(Protocol):
    """The nodes of a map."""

    def kinds(self) -> Sequence[int]:
        """The kinds that have keys, ascending."""
        ...

    def hash_at(self, kind: int, depth: int, place: int) -> bytes:
        """The hash of a node of a kind; ABSENT where no keys are."""
        ...

    def items(self, kind: int, depth: int, place: int) -> Sequence[tuple[bytes, bytes]] | None:
        """Keys and values of a bucket; None for a node above the buckets."""
        ...


def root_of(kinds: Mapping[int, bytes]) -> bytes:
    """The root of a map, by the hashes of its kinds; those that are ABSENT do not count."""
    present = [kind for kind in sorted(kinds) if kinds[kind] != ABSENT]
    return _join(present, kinds) if present else EMPTY


def prove(nodes: Nodes, keys: Iterable[bytes]) -> bytes:
    """One proof of what a map says of some keys, as `mpt.verify_many` takes it."""
    asked = sorted(set(keys))
    kinds = nodes.kinds()
    return _prove_kinds(nodes, kinds, asked, -1) if kinds else b""


def _join(kinds: Sequence[int], hashes: Mapping[int, bytes]) -> bytes:
    if len(kinds) == 1:
        return hashes[kinds[0]]
    bit, left, right = _split(kinds)
    return inner(bit, _join(left, hashes), _join(right, hashes))


def _split(kinds: Sequence[int]) -> tuple[int, Sequence[int], Sequence[int]]:
    """The bit in which kinds differ first, and those on its two sides."""
    length = (kinds[0] ^ kinds[-1]).bit_length()
    middle = next(at for at, kind in enumerate(kinds) if kind >> (length - 1) & 1)
    return KIND_BITS - length, kinds[:middle], kinds[middle:]


def _prove_kinds(nodes: Nodes, kinds: Sequence[int], asked: Sequence[bytes], above: int) -> bytes:
    if len(kinds) == 1:
        return _prove_kind(nodes, kinds[0], (0, 0), asked, above)
    bit, *sides = _split(kinds)
    out = uvarint(bit - above + 1)
    for side, there in enumerate(sides):
        here = [key for key in asked if bit_of(key, bit) == side]
        if here:
            out += _prove_kinds(nodes, there, here, bit)
        else:
            out += _join(there, {kind: nodes.hash_at(kind, 0, 0) for kind in there})
    return out


def _prove_kind(
    nodes: Nodes, kind: int, node: tuple[int, int], asked: Sequence[bytes], above: int
) -> bytes:
    depth, place = node
    while (items := nodes.items(kind, depth, place)) is None:
        depth, place = depth + 1, 2 * place
        sides = [nodes.hash_at(kind, depth, place + side) for side in (0, 1)]
        if ABSENT in sides:  # not a node of its own: the walk goes where there are keys
            place += sides[0] == ABSENT
            continue
        bit = KIND_BITS + depth - 1
        out = uvarint(bit - above + 1)
        for side in (0, 1):
            here = [key for key in asked if bit_of(key, bit) == side]
            out += (
                _prove_kind(nodes, kind, (depth, place + side), here, bit) if here else sides[side]
            )
        return out
    return prove_items(items, asked, above)
