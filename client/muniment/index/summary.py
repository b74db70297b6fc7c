"""What the decisions of an entry bundle are about, in a kilobyte: may a search pass over it?

Subjects and resources are bits of a filter, two for each (a Bloom filter): a bundle whose bits lack
one of them has no decision about the thing; one that has both may have. With 256 decisions that all
differ, one in a hundred bundles is looked into without need. Somebody who wants searches to take
longer can choose names for it, and no more: the records decide.
"""

from typing import Final, NamedTuple
from zlib import crc32

BITS: Final = 13
"""Bits of a position in a filter."""

_MASK: Final = (1 << BITS) - 1


class Summary(NamedTuple):
    """What a bundle's records are about.

    Attributes:
        bundle: The bundle's number.
        earliest: The least `time` of its records, Unix milliseconds.
        latest: The greatest.
        things: The filter.
    """

    bundle: int
    earliest: int
    latest: int
    things: bytes

    def with_(self, other: "Summary") -> "Summary":
        """The summary of one bundle's records and of others of the same bundle."""
        if other.latest < other.earliest:
            return self
        if self.latest < self.earliest:
            return other
        both = int.from_bytes(self.things, "big") | int.from_bytes(other.things, "big")
        return Summary(
            self.bundle,
            min(self.earliest, other.earliest),
            max(self.latest, other.latest),
            both.to_bytes(len(self.things), "big"),
        )


class Filter:
    """A filter that is being filled."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray(1 << BITS >> 3)

    def add(self, role: str, type_: str, id_: str) -> None:
        """Adds a thing; `role` is ``subject`` or ``resource``."""
        first, second = positions(role, type_, id_)
        self._bits[first >> 3] |= 1 << (first & 7)
        self._bits[second >> 3] |= 1 << (second & 7)

    def encode(self) -> bytes:
        """The filter's bytes."""
        return bytes(self._bits)


def positions(role: str, type_: str, id_: str) -> tuple[int, int]:
    """The bits of a thing."""
    code = crc32(f"{role}\0{type_}\0{id_}".encode("utf-8", "surrogatepass"))
    return code & _MASK, code >> BITS & _MASK


def may_have(things: bytes, bits: tuple[int, int]) -> bool:
    """Whether a bundle with this filter may have a decision about a thing with these bits."""
    first, second = bits
    return bool(things[first >> 3] >> (first & 7) & things[second >> 3] >> (second & 7) & 1)
