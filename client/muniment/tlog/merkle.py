"""RFC 6962 section 2.1: the Merkle tree hash, over leaves at once or as a compact range.

Hashing is most of what a log and an auditor do, so whole levels go through one loop each, from a
copy of a hash that has taken the prefix: that is a tenth less than to begin a new one for each.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import ClassVar, Final, Self

from msgspec import Struct

HASH_SIZE: Final = 32
"""Bytes of a SHA-256 hash."""

_LENGTHS: Final = frozenset({HASH_SIZE})

EMPTY_ROOT: Final = sha256().digest()
"""Root of the tree of size 0: the hash of the empty string."""

_LEAF: Final = sha256(b"\x00")
_NODE: Final = sha256(b"\x01")


def split_hashes(data: bytes) -> list[bytes]:
    """Splits hashes that stand side by side, as tiles and stored proofs hold them.

    A rest that is shorter than a hash is given back as the last element: the caller knows how many
    bytes there must be, and checks that first.
    """
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def are_hashes(values: Iterable[bytes]) -> bool:
    """Whether each value has the length of a hash."""
    return set(map(len, values)) <= _LENGTHS


def leaf_hash(entry: bytes) -> bytes:
    """Returns the hash of a leaf, SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of an inner node, SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Returns the leaf hashes of many entries, in order."""
    copy = _LEAF.copy
    hashes: list[bytes] = []
    for entry in entries:
        begun = copy()
        begun.update(entry)
        hashes.append(begun.digest())
    return hashes


def pair_hashes(level: Sequence[bytes]) -> list[bytes]:
    """Returns the parents of an even number of nodes of equal height, in order; else ValueError."""
    copy = _NODE.copy
    hashes: list[bytes] = []
    nodes = iter(level)
    # zip takes two nodes of the one iterator at a time; strict turns an odd one into ValueError.
    for left, right in zip(nodes, nodes, strict=True):
        begun = copy()
        begun.update(left + right)
        hashes.append(begun.digest())
    return hashes


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Returns the Merkle tree hash over leaf hashes, or over subtrees of equal height.

    The root of a full tile's 256 hashes is the entry for that tile at the level above.
    """
    if not hashes:
        return EMPTY_ROOT
    level = hashes
    # The last node of an odd level is a peak: RFC 6962 splits at the largest power of two, so it
    # finds its sibling only when all that is to its left is one node.
    smaller: list[bytes] = []
    while len(level) > 1:
        if len(level) % 2:
            smaller.append(level[-1])
            level = level[:-1]
        level = pair_hashes(level)
    return join_peaks([*level, *reversed(smaller)])


def join_peaks(peaks: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees side by side, largest first; EMPTY_ROOT for none."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for left in peaks[-2::-1]:
        root = node_hash(left, root)
    return root


class CompactRange(Struct, frozen=True):
    """The perfect subtrees that cover the leaves [0, size): all that appending needs to know.

    The peaks are their roots, largest (leftmost) first: one for each bit that is set in `size`, at
    the height of that bit.
    """

    EMPTY: ClassVar["CompactRange"]

    size: int
    peaks: tuple[bytes, ...]

    @classmethod
    def from_peaks(cls, size: int, peaks: Iterable[bytes]) -> Self:
        """Restores a range from its peaks; ValueError if there are more or fewer than it has."""
        peaks = tuple(peaks)
        if size < 0 or len(peaks) != size.bit_count():
            raise ValueError(f"{len(peaks)} peaks cannot cover {size} leaves")
        return cls(size, peaks)

    def extend(self, hashes: Sequence[bytes]) -> "CompactRange":
        """Returns the range over these leaves and more after them, given by their leaf hashes."""
        return self.append(0, hashes)

    def append(self, height: int, hashes: Sequence[bytes]) -> "CompactRange":
        """Returns the range with more perfect subtrees of one height, given by their roots.

        This is how hashing in parallel, or from the entries of a tile of a higher level, is merged.
        Raises ValueError if `size` is not a multiple of ``1 << height``, what a subtree spans: the
        subtrees would not be nodes of the tree.
        """
        if self.size & ((1 << height) - 1):
            raise ValueError(f"no subtree of height {height} begins at leaf {self.size}")
        if not hashes:
            return self
        peaks = list(self.peaks)
        smaller: list[bytes] = []
        level, count = list(hashes), self.size >> height
        # Every peak is at least as high as the subtrees. At each level the old right edge is either
        # a left sibling that waits for the first new node, or absent; the last new node either
        # finds a sibling, or becomes a peak of the new range.
        while level:
            if count & 1:
                level.insert(0, peaks.pop())
            if len(level) & 1:
                smaller.append(level.pop())
            level = pair_hashes(level)
            count >>= 1
        end = self.size + (len(hashes) << height)
        return CompactRange(end, (*peaks, *reversed(smaller)))

    def root(self) -> bytes:
        """Returns the root of the tree over the leaves [0, size)."""
        return join_peaks(self.peaks)


CompactRange.EMPTY = CompactRange(0, ())
