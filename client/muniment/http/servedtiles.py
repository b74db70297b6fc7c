"""C2SP tlog-tiles, static-ct-api: tiles and bundles as a log, a mirror or a cache serves them.

Servers differ: partial tiles may have been dropped, entries may come as data tiles of
static-ct-api, and one copy of a log may be behind another. Nothing that is read is verified beyond
its form; see `logtiles` for tiles that are.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from muniment.errors import BadAnswer, Refused, Unreachable
from muniment.tlog import sumdb
from muniment.tlog.contentcoding import gunzip
from muniment.tlog.encoding import FormatError, MunimentError, frame
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.staticct import data_path, leaves_of
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, check_tile, tile_at
from muniment.tlog.treereader import read_served

_ABSENT: Final = 404
_DROPPED: Final = frozenset({_ABSENT, 410})
_MAX_TILE: Final = TILE_WIDTH * HASH_SIZE
_MAX_BUNDLE: Final = TILE_WIDTH * (2 + 65_535)
_MAX_DATA: Final = 2 * _MAX_BUNDLE  # a precertificate is in it twice
_GZIP: Final = b"\x1f\x8b"


class Get(Protocol):
    """Reads at most `limit` bytes of a path; as `LogClient`, it tries several times."""

    def __call__(self, path: str, *, limit: int) -> Awaitable[bytes]:
        """Raises ``Unreachable``, ``Refused`` or ``BadAnswer``."""
        ...


class ServedTiles:
    """The tiles of one log under one URL.

    Attributes:
        is_sumdb: Whether that serves them under the paths of Go's checksum database.
    """

    def __init__(self, url: str, get: Get, pauses: Sequence[float]) -> None:
        """Takes the seconds to wait, one after the other, for a tile that is not there yet."""
        self._url = url
        self._get = get
        self._pauses = pauses
        self._shown = 0  # leaves of the newest checkpoint that was read
        self._has_data: bool | None = None  # entries are served as data tiles of static-ct-api
        self.is_sumdb = False  # the paths are those of Go's checksum database

    def show(self, checkpoint: bytes) -> None:
        """Notes the size of a checkpoint that was read, whatever its form: tiles of it must be."""
        size = checkpoint.split(b"\n", 2)[1:2]
        if size and size[0].isdigit() and len(size[0]) < 20:
            self._shown = max(self._shown, int(size[0]))

    @property
    def has_usual_paths(self) -> bool:
        """Whether `request` is known to be wrong of no tile."""
        return not self.is_sumdb and not self._has_data

    @staticmethod
    def request(tile: Tile) -> tuple[str, int]:
        """The path at which most logs have it, and the most bytes that it has."""
        return f"/{tile.path}", _MAX_BUNDLE if tile.level == ENTRIES else _MAX_TILE

    @staticmethod
    def fits(tile: Tile, data: bytes) -> bool:
        """Whether what is at that path can be it."""
        return tile.level == ENTRIES or len(data) == tile.width * HASH_SIZE

    async def read(self, tile: Tile) -> bytes:
        """Reads a hash tile (32 bytes a hash) or an entry bundle, as it stands at ``tile.width``.

        Logs may drop a partial tile once its full tile exists; then the full one is read and cut,
        which is why the length of a bundle is not its file's.

        A tile that is not there is asked for again, `pauses` long: a head and the tiles below it
        may come from two copies of the log, one of which is a moment behind.

        Raises:
            Unreachable: If no answer came, or whoever answers is still behind the checkpoint.
            Refused: If the log does not have it, but what comes after it.
            BadAnswer: If its length cannot be that of the tile, or a bundle is malformed where it
                had to be cut.
        """
        for pause in (*self._pauses, None):
            try:
                return await self._read(tile)
            except Refused as refusal:
                if refusal.problem.status != _ABSENT:
                    raise
                if (bundle := await self._look_for_data(tile, refusal)) is not None:
                    return bundle
                if pause is None:
                    raise await self._absence(tile, refusal) from None
            await asyncio.sleep(pause)
        raise AssertionError("the loop returns or raises")

    async def _absence(self, tile: Tile, refusal: Refused) -> Unreachable | Refused:
        """Tells a copy that is behind, which ends somewhere, from a log that lacks a part."""
        size = self._shown
        if not size:
            return refusal
        published = refusal.problem.integer("published")
        if refusal.problem.slug == "not-published-yet" and published is not None:
            return Unreachable(
                f"{self._url}/{tile.path}: whoever answers has published {published} leaves only, "
                f"the checkpoint is of {size}: two copies of the log, one of them behind"
            )
        edge = tile_at(min(tile.level, 0), (size - 1) // TILE_WIDTH, size)
        if edge != tile:
            try:
                await self._read(edge)
            except Refused:
                pass
            else:
                return refusal
        return Unreachable(
            f"{self._url}/{tile.path}: not there (HTTP {_ABSENT}), nor the newest tile: whoever "
            f"answers is behind the checkpoint of {size} leaves: another copy of the log, or a "
            "cache that keeps old answers"
        )

    async def _look_for_data(self, tile: Tile, refusal: Refused) -> bytes | None:
        """An entry bundle made of a data tile, the first time that the log lacks a bundle."""
        if (
            tile.level != ENTRIES
            or self._has_data is not None
            or self.is_sumdb
            or refusal.problem.is_own
        ):
            return None
        try:
            bundle = await self._read_data(tile)
        except Refused:
            return None
        self._has_data = True
        return bundle

    async def _read(self, tile: Tile) -> bytes:
        if tile.level == ENTRIES and self._has_data:
            return await self._read_data(tile)

        async def get(tile: Tile) -> bytes:
            path, most = self.request(tile)
            if self.is_sumdb:
                path = f"/{sumdb.tile_path(tile)}"
            data = await self._get(path, limit=most)
            if not self.fits(tile, data):
                check_tile(tile, data)  # says so
            if self.is_sumdb and tile.level == ENTRIES:
                return frame(sumdb.leaves_of(data, most=tile.width))
            return data

        try:
            return await read_served(tile, get, is_dropped=_is_dropped)
        except (FormatError, ValueError) as error:
            raise BadAnswer(str(error)) from None

    async def _read_data(self, tile: Tile) -> bytes:
        """Reads a data tile of static-ct-api, and makes of it what would be the entry bundle."""

        async def get(tile: Tile) -> bytes:
            return await self._get(f"/{data_path(tile)}", limit=_MAX_DATA)

        data = await read_served(tile, get, is_dropped=_is_dropped, cut=lambda _, whole: whole)
        try:
            if data.startswith(_GZIP):
                # As Sunlight stores it; a plain web server does not say so. No tile begins like
                # this: the first bytes of a time in milliseconds are 0.
                data = gunzip(data, _MAX_DATA)
            return frame(leaves_of(data, most=tile.width))
        except (FormatError, ValueError) as error:
            raise BadAnswer(f"{data_path(tile)}: {error}") from None


def _is_dropped(error: MunimentError) -> bool:
    return isinstance(error, Refused) and error.problem.status in _DROPPED
