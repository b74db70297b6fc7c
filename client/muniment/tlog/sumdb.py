"""The paths of Go's checksum database (golang.org/x/mod/sumdb), where they are not tlog-tiles'.

It is a tlog-tiles log in all but names: its checkpoint is at ``/latest``, a tile has its height
(always 8 here) in its path, and entries come as text, each with an empty line after it. Every such
log has one origin, whatever its key is called.
"""

from typing import Final

from muniment.tlog.encoding import FormatError
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, Tile

ORIGIN: Final = "go.sum database tree"
"""The first line of every checkpoint of such a log (x/mod/sumdb/tlog, FormatTree)."""

LATEST: Final = "latest"
"""The path of the checkpoint."""

_PREFIX: Final = f"tile/{TILE_HEIGHT}/"


def checkpoint_paths(origin: str) -> tuple[str, ...]:
    """Where a log of an origin may have its checkpoint, in the order in which to look."""
    return ("checkpoint", LATEST) if origin == ORIGIN else ("checkpoint",)


def tile_paths(origin: str, tile: Tile) -> tuple[str, ...]:
    """Where a log of an origin may have a tile, in the order in which to look."""
    return (tile.path, tile_path(tile)) if origin == ORIGIN else (tile.path,)


def tile_path(tile: Tile) -> str:
    """The path of a tile, or of the records in the place of an entry bundle."""
    path = (
        tile.path.replace("tile/entries/", "tile/data/", 1) if tile.level == ENTRIES else tile.path
    )
    return path.replace("tile/", _PREFIX, 1)


def is_latest(data: bytes) -> bool:
    """Whether an answer may be the checkpoint of such a log."""
    return data.startswith(f"{ORIGIN}\n".encode())


def leaves_of(data: bytes, *, most: int) -> list[bytes]:
    """The first records of a data tile, each with its final newline; FormatError if it is none."""
    *records, rest = data.split(b"\n\n")
    if rest or not all(records):
        raise FormatError("data tile: not records with an empty line after each")
    return [record + b"\n" for record in records[:most]]
