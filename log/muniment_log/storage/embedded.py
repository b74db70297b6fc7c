"""The writer's tile source (C2SP tlog-tiles): the right edge in memory, the rest from storage."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from muniment.local.bytecache import ByteCache
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, tile_at
from muniment.tlog.treereader import is_below, place_above
from muniment_log.core.integrate import cut_bundle
from muniment_log.errors import DamagedTileError, PrunedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from muniment.tlog.treereader import Place
    from muniment_log.core.integrate import Integration, RightEdge

_Key = TypeVar("_Key")

CACHED_TILES: Final = 1024
"""Full hash tiles kept in memory: 8 MiB. Enough for the proofs of the last 250,000 leaves and all
upper levels of a billion."""

REMEMBERED_BUNDLES: Final = 16_384
"""Bundles whose digests are kept in memory, some 2 MiB: four million leaves, read over and over."""


RECENT_BYTES: Final = 32 << 20
"""Of the newest full bundles, kept in memory where they are sent on: as much as a second's."""


class FullTiles(Protocol):
    """Where full tiles and the published checkpoint are stored."""

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """The full tiles at (level, index), level -1 for entry bundles, in the order asked for.

        Raises:
            DamagedTileError: one is not stored.
            StorageError: the storage fails.
        """
        ...

    async def put_published(self, note: bytes) -> None:
        """Stores the published checkpoint, before it is served.

        Raises StorageError if it is not known to be stored.
        """
        ...


class EmbeddedTiles:
    """A `TileSource` in the process that integrates; belongs to the event loop.

    It is told of every commit, so what was written last is read without touching the
    file: a lone decision's proof costs no disk access and no thread. What is read from storage is
    checked before it is used or kept, up to the right edge, which was checked against the root of
    the tree at the start: what rots in storage is noticed before anything is computed from it.

    A bundle is hashed leaf by leaf for its first reader. Its SHA-256 is remembered then, and what
    is read of it later is compared with that: a third of the work, and rot is noticed as surely.
    """

    def __init__(
        self,
        store: FullTiles,
        edge: RightEdge,
        published: bytes | None,
        *,
        damaged: Callable[[DamagedTileError], object] = lambda _: None,
        recent: int = 0,
        pruned: int = 0,
    ) -> None:
        """Takes the storage, the right edge, and the published checkpoint.

        `damaged` is told of each tile that is not what it must be. Of the newest full bundles it
        keeps `recent` bytes as they were committed, for who reads them at once. Entries below the
        index `pruned` are not there any more.
        """
        self._pruned = pruned
        self._store = store
        self._recent: ByteCache[int, bytes] = ByteCache(recent)
        self._edge = edge
        self._published = published
        self._cache: OrderedDict[Place, bytes] = OrderedDict()
        self._digests: OrderedDict[int, bytes] = OrderedDict()  # of bundles, by index
        self._damaged = damaged

    @property
    def edge(self) -> RightEdge:
        """The committed right edge."""
        return self._edge

    def size(self) -> int:
        """Leaves in the tree, now."""
        return self._edge.head.size

    def follow(self, edge: RightEdge) -> None:
        """Goes on to the right edge of a larger tree that somebody else has made."""
        self._edge = edge

    def advance(self, change: Integration) -> None:
        """Takes over what a commit has written."""
        self._edge = change.edge
        if self._recent.most:
            for index, bundle in change.bundles:
                self._recent.put(index, bundle)
        for level, index, data in change.tiles:
            if len(data) == TILE_WIDTH * HASH_SIZE:
                self._keep((level, index), data)

    async def publish(self, note: bytes) -> None:
        """Stores a published checkpoint, then gives it out.

        Raises StorageError if it is not known to be stored, and is not given out.
        """
        await self._store.put_published(note)
        self._published = note

    async def checkpoint(self) -> bytes | None:
        """The published checkpoint as last stored, or None before the first."""
        return self._published

    async def read(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """The bytes of tiles and bundles, see `TileSource`."""
        edge = self._edge
        found: dict[Tile, bytes] = {}
        missing: list[Tile] = []
        for tile in tiles:
            level = max(tile.level, 0)
            end = (tile.index * TILE_WIDTH + tile.width) << (TILE_HEIGHT * level)
            if end > edge.head.size:
                raise LookupError(f"{tile.path} reaches beyond the tree")
            if tile.level == ENTRIES and end <= self._pruned:
                raise PrunedError(tile.path, self._pruned)
            data = edge.read(tile)
            if data is None:
                data = self._cached(tile)
            if data is None:
                missing.append(tile)
            else:
                found[tile] = data
        if missing:
            checked = await self._load(edge, {(tile.level, tile.index) for tile in missing})
            for tile in missing:
                found[tile] = _cut(tile, checked[tile.level, tile.index])
        return found

    async def _load(self, edge: RightEdge, keys: set[Place]) -> dict[Place, bytes]:
        """Reads full tiles, with what witnesses for them, in one round; checks from the top."""
        wanted: set[Place] = set()
        checked: dict[Place, bytes] = {}
        digests: dict[Place, bytes] = {}
        for tile in keys:
            key = tile
            while key not in wanted and key not in checked:
                known = _in_edge(edge, key) or self._cache.get(key)
                if known is None:
                    wanted.add(key)
                    if key[0] == ENTRIES and (digest := self._digests.get(key[1])) is not None:
                        digests[key] = digest
                        break
                    key = place_above(*key)
                else:
                    checked[key] = known
        order = sorted(wanted, reverse=True)
        try:
            for key, data in zip(order, await self._store.tiles(order), strict=True):
                # An auditor asks for a bundle and its hashes at the same time: both reads need
                # these, and the first one to come back has checked them for both.
                known = self._cache.get(key)
                if known is not None:
                    checked[key] = known
                    continue
                digest = sha256(data).digest() if key[0] == ENTRIES else None
                if key in digests:
                    is_right = digest == digests[key]
                else:
                    is_right = is_below(*key, data, checked[place_above(*key)])
                if not is_right:
                    raise DamagedTileError(Tile(*key).path, "is damaged")
                checked[key] = data
                if digest is None:
                    self._keep(key, data)
                else:
                    _put(self._digests, key[1], digest, REMEMBERED_BUNDLES)
        except DamagedTileError as error:
            self._damaged(error)
            raise
        return checked

    @property
    def min_index(self) -> int:
        """The index of the first entry that is kept."""
        return self._pruned

    async def leaves(self, start: int) -> AsyncIterator[bytes]:
        """The leaves from an index on, a bundle at a time; those that the tree has now."""
        size = self.size()
        for index in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            tile = tile_at(ENTRIES, index, size)
            leaves = unframe((await self.read([tile]))[tile])
            for leaf in leaves[max(0, start - index * TILE_WIDTH) :]:
                yield leaf

    def _cached(self, tile: Tile) -> bytes | None:
        if tile.level == ENTRIES:
            bundle = self._recent.get(tile.index)
            return None if bundle is None else _cut(tile, bundle)
        data = self._cache.get((tile.level, tile.index))
        if data is None:
            return None
        self._cache.move_to_end((tile.level, tile.index))
        return _cut(tile, data)

    def _keep(self, key: Place, data: bytes) -> None:
        _put(self._cache, key, data, CACHED_TILES)


def _put(cache: OrderedDict[_Key, bytes], key: _Key, value: bytes, capacity: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > capacity:
        cache.popitem(last=False)


def _in_edge(edge: RightEdge, key: Place) -> bytes | None:
    """The partial tile at a place, as long as it is; None where the tile is full."""
    level, index = key
    if level == ENTRIES:
        return None
    if level >= len(edge.tiles.partials):
        raise AssertionError(f"a tree of {edge.head.size} has no level {level}")
    at = edge.head.size >> (TILE_HEIGHT * (level + 1))
    return edge.tiles.partials[level] if index == at else None


def _cut(tile: Tile, full: bytes) -> bytes:
    if tile.width == TILE_WIDTH:
        return full
    if tile.level == ENTRIES:
        return cut_bundle(full, tile.width)
    return full[: tile.width * HASH_SIZE]
