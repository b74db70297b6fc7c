"""Whether a full tile is the one that the tree was made of (C2SP tlog-tiles, RFC 6962 section 2.1).

Every full tile is witnessed by another: its root is a hash of the tile above it, and the hashes of
a bundle's entries are the tile of level 0 next to it. The chain ends in the right edge, which was
checked against the root of the tree at the start and has been kept in memory since. So what rots
in storage is noticed when it is read, before anything is computed from it.
"""

from __future__ import annotations

from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.merkle import HASH_SIZE, leaf_hashes, root_of, split_hashes
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile
from muniment_log.errors import DamagedTileError

Key = tuple[int, int]
"""Level (`ENTRIES` for a bundle) and index of a full tile."""


def above(key: Key) -> Key:
    """The tile that witnesses for a full one."""
    level, index = key
    return (0, index) if level == ENTRIES else (level + 1, index >> TILE_HEIGHT)


def check(key: Key, data: bytes, witness: bytes) -> None:
    """Checks a full tile or bundle against the tile above it.

    Costs 255 hashes; for a bundle, 256 hashes of entries.

    Args:
        key: the tile.
        data: its bytes.
        witness: the bytes of the tile `above` it, partial or full, which was checked.

    Raises:
        DamagedTileError: it is not the one that the tree was made of.
    """
    level, index = key
    if level == ENTRIES:
        try:
            sound = b"".join(leaf_hashes(unframe(data, "bundle"))) == witness
        except FormatError:
            sound = False
    else:
        at = index % TILE_WIDTH * HASH_SIZE
        hashes = split_hashes(data)
        sound = (
            len(data) == TILE_WIDTH * HASH_SIZE and root_of(hashes) == witness[at : at + HASH_SIZE]
        )
    if not sound:
        raise DamagedTileError(Tile(level, index, TILE_WIDTH).path, "is damaged")
