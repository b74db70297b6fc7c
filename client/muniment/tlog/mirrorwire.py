"""C2SP tlog-mirror ("add-entries"): request bodies, parsed as they come, and mirror-info.

A request uploads the entries [start, end) of a log, in *packages* that end where entry bundles do:
each has up to 256 entries, and the proof that they are part of the tree of size `end`. A body may
end after any package. It has no bound, so `UploadReader` parses it piece by piece.

Only the shape is checked here. Which sizes are known, and whether proofs hold, is for the mirror.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    format_base64,
    frame,
    parse_base64,
    parse_decimal,
    parse_text,
    split_lines,
    unframe,
)
from muniment.tlog.merkle import HASH_SIZE, split_hashes
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile

UPLOAD_CONTENT_TYPE: Final = "application/octet-stream"
"""Content type of a request body."""

INFO_CONTENT_TYPE: Final = "text/x.tlog.mirror-info"
"""Content type of the body of a 202 or 409 answer."""

MAX_PACKAGES: Final = 32
"""Most packages that a client should send in one request; a mirror takes any number."""

MAX_PACKAGE_PROOF: Final = 63
"""Most hashes in the proof of a package."""

MAX_TICKET: Final = 65_535
"""Longest ticket in bytes; what its uint16 length can say."""

MAX_ORIGIN: Final = 65_535
"""Longest origin in bytes; what its uint16 length can say."""

MAX_INFO_SIZE: Final = 2 * 20 + (MAX_TICKET + 2) // 3 * 4 + 1
"""Largest body of a 202 or 409 answer in bytes: two numbers of 19 digits, and a ticket."""

_SHORT: Final = 2  # bytes of a uint16
_LONG: Final = 8  # bytes of a uint64
_LOSSLESS: Final = "surrogateescape"


class PackageRange(NamedTuple):
    """Which entries a package has, [start, end), and the subtree [base, end) that its proof is of.

    `base` is a multiple of 256; what lies between it and `start` the mirror has already.
    """

    base: int
    start: int
    end: int

    @property
    def bundle(self) -> Tile:
        """The entry bundle that these entries end, as a tree of `end` leaves has it."""
        return Tile(ENTRIES, self.base // TILE_WIDTH, self.end - self.base)


def package_ranges(start: int, end: int) -> Iterator[PackageRange]:
    """Yields the canonical sequence of packages of the entries [start, end), in order.

    ValueError if not ``0 <= start <= end``.
    """
    if not 0 <= start <= end:
        raise ValueError(f"no entries are [{start}, {end})")
    if start == end:
        return iter(())
    return (
        PackageRange(base, max(start, base), min(end, base + TILE_WIDTH))
        for base in range(start - start % TILE_WIDTH, end, TILE_WIDTH)
    )


class Upload(Struct, frozen=True):
    """What a request begins with: which entries of which log follow; [start, end) may be empty.

    `end` is the tree size that every package's proof leads to. An origin that is not UTF-8, which
    no log has, is kept with surrogate escapes. `ticket` is what the mirror gave, or empty.
    """

    origin: str
    start: int
    end: int
    ticket: bytes = b""

    @property
    def packages(self) -> Iterator[PackageRange]:
        """The packages that follow, all or the first of them."""
        return package_ranges(self.start, self.end)

    def encode(self) -> bytes:
        """The bytes before the packages; ValueError if a part is longer than its prefix can say."""
        if not 0 <= self.start <= self.end <= MAX_SIZE:
            raise ValueError(f"no upload is of [{self.start}, {self.end})")
        origin = self.origin.encode("utf-8", _LOSSLESS)
        if len(origin) > MAX_ORIGIN or len(self.ticket) > MAX_TICKET:
            raise ValueError(f"an origin or a ticket is longer than {MAX_TICKET} bytes")
        return b"".join(
            (
                frame([origin]),
                self.start.to_bytes(_LONG, "big"),
                self.end.to_bytes(_LONG, "big"),
                frame([self.ticket]),
            )
        )


def encode_package(bundle: bytes, proof: Iterable[bytes]) -> bytes:
    """Writes a package: its entries, framed as in a bundle, and the proof of its subtree.

    ValueError if the proof is longer than MAX_PACKAGE_PROOF, or a hash is not 32 bytes.
    """
    hashes = tuple(proof)
    if len(hashes) > MAX_PACKAGE_PROOF or any(len(value) != HASH_SIZE for value in hashes):
        raise ValueError(f"not at most {MAX_PACKAGE_PROOF} hashes of {HASH_SIZE} bytes")
    return b"".join((bundle, bytes((len(hashes),)), *hashes))


class Package(Struct, frozen=True):
    """A package as it came, unverified: entries, also framed as a bundle has them, and proof."""

    place: PackageRange
    entries: tuple[bytes, ...]
    framed: bytes
    proof: tuple[bytes, ...]


class UploadReader:
    """Parses one request body whose bytes come bit by bit; it holds what is not yet parsed.

    First ask for `header`, then for one `package` after the other; None says that it needs more
    bytes. The caller bounds memory by feeding no more than it is asked for: a package has at most
    256 entries and MAX_PACKAGE_PROOF hashes, 16.8 MB.

    Attributes:
        complete: Whether the header and every package of its upload were given back.
    """

    def __init__(self) -> None:
        self.complete = False
        self._data = bytearray()
        self._at = 0  # where the first entry begins whose length was not read yet,
        self._count = 0  # after so many of the package that comes next
        self._coming: Iterator[PackageRange] = iter(())
        self._place: PackageRange | None = None

    def feed(self, data: bytes) -> None:
        """Takes more of the body."""
        self._data += data

    @property
    def held(self) -> int:
        """Bytes that are not yet parsed."""
        return len(self._data)

    def header(self) -> Upload | None:
        """What the body begins with; FormatError if `start` is after `end`, or `end` too large."""
        data = self._data
        origin_end = _SHORT + int.from_bytes(data[:_SHORT], "big")
        ticket_start = origin_end + 2 * _LONG + _SHORT
        if len(data) < ticket_start:
            return None
        size = int.from_bytes(data[ticket_start - _SHORT : ticket_start], "big")
        if len(data) < ticket_start + size:
            return None
        start = int.from_bytes(data[origin_end : origin_end + _LONG], "big")
        end = int.from_bytes(data[origin_end + _LONG : origin_end + 2 * _LONG], "big")
        if end > MAX_SIZE:
            raise FormatError(f"upload: its end is more than {MAX_SIZE}")
        if start > end:
            raise FormatError(f"upload: starts at {start}, after its end {end}")
        upload = Upload(
            data[_SHORT:origin_end].decode("utf-8", _LOSSLESS),
            start,
            end,
            bytes(data[ticket_start : ticket_start + size]),
        )
        del data[: ticket_start + size]
        self._coming = upload.packages
        self._advance()
        return upload

    def package(self) -> Package | None:
        """The next package, None when it is not here as a whole or there is none.

        FormatError if its proof has more hashes than it may; nothing after that can be parsed.
        """
        place = self._place
        if place is None:
            return None
        data, at = self._data, self._at
        total = len(data)
        for count in range(self._count, place.end - place.start):
            end = at + _SHORT + int.from_bytes(data[at : at + _SHORT], "big")
            if end > total or at + _SHORT > total:
                self._at, self._count = at, count
                return None
            at = end
        self._at, self._count = at, place.end - place.start
        if at >= total:
            return None
        hashes = data[at]
        if hashes > MAX_PACKAGE_PROOF:
            raise FormatError(f"package at {place.start}: a proof of {hashes} hashes")
        end = at + 1 + hashes * HASH_SIZE
        if end > total:
            return None
        framed = bytes(data[:at])
        proof = tuple(split_hashes(bytes(data[at + 1 : end])))
        package = Package(place, tuple(unframe(framed)), framed, proof)
        del data[:end]
        self._at = self._count = 0
        self._advance()
        return package

    def _advance(self) -> None:
        self._place = next(self._coming, None)
        self.complete = self._place is None


class MirrorInfo(Struct, frozen=True):
    """The body of a 202 or 409 answer: how to go on.

    Attributes:
        size: Tree size of a pending checkpoint, for the next `Upload.end`.
        next_entry: Index of the first entry that the mirror lacks, for the next `Upload.start`.
        ticket: For the next `Upload.ticket`; at most MAX_TICKET bytes, may be empty.
    """

    size: int
    next_entry: int
    ticket: bytes = b""

    def encode(self) -> bytes:
        """The body; ValueError if the ticket is too long to be sent back."""
        if len(self.ticket) > MAX_TICKET:
            raise ValueError(f"a ticket is longer than {MAX_TICKET} bytes")
        return f"{self.size}\n{self.next_entry}\n{format_base64(self.ticket)}\n".encode("ascii")


def parse_mirror_info(data: bytes) -> MirrorInfo:
    """Parses the one spelling of a mirror-info, at most MAX_INFO_SIZE bytes; else FormatError."""
    what = "mirror-info"
    lines = split_lines(parse_text(data, what, most=MAX_INFO_SIZE))
    if len(lines) != 3:
        raise FormatError(f"{what}: {len(lines)} lines instead of 3")
    size, next_entry, ticket = lines
    found = parse_base64(ticket, f"{what}: ticket")
    if len(found) > MAX_TICKET:
        raise FormatError(f"{what}: a ticket of {len(found)} bytes")
    return MirrorInfo(
        parse_decimal(size, f"{what}: tree size"),
        parse_decimal(next_entry, f"{what}: next entry"),
        found,
    )
