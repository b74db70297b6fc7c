"""The tile source of frontends: published trees, read out of a bucket."""

import re

import pytest

import engines
import rfc6962
from log_tools import GatewayStream, all_entries, entries_of
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, Tile, tiles_of
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.tiles import ObjectTiles
from muniment_log.core.integrate import EMPTY_EDGE, RightEdge, integrate
from muniment_log.errors import DamagedTileError
from muniment_log.storage.tilewriter import write_partials, write_tiles
from waiting import SECONDS


class Log:
    """Leaves whose full tiles are stored as they come, and the partial ones when published."""

    def __init__(self, bucket: engines.Bucket, cache_bytes: int = 1 << 20) -> None:
        self.store = ObjectStore.open(bucket.url, environment=bucket.environment, seconds=SECONDS)
        self.stream = GatewayStream()
        self.edge: RightEdge = EMPTY_EDGE
        self.leaves: list[bytes] = []
        self.published = 0
        self.head = EMPTY_EDGE.head
        self.damaged: list[DamagedTileError] = []
        self.tiles = ObjectTiles(
            self.store, lambda: self.head, damaged=self.damaged.append, cache_bytes=cache_bytes
        )

    async def grow(self, count: int) -> None:
        batch = self.stream.take(count)
        change = integrate(self.edge, [batch])
        await write_tiles(self.store, change)
        self.edge = change.edge
        self.leaves += entries_of(batch)

    async def publish(self) -> None:
        await write_partials(self.store, self.edge)
        self.published, self.head = self.edge.head.size, self.edge.head


async def test_every_tile_of_every_size_below_the_published_one(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    sizes = []
    for count in (4, 200, 49, 300, 700):
        await log.grow(count)
        await log.publish()
        sizes.append(log.published)
        # Also of the sizes before, and of sizes that never were published.
        for size in (*sizes, log.published - 1, max(1, log.published - 257)):
            wanted = list(tiles_of(size))
            found = await log.tiles.read(wanted)
            for tile in wanted:
                span = 256**tile.level
                assert found[tile] == b"".join(
                    rfc6962.MTH(log.leaves[at : at + span])
                    for at in range(tile.start, tile.end, span)
                )
            assert await all_entries(log.tiles, size) == log.leaves[:size]
    await log.store.close()


async def test_nothing_beyond_what_is_published(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    with pytest.raises(LookupError, match="beyond the published tree"):
        await log.tiles.read([Tile(0, 0, 1)])
    await log.grow(600)
    with pytest.raises(LookupError):
        await log.tiles.read([Tile(0, 0)])
    await log.publish()
    assert len((await log.tiles.read([Tile(0, 0)]))[Tile(0, 0)]) == 8192
    with pytest.raises(LookupError):
        await log.tiles.read([Tile(0, 0), Tile(0, 2, 90)])
    await log.store.close()


async def replace(store: ObjectStore, tile: Tile, data: bytes) -> None:
    """What rots, or somebody with the bucket's keys writes."""
    found = await store.get_versioned(tile.path)
    await store.swap(tile.path, data, found[1])


@pytest.mark.parametrize(
    "tile",
    [Tile(0, 1), Tile(ENTRIES, 1), Tile(0, 2, 89), Tile(ENTRIES, 2, 89), Tile(1, 0, 2)],
    ids=lambda tile: tile.path,
)
async def test_what_has_rotted_is_noticed_and_named(bucket: engines.Bucket, tile: Tile) -> None:
    log = Log(bucket)
    await log.grow(600)
    await log.publish()
    size = log.published
    assert size == 601
    whole = await log.store.get(tile.path)
    for damaged in (bytes([whole[-1] ^ 1]) + whole[1:], whole[:-1] + bytes([whole[-1] ^ 1])):
        await replace(log.store, tile, damaged)
        with pytest.raises(
            DamagedTileError, match=re.escape(tile.path) if tile.level < 1 else "right edge"
        ):
            await log.tiles.read([tile])
    await replace(log.store, tile, b"")
    with pytest.raises(DamagedTileError):
        await log.tiles.read([tile])
    await log.store.delete(tile.path)
    with pytest.raises(DamagedTileError, match=f"{re.escape(tile.path)} is missing"):
        await log.tiles.read([tile])
    assert len(log.damaged) == 4
    # What was put back is read again: nothing damaged was kept.
    await log.store.create(tile.path, whole)
    assert (await log.tiles.read([tile]))[tile] == whole
    await log.store.close()


async def test_what_is_kept_is_not_read_again_as_long_as_there_is_room(
    bucket: engines.Bucket,
) -> None:
    log = Log(bucket, cache_bytes=0)
    await log.grow(256 * 8 - 1)
    bundle = len(await log.store.get(Tile(ENTRIES, 0).path))
    await log.publish()
    log.tiles._bundles.most = 4 * bundle
    tiles = [Tile(kind, number) for kind in (0, ENTRIES) for number in range(8)]
    all_at_once = await log.tiles.read(tiles)
    assert list(all_at_once) == tiles  # more than there is room for
    for tile in tiles:  # what is gone can only come from memory
        await log.store.delete(tile.path)
    assert (await log.tiles.read(tiles[:8]))[tiles[7]] == all_at_once[tiles[7]]
    assert (await log.tiles.read(tiles[14:]))[tiles[15]] == all_at_once[tiles[15]]
    with pytest.raises(DamagedTileError, match="is missing"):
        await log.tiles.read(tiles[8:9])
    await log.store.close()


async def test_the_checkpoint_is_the_object(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    assert await log.tiles.checkpoint() is None
    await log.store.swap(CHECKPOINT, b"note", None)
    assert await log.tiles.checkpoint() == b"note"
    await log.store.close()
