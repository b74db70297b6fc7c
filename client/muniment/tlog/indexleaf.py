"""A leaf of an index log: what the map over a log's leaves is at one size of that log.

::

    muniment-index/v1
    <origin of the log>
    map <version of the map function>
    <tree size of the log>
    <root hash of the log at that size, base64>
    <root hash of the map over these leaves, base64>

Every line ends with a newline. An index log is a log of its own, whose origin `index_origin` gives;
each leaf is about one published head of the log that it indexes.
"""

from typing import Final

from msgspec import Struct

from muniment.tlog.checkpoint import Checkpoint
from muniment.tlog.encoding import (
    FormatError,
    format_base64,
    parse_decimal,
    parse_hash,
    parse_text,
    split_lines,
)
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE

HEADER: Final = "muniment-index/v1"
"""The first line."""

MAX_INDEX_LEAF: Final = 4 * 1024
"""Longest leaf in bytes: an origin is a line of a checkpoint, and a short one."""

MAX_VERSION: Final = 2**31 - 1
"""Largest version of the map function."""

_MAP: Final = "map "
_LINES: Final = 6


class IndexLeaf(Struct, frozen=True):
    """What an index log states of a log: its head, and the map root over exactly these leaves.

    Raises FormatError if a member cannot stand in a leaf, or the leaf is longer than
    MAX_INDEX_LEAF bytes.
    """

    origin: str
    head: Head
    map_root: bytes
    version: int = 1

    def __post_init__(self) -> None:
        try:
            Checkpoint(self.origin, *self.head)
        except FormatError as error:
            raise FormatError(f"index leaf: {error}") from None
        if len(self.map_root) != HASH_SIZE:
            raise FormatError(f"index leaf: map root of {len(self.map_root)} bytes")
        if not 1 <= self.version <= MAX_VERSION:
            raise FormatError(f"index leaf: map version is not between 1 and {MAX_VERSION}")
        if len(self.encode()) > MAX_INDEX_LEAF:
            raise FormatError(f"index leaf: more than {MAX_INDEX_LEAF} bytes")

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the text, without their newlines."""
        return (
            HEADER,
            self.origin,
            f"{_MAP}{self.version}",
            str(self.head.size),
            format_base64(self.head.root),
            format_base64(self.map_root),
        )

    def encode(self) -> bytes:
        """The bytes of the leaf; `parse_index_leaf` gives back an equal value."""
        return "\n".join((*self.lines, "")).encode()


def parse_index_leaf(data: bytes) -> IndexLeaf:
    """Parses the one spelling of an index leaf; FormatError if it is not that, or too long."""
    lines = split_lines(parse_text(data, "index leaf", most=MAX_INDEX_LEAF))
    if len(lines) != _LINES:
        raise FormatError(f"index leaf: {len(lines)} lines instead of {_LINES}")
    header, origin, version, size, root, map_root = lines
    if header != HEADER:
        raise FormatError(f"index leaf: the first line is not {HEADER}")
    if not version.startswith(_MAP):
        raise FormatError("index leaf: no map version")
    return IndexLeaf(
        origin,
        Head(
            parse_decimal(size, "index leaf: tree size"),
            parse_hash(root, "index leaf: root hash"),
        ),
        parse_hash(map_root, "index leaf: map root"),
        parse_decimal(version[len(_MAP) :], "index leaf: map version", most=MAX_VERSION),
    )


def index_origin(origin: str, version: int = 1) -> str:
    """The origin of the index log of a log: a changed map function has an index log of its own."""
    return f"{origin}/index{'' if version == 1 else version}"
