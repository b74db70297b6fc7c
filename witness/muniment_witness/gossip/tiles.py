"""C2SP tlog-tiles: reading the tiles of a view from a log or a peer, and keeping those that held.

Only verified tiles are ever kept, and only those of views on this witness's own side: what it
serves under its monitoring prefix is what it has checked. The cache is bounded in bytes, lives in
memory, and can be lost at any time.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from muniment.local.bytecache import ByteCache
from muniment.local.taskgroup import TaskGroup
from muniment.tlog import sumdb
from muniment.tlog.encoding import MAX_ENTRY, FormatError, MunimentError, VerificationError
from muniment.tlog.heads import Head, Prefix
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from muniment.tlog.treereader import prefix_from, read_served, tiles_of_prefix
from muniment_witness.gossip.net import Transport, UnreachableError, get_first
from muniment_witness.witnessfile import CACHE_BYTES

_TILE_BYTES: Final = TILE_WIDTH * HASH_SIZE
_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY)


class UnresolvedError(MunimentError):
    """No source gave tiles that belong to the view; says nothing about the log. One line."""


class _StatusError(UnreachableError):
    """Whoever was asked has answered, but not with the tile."""


class TileCache:
    """Verified tiles by origin and coordinates; the least recently used are dropped first."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        """Makes an empty cache of at most `most` bytes of tiles."""
        self._tiles: ByteCache[tuple[str, Tile], bytes] = ByteCache(most)

    @property
    def size(self) -> int:
        """The bytes of all tiles."""
        return self._tiles.size

    def get(self, origin: str, tile: Tile) -> bytes | None:
        """A tile, also when only a wider one in its place is held."""
        for key in ((origin, tile), (origin, tile.full)):
            data = self._tiles.get(key)
            if data is not None:
                return data[: tile.width * HASH_SIZE]
        return None

    def put(self, origin: str, tiles: Mapping[Tile, bytes]) -> None:
        """Keeps verified tiles of this witness's own view."""
        for tile, data in tiles.items():
            self._tiles.put((origin, tile), data)


class TileReader:
    """Finds out what a view has at an older size, from the cache, a log, or a peer."""

    def __init__(self, transport: Transport, cache: TileCache) -> None:
        self._transport = transport
        self.cache: Final = cache

    async def prefix(
        self, origin: str, old: int, view: Head, prefixes: Sequence[str]
    ) -> tuple[Prefix, dict[Tile, bytes]]:
        """Reads and verifies tiles until some source's belong to the view.

        The older size is above 0 and below the view's; the URL `prefixes` are asked in their order.
        Gives what the view has at the older size, and the tiles that show it. Raises
        UnresolvedError if no source did; the message says why, source by source.
        """
        wanted = tiles_of_prefix(old, view.size)
        cached = {tile: data for tile in wanted if (data := self.cache.get(origin, tile))}
        reasons: list[str] = []
        for prefix in ("", *prefixes):
            # The cache is of our own side: with tiles of another side it cannot fit.
            for held in (cached, {}) if cached and prefix else (cached,):
                missing = [tile for tile in wanted if tile not in held]
                if missing and not prefix:
                    continue
                try:
                    tiles = {**held, **await self.fetch(origin, prefix, missing)}
                    return prefix_from(view, old, tiles), tiles
                except (UnreachableError, FormatError, VerificationError) as error:
                    reasons.append(str(error))
        raise UnresolvedError("; ".join(dict.fromkeys(reasons)) or "nobody to ask for tiles")

    async def fetch(self, origin: str, prefix: str, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """Reads tiles and bundles of a log under a URL prefix at the same time, unverified.

        Raises UnreachableError or FormatError if one could not be read.
        """
        async with TaskGroup() as group:
            tasks = [group.create_task(self._read_one(origin, prefix, tile)) for tile in tiles]
        contents = [task.result() for task in tasks]
        read: dict[Tile, bytes] = {}
        for tile, content in zip(tiles, contents, strict=True):
            if isinstance(content, MunimentError):
                raise content
            read[tile] = content
        return read

    async def _read_one(self, origin: str, prefix: str, tile: Tile) -> bytes | MunimentError:
        async def get(tile: Tile) -> bytes:
            most = _BUNDLE_BYTES if tile.level == ENTRIES else _TILE_BYTES
            paths = sumdb.tile_paths(origin, tile)
            answer = await get_first(self._transport, prefix, paths, most=most)
            if answer.status != 200:
                raise _StatusError(f"{tile.path}: status {answer.status}")
            return answer.body

        try:
            # Whatever the status: a bucket may answer 403 for what it does not have.
            return await read_served(
                tile, get, is_dropped=lambda error: isinstance(error, _StatusError)
            )
        except MunimentError as error:
            return error
