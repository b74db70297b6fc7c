"""The tile source of frontends: published trees, read out of a bucket."""

import pytest

import engines
import rfc6962
from log_tools import GatewayStream, all_entries, entries_of
from muniment.formats.tiles import ENTRIES, Tile, tiles_of
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.tiles import CHECKPOINT, ObjectTiles
from muniment_log.cluster.writer import write_partials, write_tiles
from muniment_log.errors import StorageError
from muniment_log.integrate import EMPTY_EDGE, RightEdge, integrate


class Log:
    """Leaves whose full tiles are stored as they come, and the partial ones when published."""

    def __init__(self, bucket: engines.Bucket, cache_bytes: int = 1 << 20) -> None:
        self.store = ObjectStore.open(bucket.url, environment=bucket.environment, seconds=20)
        self.stream = GatewayStream()
        self.edge: RightEdge = EMPTY_EDGE
        self.leaves: list[bytes] = []
        self.published = 0
        self.tiles = ObjectTiles(self.store, lambda: self.published, cache_bytes=cache_bytes)

    async def grow(self, count: int) -> None:
        batch = self.stream.take(count)
        change = integrate(self.edge, [batch])
        await write_tiles(self.store, change)
        self.edge = change.edge
        self.leaves += entries_of(batch)

    async def publish(self) -> None:
        await write_partials(self.store, self.edge)
        self.published = self.edge.head.size


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


async def test_what_is_missing_or_cut_off_is_said_and_not_given_out(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    await log.grow(600)
    await log.publish()
    await log.store.swap(Tile(ENTRIES, 5).path, b"\0", None)
    await log.store.swap(Tile(0, 5).path, bytes(8191), None)
    log.published = 256 * 7
    for tile, what in [
        (Tile(ENTRIES, 5), "truncated"),
        (Tile(0, 5), "tile/0/005 is damaged"),
        (Tile(0, 6), "lacks tile/0/006"),
    ]:
        with pytest.raises(StorageError, match=what):
            await log.tiles.read([tile])
    await log.store.close()


async def test_full_tiles_are_read_once_as_long_as_there_is_room(bucket: engines.Bucket) -> None:
    log = Log(bucket, cache_bytes=3 * 8192)
    await log.grow(256 * 8 - 1)
    await log.publish()
    tiles = [Tile(0, number) for number in range(8)]
    all_at_once = await log.tiles.read(tiles)
    assert sorted(all_at_once) == tiles  # more than there is room for
    for tile in tiles:  # what is gone can only come from memory
        await log.store._client.delete(tile.path)
    assert (await log.tiles.read(tiles[5:]))[tiles[7]] == all_at_once[tiles[7]]
    with pytest.raises(StorageError, match="lacks"):
        await log.tiles.read(tiles[:1])
    await log.store.close()


async def test_the_checkpoint_is_the_object(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    assert await log.tiles.checkpoint() is None
    await log.store.swap(CHECKPOINT, b"note", None)
    assert await log.tiles.checkpoint() == b"note"
    await log.store.close()
