"""The list of leaves that belongs to a key: all of it, or its beginning with a proof.

The map has, for a key, how many leaves touch it, and the RFC 6962 root over their indices: each
leaf of that tree is one index, 8 bytes big-endian, in ascending order. So a list is the whole list
when its number and root are those, and a beginning of it is proven by consistency.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from muniment.tlog.encoding import MAX_SIZE, FormatError, VerificationError
from muniment.tlog.merkle import HASH_SIZE, leaf_hashes, root_of
from muniment.tlog.proofs import MAX_PROOF, plan_consistency, verify_consistency

MAX_LISTED: Final = 1 << 16
"""Most leaves that one list may name, and that a proof of its beginning is made from."""

_U64: Final = 8


@dataclass(frozen=True, slots=True)
class KeyList:
    """The leaves of one key, unverified; FormatError if they cannot be a list.

    Attributes:
        count: How many leaves there are.
        indices: The first of them, ascending: all, as a rule.
        rest: Empty when all are named; else the root over all indices, and the consistency proof
            from those that are named to all.
    """

    count: int
    indices: tuple[int, ...]
    rest: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.count <= MAX_SIZE:
            raise FormatError(f"list: count is not between 0 and {MAX_SIZE}")
        if len(self.indices) > min(self.count, MAX_LISTED):
            raise FormatError(f"list: names {len(self.indices)} of {self.count} leaves")
        if any(not 0 <= one <= MAX_SIZE for one in self.indices):
            raise FormatError("list: no leaf index")
        if any(one >= other for one, other in pairwise(self.indices)):
            raise FormatError("list: leaf indices do not ascend")
        if self.is_whole == bool(self.rest) or len(self.rest) > MAX_PROOF + 1:
            raise FormatError("list: a part needs a root and a proof, and the whole has none")
        if any(len(one) != HASH_SIZE for one in self.rest):
            raise FormatError(f"list: a hash is not {HASH_SIZE} bytes")

    @classmethod
    def of(cls, indices: Sequence[int], limit: int = MAX_LISTED) -> Self:
        """Lists leaves, or the first `limit` of them with the proof that there are more.

        Raises FormatError if there are more than MAX_LISTED to prove that from.
        """
        if len(indices) <= limit:
            return cls(len(indices), tuple(indices))
        if len(indices) > MAX_LISTED:
            raise FormatError(f"list: more than {MAX_LISTED} leaves")
        hashes = _hashes(indices)
        plan = plan_consistency(limit, len(indices))
        nodes = {
            node: root_of(hashes[node.index << node.level : (node.index + 1) << node.level])
            for node in plan.nodes
        }
        rest = (root_of(hashes), *plan.assemble(nodes))
        return cls(len(indices), tuple(indices[:limit]), rest)

    @property
    def is_whole(self) -> bool:
        """Whether all leaves are named."""
        return len(self.indices) == self.count

    def value(self) -> bytes | None:
        """What the map must have for the key (see `records.touched`); None for no leaves.

        Raises VerificationError if the list is no beginning of one with its root.
        """
        if not self.count:
            return None
        root = root_of(_hashes(self.indices))
        if not self.is_whole:
            older, root = root, self.rest[0]
            what = len(self.indices)
            try:
                verify_consistency(what, older, self.count, root, self.rest[1:])
            except VerificationError as error:
                raise VerificationError(f"list: its first {what} leaves: {error}") from None
        return self.count.to_bytes(_U64, "big") + root


def _hashes(indices: Sequence[int]) -> list[bytes]:
    return leaf_hashes([index.to_bytes(_U64, "big") for index in indices])
