"""A Merkle Patricia tree in memory: the plainest way to state what root and proofs are.

Whatever keeps a map on disk is compared with it. Each root costs the whole tree.
"""

from collections.abc import Iterable, Sequence
from struct import pack

from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.mpt import EMPTY, bit_of, inner_node, leaf_node, prove_items


class MemTree:
    """Keys with their values, of which the last one set counts."""

    def __init__(self, items: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._items = dict(items)

    def set(self, key: bytes, value: bytes) -> None:
        self._items[key] = value

    def __len__(self) -> int:
        return len(self._items)

    @property
    def root(self) -> bytes:
        return self._hash(list(self._items), 0) if self._items else EMPTY

    def prove_many(self, keys: Iterable[bytes]) -> tuple[dict[bytes, bytes | None], bytes]:
        """The values of some keys, None for those that are not there, and the proof of all."""
        asked = sorted(set(keys))
        size = max(map(len, self._items), default=0)
        ordered = sorted(
            self._items.items(), key=lambda item: item[0] + b"\0" + b"\xff" * (size - len(item[0]))
        )
        values = {key: self._items.get(key) for key in asked}
        return values, prove_items(ordered, asked, -1) if ordered else b""

    def _hash(self, keys: Sequence[bytes], bit: int) -> bytes:
        """The hash over keys that agree in all bits before this one."""
        if len(keys) == 1:
            return leaf_node(keys[0], self._items[keys[0]])
        sides: tuple[list[bytes], list[bytes]] = ([], [])
        while not all(sides):
            sides = ([], [])
            for key in keys:
                sides[bit_of(key, bit)].append(key)
            bit += 1
        return inner_node(bit - 1, *[self._hash(side, bit) for side in sides])


def list_value(indices: Sequence[int]) -> bytes:
    """The value of a key whose leaves have these indices, at least one, ascending.

    Eight bytes of their number, then the RFC 6962 root over them as leaves of eight bytes; all
    big-endian.
    """
    leaves = leaf_hashes([pack(">Q", index) for index in indices])
    return pack(">Q", len(leaves)) + root_of(leaves)
