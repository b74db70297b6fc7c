"""C2SP tlog-tiles, "Merkle Tree" and "Log entries": which tiles a tree has, their paths, contents.

A tile is up to 256 consecutive hashes of one tile level L, where the hash at position i is the
Merkle tree hash of the leaves [i * 256**L, (i + 1) * 256**L). Tiles and entry bundles of level 0
cover the same leaves. What a tree of some size consists of is a pure function of that size.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from muniment.tlog.encoding import MAX_SIZE, FormatError, frame, parse_decimal, unframe
from muniment.tlog.merkle import HASH_SIZE, split_hashes

TILE_HEIGHT: Final = 8
"""Levels of the tree, in bits of the index, that one level of tiles spans."""

TILE_WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""

MAX_LEVEL: Final = 63
"""Highest tile level a path may name; trees of 2**63 leaves end at level 7."""

ENTRIES: Final = -1
"""The `level` of an entry bundle."""

CHECKPOINT: Final = "checkpoint"
"""The path of a log's newest checkpoint, beside those of its tiles."""

COSIGNED: Final = "checkpoint.cosigned"
"""The path of the newest checkpoint that witnesses with a rate of their own have cosigned, too; our
own, no C2SP text has it."""

MIRRORED: Final = "checkpoint.mirrored"
"""The path of the newest checkpoint whose leaves mirrors hold; likewise."""

# MAX_SIZE has 19 digits, so at most seven groups of three; the bound also bounds int().
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[0-9]{1,3}))?"
)


class Tile(NamedTuple):
    """Coordinates of a hash tile (level 0 for leaf hashes) or an entry bundle (level ENTRIES).

    The index counts the tiles of its level. A full one holds TILE_WIDTH hashes or entries, a
    partial one fewer.
    """

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which coordinates have no use for
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where a log serves it, relative to the log's prefix: ``tile/0/x001/x234/067.p/8``."""
        kind = "entries" if self.level == ENTRIES else str(self.level)
        digits = str(self.index)
        digits = "0" * (-len(digits) % 3) + digits
        *high, last = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        place = "".join([f"x{group}/" for group in high]) + last
        suffix = f".p/{self.width}" if self.is_partial else ""
        return f"tile/{kind}/{place}{suffix}"

    @property
    def is_partial(self) -> bool:
        """Whether it has room for more; only full tiles are hashed into the level above."""
        return self.width < TILE_WIDTH

    @property
    def full(self) -> Self:
        """The full tile in its place, of which it is a prefix."""
        return self._replace(width=TILE_WIDTH)

    @property
    def start(self) -> int:
        """First leaf index it spans."""
        return self.index * TILE_WIDTH << TILE_HEIGHT * max(self.level, 0)

    @property
    def end(self) -> int:
        """Leaf index after the last it spans; less for a partial tile than for a full one."""
        return self.index * TILE_WIDTH + self.width << TILE_HEIGHT * max(self.level, 0)


def parse_tile_path(path: str) -> Tile:
    """Parses the path of a tile or bundle as `Tile.path` writes it, without a leading slash.

    Raises FormatError if the path is not the one spelling of a tile: level at most MAX_LEVEL, index
    at most MAX_SIZE, width 1 to 255 for a partial tile.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise FormatError("tile path: not tile/<level>/<index>[.p/<width>]")
    level, index, width = match.group("level", "index", "width")
    tile = Tile(
        ENTRIES if level == "entries" else parse_decimal(level, "tile level", most=MAX_LEVEL),
        int(index.replace("/", "").replace("x", "")),
        TILE_WIDTH if width is None else parse_decimal(width, "tile width", most=TILE_WIDTH - 1),
    )
    # Catches the rest: an index padded by a whole group, and a width of zero.
    if tile.index > MAX_SIZE or not tile.width or tile.path != path:
        raise FormatError("tile path: not canonical")
    return tile


def tile_at(level: int, index: int, size: int) -> Tile:
    """The tile or bundle at a place, as a tree of `size` has it; ValueError if it has none."""
    width = _count(level, size) - index * TILE_WIDTH
    if width <= 0 or index < 0:
        raise ValueError(f"a tree of size {size} has no tile {index} at level {level}")
    return Tile(level, index, min(width, TILE_WIDTH))


def tiles_of(size: int) -> Iterator[Tile]:
    """Yields the hash tiles of a tree, all levels, lowest first."""
    return new_tiles(0, size)


def new_tiles(old: int, new: int) -> Iterator[Tile]:
    """Yields the hash tiles that a tree of size `new` has and a tree of size `old` has not.

    Tiles that became wider are among them. The lowest level comes first, as integrating needs it:
    the entries of a level are the roots of the full tiles below.
    """
    if not 0 <= old <= new:
        raise ValueError(f"no tree grows from {old} to {new} leaves")
    return (
        tile_at(level, index, new)
        for level in range(-(-new.bit_length() // TILE_HEIGHT))
        for index in _indices(_count(level, old), _count(level, new))
    )


def bundles_of(start: int, end: int, size: int) -> Iterator[Tile]:
    """Yields the entry bundles that cover the leaves [start, end) in a tree of `size` leaves.

    The bundles that are new when a tree grows are those of ``bundles_of(old, new, new)``.
    """
    if not 0 <= start <= end <= size:
        raise ValueError(f"a tree of size {size} has no leaves [{start}, {end})")
    return (tile_at(ENTRIES, index, size) for index in _indices(start, end))


def check_tile(tile: Tile, data: bytes) -> list[bytes]:
    """Splits a hash tile into hashes, true or not; FormatError if there are more or fewer."""
    if tile.level == ENTRIES:
        raise ValueError(f"{tile.path} holds no hashes")
    if len(data) != tile.width * HASH_SIZE:
        raise FormatError(f"{tile.path}: {len(data)} bytes instead of {tile.width * HASH_SIZE}")
    return split_hashes(data)


def check_bundle(tile: Tile, data: bytes) -> list[bytes]:
    """Splits an entry bundle into its entries; FormatError if it is not `tile.width` of them."""
    if tile.level != ENTRIES:
        raise ValueError(f"{tile.path} holds no entries")
    entries = unframe(data, tile.path, most=TILE_WIDTH)
    if len(entries) != tile.width:
        raise FormatError(f"{tile.path}: {len(entries)} entries instead of {tile.width}")
    return entries


def cut_tile(tile: Tile, whole: bytes) -> bytes:
    """Cuts a partial tile or bundle out of its full one; FormatError if that is malformed."""
    if tile.level == ENTRIES:
        return frame(check_bundle(tile.full, whole)[: tile.width])
    check_tile(tile.full, whole)
    return whole[: tile.width * HASH_SIZE]


def _count(level: int, size: int) -> int:
    """Returns how many hashes (or entries) a tree has at a tile level."""
    return size >> TILE_HEIGHT * max(level, 0)


def _indices(start: int, end: int) -> range:
    """Returns the indices of the tiles that hold the positions [start, end) of their level."""
    if start == end:
        return range(0)
    return range(start // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1)
