"""Removes partial tiles from the bucket once full ones have replaced them (C2SP tlog-tiles).

A place is tidied when its tile is full in the tree that the bucket's checkpoint shows, the full
tile has been there for the time of grace, and it was read and found to be the tree's: a partial
tile may be the last good copy of what it holds. The integrator that leads does it.

Places come in folders of a thousand, so one look costs two listings for 256,000 leaves that are
new, and one more for each place that had partial tiles.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, parse_decimal
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, TILE_WIDTH, Tile
from muniment_log.cluster.objects import SwapLostError
from muniment_log.errors import DamagedTileError, StorageError, UnavailableError
from muniment_log.storage.tilewriter import PARTIALS_SECONDS, TIDY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.core.ports import TileSource

TIDIED: Final = "tidied"
"""The object that says up to which leaf all places were tidied."""

_FOLDER: Final = 1000
"""Places in one folder, by their paths."""

_SUFFIX: Final = ".p"
_LOGGER: Final = logging.getLogger(__name__)


class PartialTiles:
    """Does it again and again; `run` is its one task."""

    def __init__(
        self,
        objects: ObjectStore,
        tiles: TileSource,
        now: Callable[[], float],
        grace_seconds: float = PARTIALS_SECONDS,
    ) -> None:
        """`tiles` gives the tree's tiles out of `objects`, verified; `now` gives Unix seconds."""
        self._objects = objects
        self._tiles = tiles
        self._now = now
        self._grace = grace_seconds

    async def run(self) -> None:
        """Tidies until cancelled; what goes wrong is told, and tried again."""
        while True:
            try:
                removed = await self.tidy()
                if removed:
                    event(_LOGGER, logging.INFO, "removed partial tiles", objects=removed)
            except (UnavailableError, StorageError, SwapLostError, FormatError) as error:
                event(_LOGGER, logging.WARNING, "partial tiles stay for now", reason=str(error))
            await asyncio.sleep(TIDY_SECONDS)

    async def tidy(self) -> int:
        """Removes what may go now; how many objects that were.

        Raises:
            StorageError: the store refuses, or what it holds is damaged.
            UnavailableError: it does not answer in time.
            SwapLostError: somebody else tidies.
            FormatError: its checkpoint, or what it says was tidied, cannot be read.
        """
        checkpoint = await self._objects.get_versioned(CHECKPOINT)
        if checkpoint is None:
            return 0
        size = parse_signed_checkpoint(checkpoint[0]).checkpoint.size
        noted = await self._objects.get_versioned(TIDIED)
        start = 0 if noted is None else parse_decimal(noted[0].decode("ascii", "replace"), TIDIED)
        removed, done = 0, size // TILE_WIDTH * TILE_WIDTH
        level, span = 0, TILE_WIDTH
        while span <= size:
            for kind in (level, ENTRIES) if level == 0 else (level,):
                for folder in range(start // span // _FOLDER, -(-(size // span) // _FOLDER)):
                    count, young = await self._tidy_folder(kind, folder * _FOLDER, size // span)
                    removed += count
                    if young is not None:
                        done = min(done, young * span)
            level, span = level + 1, span * TILE_WIDTH
        if done > start:
            version = None if noted is None else noted[1]
            await self._objects.swap(TIDIED, b"%d" % done, version)
        return removed

    async def _tidy_folder(self, level: int, first: int, end: int) -> tuple[int, int | None]:
        """Tidies the folder of a place, as far as places below `end` go.

        Returns how many objects are gone, and the first place that must be looked at again.
        """
        folder = Tile(level, first).path.rpartition("/")[0]
        found = await self._objects.list_folder(folder)
        removed, young = 0, None
        for name in sorted(found.folders):
            place = name.removesuffix(_SUFFIX)
            if place == name or not place.isdecimal() or first + int(place) >= end:
                continue
            tile = Tile(level, first + int(place))
            since = found.objects.get(place)
            if since is None or since.timestamp() > self._now() - self._grace:
                young = tile.index if young is None else young
                continue
            try:
                await self._tiles.read([tile])
            except (DamagedTileError, LookupError) as error:
                event(_LOGGER, logging.ERROR, "partial tiles stay", tile=tile.path, error=error)
                young = tile.index if young is None else young
                continue
            removed += await self._remove(f"{folder}/{name}")
        return removed, young

    async def _remove(self, folder: str) -> int:
        found = (await self._objects.list_folder(folder)).objects
        widths = [name for name in found if name.isdecimal()]  # SeaweedFS lists a folder in itself
        for width in widths:
            await self._objects.delete(f"{folder}/{width}")
        return len(widths)
