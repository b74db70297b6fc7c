"""Partial tiles leave the bucket when the full ones are there, and not before."""

import time

import pytest

import engines
import signing
from log_tools import GatewayStream
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, Tile, tiles_of
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.partials import TIDIED, PartialTiles
from muniment_log.cluster.tiles import ObjectTiles
from muniment_log.core.integrate import EMPTY_EDGE, RightEdge, integrate
from muniment_log.storage.tilewriter import write_partials, write_tiles
from waiting import SECONDS

GRACE = 100.0


class Log:
    """A log whose heads are shown in a bucket."""

    def __init__(self, bucket: engines.Bucket) -> None:
        self.store = ObjectStore.open(bucket.url, environment=bucket.environment, seconds=SECONDS)
        self.stream = GatewayStream()
        self.edge: RightEdge = EMPTY_EDGE
        self.written: set[str] = set()
        self.later = 0.0
        self.tidier = PartialTiles(
            self.store, ObjectTiles(self.store, lambda: self.edge.head), self.now, GRACE
        )

    def now(self) -> float:
        return time.time() + self.later

    async def publish(self, leaves: int) -> None:
        change = integrate(self.edge, [self.stream.take(leaves - self.edge.head.size - 1)])
        assert change.edge.head.size == leaves
        await write_tiles(self.store, change)
        self.edge = change.edge
        self.written |= await write_partials(self.store, self.edge)
        checkpoint = Checkpoint("log.example/one", *self.edge.head)
        note = sign_checkpoint(checkpoint, [signing.log_signer()], 1).encode()
        found = await self.store.get_versioned(CHECKPOINT)
        await self.store.swap(CHECKPOINT, note, None if found is None else found[1])

    async def partials(self) -> set[str]:
        """Those of the written ones that are there."""
        return {path for path in self.written if await self.store.get_versioned(path) is not None}


def shown(log: Log) -> set[str]:
    """The partial resources of the newest head."""
    return {tile.path for tile in tiles_of(log.edge.head.size) if tile.is_partial} & log.written


async def test_what_was_replaced_goes_after_the_time_of_grace(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    assert await log.tidier.tidy() == 0  # there is no checkpoint yet
    for size in (5, 200, 250, 300, 700):
        await log.publish(size)
    assert await log.tidier.tidy() == 0
    assert await log.partials() == log.written
    log.later = GRACE + 5
    newest = {path for path in log.written if path.endswith((".p/188", "tile/1/000.p/2"))}
    assert newest
    gone = len(log.written - newest)
    # At level 1 the place is not full: what older heads had there stays.
    upper = {path for path in log.written if path.startswith("tile/1/")}
    assert await log.tidier.tidy() == gone - len(upper - newest)
    assert await log.partials() == newest | upper
    assert (await log.store.get(TIDIED)) == b"512"
    # Nothing is looked at twice, and every resource of the head is there.
    assert await log.tidier.tidy() == 0
    found = await ObjectTiles(log.store, lambda: log.edge.head).read(list(tiles_of(700)))
    assert len(found) == len(list(tiles_of(700)))
    await log.publish(1100)
    assert await log.tidier.tidy() == 2
    assert (await log.store.get(TIDIED)) == b"1024"
    await log.store.close()


async def test_a_place_that_is_young_is_looked_at_again(bucket: engines.Bucket) -> None:
    log = Log(bucket)
    for size in (100, 300):
        await log.publish(size)
    log.later = GRACE - 60
    assert await log.tidier.tidy() == 0
    assert await log.store.get_versioned(TIDIED) is None
    log.later = GRACE + 60
    assert await log.tidier.tidy() == 2
    await log.store.close()


@pytest.mark.parametrize("level", [0, ENTRIES])
async def test_partial_tiles_stay_when_the_full_one_is_no_good(
    bucket: engines.Bucket, level: int
) -> None:
    log = Log(bucket)
    for size in (100, 300):
        await log.publish(size)
    log.later = GRACE + 60
    full = Tile(level, 0)
    data = await log.store.get(full.path)
    found = await log.store.get_versioned(full.path)
    await log.store.swap(full.path, data[:-1] + bytes([data[-1] ^ 1]), found[1])
    kept = Tile(level, 0, 100).path
    await log.tidier.tidy()
    assert kept in await log.partials()
    assert await log.store.get_versioned(TIDIED) is None
    # And when it is missing.
    await log.store.delete(full.path)
    await log.tidier.tidy()
    assert kept in await log.partials()
    await log.store.close()
