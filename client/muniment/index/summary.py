"""What the decisions of an entry bundle are about, in a kilobyte: a search may pass over it.

Subjects and resources are bits of a filter, two for each (a Bloom filter): a bundle whose bits lack
one of them has no decision about the thing; one that has both may have. With 256 decisions that all
differ, one in a hundred bundles is looked into without need. Somebody who wants searches to take
longer can choose names for it, and no more: the records decide.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

BITS: Final = 13
"""Bits of a position in a filter."""

_MASK: Final = (1 << BITS) - 1
_ONE: Final = ord("1")


class Summary(NamedTuple):
    """What a bundle's records are about: the filter, and the least and greatest `time`.

    Times are Unix milliseconds.
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


def filter_of(subjects: Iterable[tuple[str, str]], resources: Iterable[tuple[str, str]]) -> bytes:
    """The filter of things, each a type and an id, of records that were decoded."""
    digits = bytearray(b"0" * (1 << BITS))  # a byte for each bit: quick to set
    for role, things in (("subject", subjects), ("resource", resources)):
        begun: dict[str, int] = {}  # by type, the checksum of what is before the id
        for type_, id_ in things:
            if (start := begun.get(type_)) is None:
                start = begun[type_] = crc32(f"{role}\0{type_}\0".encode())
            code = crc32(id_.encode(), start)
            digits[code & _MASK] = digits[code >> BITS & _MASK] = _ONE
    return int(digits, 2).to_bytes(1 << BITS >> 3, "big")


def positions(role: str, type_: str, id_: str) -> tuple[int, int]:
    """The bits of a thing; `role` is ``subject`` or ``resource``."""
    code = crc32(f"{role}\0{type_}\0{id_}".encode("utf-8", "surrogatepass"))
    return code & _MASK, code >> BITS & _MASK


def may_have(things: bytes, bits: tuple[int, int]) -> bool:
    """Whether a bundle with this filter may have a decision about a thing with these bits."""
    return all(things[at >> 3] >> (7 - (at & 7)) & 1 for at in bits)
