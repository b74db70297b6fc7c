"""The nodes above the buckets, in memory: all that lies on the way of an update.

A kind has ``2**depth`` slots, by the first bits of its keys after the kind. Each level of the
binary tree above them is one array of hashes; a node whose one side has no keys is its other side,
which is what path compression comes to. When a kind has grown, its slots are halved one by one,
each when it changes next: until then the node above both holds their hash, and one row their keys.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from muniment.map.bucket import ABSENT, INNER
from muniment.tlog.merkle import HASH_SIZE

LOAD: Final = 5
"""Keys a slot at which a kind gets twice as many slots."""

KIND_BITS: Final = 8
"""Bits of a key before those that tell the slot."""


class Levels:
    """The nodes of one kind.

    Attributes:
        depth: The slots are ``2**depth``.
        count: How many keys it has.
        nodes: By depth, the hashes side by side; ABSENT where no keys are.
        whole: For each pair of slots, whether they are still one bucket.
    """

    __slots__ = ("count", "depth", "nodes", "whole")

    def __init__(self, depth: int = 0, count: int = 0) -> None:
        self.depth = depth
        self.count = count
        self.nodes = [bytearray(HASH_SIZE << level) for level in range(depth + 1)]
        self.whole = bytearray(1 << depth >> 1)

    @property
    def root(self) -> bytes:
        """The hash of all keys of the kind."""
        return self.hash_at(0, 0)

    def hash_at(self, depth: int, number: int) -> bytes:
        """The hash of a node, the left-most of a depth being number 0."""
        return bytes(self.nodes[depth][number << 5 : (number + 1) << 5])

    def grow(self) -> None:
        """Doubles the slots; no bucket may be whole from the time before."""
        self.depth += 1
        self.nodes.append(bytearray(HASH_SIZE << self.depth))
        level = self.nodes[-2]
        # One byte for a slot that has keys: the first of a hash may be zero, all of it is not.
        self.whole = bytearray(
            level[at : at + HASH_SIZE] != ABSENT for at in range(0, len(level), HASH_SIZE)
        )

    def set(self, slots: dict[int, bytes]) -> list[list[int]]:
        """Gives slots their hashes, and each node above them once.

        Returns:
            By depth, the numbers of the nodes that were hashed, ascending.
        """
        level = self.nodes[self.depth]
        changed = sorted(slots)
        for slot in changed:
            level[slot << 5 : (slot + 1) << 5] = slots[slot]
        every = [changed]
        for depth in range(self.depth - 1, -1, -1):
            changed = [number >> 1 for number in changed]
            changed = list(dict.fromkeys(changed))
            self._hash(depth, changed)
            every.append(changed)
        return every[::-1]

    def hash_all(self) -> None:
        """Hashes all nodes above the slots."""
        for depth in range(self.depth - 1, -1, -1):
            numbers: Iterable[int] = range(1 << depth)
            if depth == self.depth - 1:
                numbers = (number for number in numbers if not self.whole[number])
            self._hash(depth, numbers)

    def _hash(self, depth: int, numbers: Iterable[int]) -> None:
        above, below = self.nodes[depth], self.nodes[depth + 1]
        start, hash_, absent = INNER[KIND_BITS + depth], sha256, ABSENT
        for number in numbers:
            both = below[number << 6 : (number + 1) << 6]
            left = both[:32]
            if both[32:] == absent:
                above[number << 5 : (number + 1) << 5] = left
            elif left == absent:
                above[number << 5 : (number + 1) << 5] = both[32:]
            else:
                above[number << 5 : (number + 1) << 5] = hash_(start + both).digest()
