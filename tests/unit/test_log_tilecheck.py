"""Reading full tiles: what was damaged in storage is noticed before anything is told from it."""

import random
from collections.abc import Sequence

import pytest

from muniment.tlog.encoding import frame
from muniment.tlog.merkle import leaf_hashes
from muniment.tlog.tiles import ENTRIES, Tile
from muniment.tlog.treereader import read_consistency, read_inclusions, read_root
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.errors import DamagedTileError, StorageError
from muniment_log.storage.embedded import EmbeddedTiles

SIZE = 65536 + 1000


class Leaves:
    """As a batch: leaves of a few bytes."""

    def __init__(self, count: int) -> None:
        entries = [b"%d" % number for number in range(count)]
        self.body = frame(entries)
        self.leaf_hashes = leaf_hashes(entries)
        self.offsets: list[int] = []
        at = 0
        for entry in entries:
            self.offsets.append(at)
            at += 2 + len(entry)


class Rotting:
    """Storage in memory whose bits can be flipped."""

    def __init__(self) -> None:
        change = integrate(EMPTY_EDGE, [Leaves(SIZE)])
        self.edge = change.edge
        self.stored = {(level, index): data for level, index, data in change.tiles}
        self.stored |= {(ENTRIES, index): data for index, data in change.bundles}
        self.reads: list[tuple[int, int]] = []

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        self.reads += wanted
        return [self.stored[key] for key in wanted]

    async def put_published(self, note: bytes) -> None:
        raise NotImplementedError

    def flip(self, key: tuple[int, int], dice: random.Random) -> None:
        data = bytearray(self.stored[key])
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        self.stored[key] = bytes(data)


@pytest.fixture(scope="module")
def sound() -> Rotting:
    return Rotting()


@pytest.fixture
def storage(sound: Rotting) -> Rotting:
    copy = object.__new__(Rotting)
    copy.edge, copy.stored, copy.reads = sound.edge, dict(sound.stored), []
    return copy


@pytest.mark.parametrize(
    "key", [(ENTRIES, 0), (ENTRIES, 258), (0, 0), (0, 255), (0, 256), (0, 258), (1, 0)]
)
async def test_a_flipped_bit_is_noticed_and_named(storage: Rotting, key: tuple[int, int]) -> None:
    for seed in range(8):
        found: list[str] = []

        def damaged(error: DamagedTileError, found: list[str] = found) -> None:
            found.append(error.path)

        tiles = EmbeddedTiles(storage, storage.edge, None, damaged=damaged)
        good = storage.stored[key]
        storage.flip(key, random.Random(seed))
        path = Tile(*key).path
        # Whole, cut, together with others, and again: what is damaged is not kept.
        for wanted in ([Tile(*key)], [Tile(*key, width=7)], [Tile(0, 3), Tile(*key)]) * 2:
            with pytest.raises(DamagedTileError, match=f"^{path} is damaged"):
                await tiles.read(wanted)
        assert found == [path] * 6
        assert key not in tiles._cache  # noqa: SLF001
        storage.stored[key] = good
        assert (await tiles.read([Tile(*key)]))[Tile(*key)] == good


async def test_no_proof_is_made_of_damaged_tiles(storage: Rotting) -> None:
    tiles = EmbeddedTiles(storage, storage.edge, None)
    before = await read_inclusions(tiles, 70, 71, SIZE)
    sizes = (256 * 3, 256 * 255)
    roots = [await read_root(tiles, size) for size in sizes]
    for key in ((0, 0), (1, 0)):
        good = storage.stored[key]
        storage.flip(key, random.Random(1))
        # What is in memory was checked; what is read anew is damaged.
        assert await read_inclusions(tiles, 70, 71, SIZE) == before
        fresh = EmbeddedTiles(storage, storage.edge, None)
        with pytest.raises(StorageError, match="is damaged"):
            await read_inclusions(fresh, 70, 71, SIZE)
        with pytest.raises(StorageError, match="is damaged"):
            await read_consistency(fresh, 100, SIZE)
        storage.stored[key] = good
    fresh = EmbeddedTiles(storage, storage.edge, None)
    assert [await read_root(fresh, size) for size in sizes] == roots


async def test_what_witnesses_for_a_tile_is_read_with_it_and_once(storage: Rotting) -> None:
    tiles = EmbeddedTiles(storage, storage.edge, None)
    await tiles.read([Tile(ENTRIES, 5)])
    assert storage.reads == [(1, 0), (0, 5), (ENTRIES, 5)]
    storage.reads.clear()
    await tiles.read([Tile(0, 5), Tile(0, 6)])
    assert storage.reads == [(0, 6)]
    storage.reads.clear()
    # The tiles above the last ones are in the right edge.
    await tiles.read([Tile(0, 257)])
    assert storage.reads == [(0, 257)]


async def test_a_bundle_read_again_is_compared_with_what_was_checked(storage: Rotting) -> None:
    tiles = EmbeddedTiles(storage, storage.edge, None)
    bundle = Tile(ENTRIES, 5)
    first = (await tiles.read([bundle]))[bundle]
    storage.reads.clear()
    assert (await tiles.read([bundle]))[bundle] == first
    assert storage.reads == [(ENTRIES, 5)]  # nothing above it is needed any more
    for seed in range(8):
        good = storage.stored[ENTRIES, 5]
        storage.flip((ENTRIES, 5), random.Random(seed))
        for wanted in ([bundle], [bundle._replace(width=3)], [Tile(0, 9), bundle]):
            with pytest.raises(DamagedTileError, match="tile/entries/005 is damaged"):
                await tiles.read(wanted)
        storage.stored[ENTRIES, 5] = good
    assert (await tiles.read([bundle]))[bundle] == first


async def test_digests_are_kept_of_so_many_bundles(
    storage: Rotting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment_log.storage.embedded.REMEMBERED_BUNDLES", 2)
    tiles = EmbeddedTiles(storage, storage.edge, None)
    for index in range(3):
        await tiles.read([Tile(ENTRIES, index)])
    storage.flip((ENTRIES, 0), random.Random(1))
    with pytest.raises(DamagedTileError):  # forgotten, and so checked leaf by leaf
        await tiles.read([Tile(ENTRIES, 0)])


async def test_truncated_and_misplaced_tiles_are_damaged(storage: Rotting) -> None:
    for key, data in (
        ((0, 1), storage.stored[0, 2]),
        ((0, 1), storage.stored[0, 1][:-32]),
        ((0, 1), b""),
        ((ENTRIES, 1), storage.stored[ENTRIES, 2]),
        ((ENTRIES, 1), storage.stored[ENTRIES, 1][:-1]),
        ((ENTRIES, 1), b""),
    ):
        good = storage.stored[key]
        storage.stored[key] = data
        with pytest.raises(DamagedTileError):
            await EmbeddedTiles(storage, storage.edge, None).read([Tile(*key)])
        storage.stored[key] = good
