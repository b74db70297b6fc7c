"""Full tiles and entry bundles out of the log's file, for any process that may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from muniment_log.errors import DamagedTileError
from muniment_log.storage.reporting import reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_service.readers import Readers

_PLACES: Final = 256
"""Tiles that one statement asks for: SQLite joins up to 500 selects."""


async def read_tiles(readers: Readers, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
    """The full tiles at (level, index), ENTRIES for bundles, in the order asked for.

    Raises:
        DamagedTileError: one is not stored.
        StorageError: the file cannot be read.
    """
    with reported("reading tiles"):
        rows = [
            row
            for start in range(0, len(wanted), _PLACES)
            for row in await readers.rows(*_select_tiles(wanted[start : start + _PLACES]))
        ]
    for (level, index), (data,) in zip(wanted, rows, strict=True):
        if data is None:
            raise DamagedTileError(Tile(level, index, TILE_WIDTH).path, "is missing")
    return [data for (data,) in rows]


def _select_tiles(places: Sequence[tuple[int, int]]) -> tuple[str, list[int]]:
    """One statement for the tiles at (level, index), in order; NULL for what is not there."""
    return (
        " UNION ALL ".join(
            "SELECT (SELECT data FROM bundle WHERE idx = ?)"
            if level == ENTRIES
            else "SELECT (SELECT data FROM tile WHERE level = ? AND idx = ?)"
            for level, _ in places
        ),
        [
            value
            for level, index in places
            for value in ((index,) if level == ENTRIES else (level, index))
        ],
    )
