"""Tile coordinates against the specification's own formulas and examples."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.tlog.encoding import MAX_SIZE, FormatError, frame
from muniment.tlog.tiles import (
    ENTRIES,
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    bundles_of,
    check_bundle,
    check_tile,
    new_tiles,
    parse_tile_path,
    tile_at,
    tiles_of,
)

SIZES = st.integers(0, 300_000)
TILES = st.builds(
    Tile,
    st.integers(0, MAX_LEVEL) | st.just(ENTRIES),
    st.integers(0, MAX_SIZE) | st.integers(0, 2_000_000),
    st.integers(1, TILE_WIDTH),
)


def brute_tiles(size: int) -> set[Tile]:
    """tlog-tiles "Partial Tiles": floor(s / 256**l) hashes at level l, cut into tiles."""
    tiles = set()
    for level in range(MAX_LEVEL + 1):
        count = size // 256**level
        for index in range(count // 256):
            tiles.add(Tile(level, index, 256))
        if count % 256:
            tiles.add(Tile(level, count // 256, count % 256))
    return tiles


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1234067, 8), "tile/0/x001/x234/067.p/8"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(ENTRIES, 0), "tile/entries/000"),
        (Tile(ENTRIES, 1234067, 1), "tile/entries/x001/x234/067.p/1"),
        (Tile(0, MAX_SIZE), "tile/0/x009/x223/x372/x036/x854/x775/807"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    """tlog-tiles "Merkle Tree": 3-digit path elements; all but the last "MUST begin with an x"."""
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "/tile/0/000",
        "tile/0/000/",
        "tile/00/000",
        "tile/+1/000",
        "tile/-1/000",
        "tile/64/000",
        "tile/100/000",
        "tile/1",
        "tile/1/",
        "tile/1/0",
        "tile/1/00",
        "tile/1/0000",
        "tile/1/x000",
        "tile/1/001/000",
        "tile/1/x000/001",
        "tile/1/x001/x000",
        "tile/1/001/x000",
        "tile/1/X001/000",
        "tile/1/x0a1/000",
        "tile/1/000.p/0",
        "tile/1/000.p/00",
        "tile/1/000.p/01",
        "tile/1/000.p/256",
        "tile/1/000.p/999",
        "tile/1/000.p/",
        "tile/1/000.p",
        "tile/1/000.P/1",
        "tile/1/000.p/1/",
        "tile/1/000.p/1\n",
        "tile/1/000\n",
        "tile/1/٠٠٠",
        "tile/٣/000",
        "tile/Entries/000",
        "tile/data/000",
        "tile/1/x009/x223/x372/x036/x854/x775/808",
        "tile/1/x001/x000/x000/x000/x000/x000/x000/000",
        "tile/1/../000",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    """tlog-tiles "Merkle Tree": levels 0 to 63, widths 1 to 255, no additional leading zeroes."""
    with pytest.raises(FormatError, match=r"^tile "):
        parse_tile_path(path)


@given(TILES)
def test_every_tile_has_one_path(tile: Tile) -> None:
    assert parse_tile_path(tile.path) == tile


def test_the_example_of_the_specification() -> None:
    """tlog-tiles "Partial Tiles": a tree of size 70,000, and one of size 256."""
    tiles = list(tiles_of(70_000))
    assert tiles == [
        *(Tile(0, index) for index in range(273)),
        Tile(0, 273, 112),
        Tile(1, 0),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == []


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000])
def test_tiles_of_a_tree(size: int) -> None:
    """tlog-tiles "Partial Tiles": "Empty tiles MUST NOT be served", so there are none."""
    tiles = list(tiles_of(size))
    assert len(tiles) == len(set(tiles))
    assert set(tiles) == brute_tiles(size)
    assert tiles == sorted(tiles, key=lambda tile: tile.level)


@given(SIZES, SIZES)
@example(0, 1)
@example(255, 256)
@example(256, 256)
@example(65_535, 65_536)
def test_new_tiles_are_the_difference(one: int, other: int) -> None:
    old, new = sorted((one, other))
    tiles = list(new_tiles(old, new))
    assert len(tiles) == len(set(tiles))
    assert set(tiles) == brute_tiles(new) - brute_tiles(old)


def test_trees_do_not_shrink() -> None:
    for old, new in ((1, 0), (-1, 1)):
        with pytest.raises(ValueError, match="no tree grows"):
            new_tiles(old, new)


@given(st.integers(0, MAX_LEVEL) | st.just(ENTRIES), st.integers(0, 2000), SIZES)
def test_a_tile_at_its_place(level: int, index: int, size: int) -> None:
    tiles = {(tile.level, tile.index): tile for tile in brute_tiles(size)}
    want = tiles.get((max(level, 0), index))
    if want is None:
        with pytest.raises(ValueError, match="has no tile"):
            tile_at(level, index, size)
        return
    tile = tile_at(level, index, size)
    assert tile == want._replace(level=level)
    assert tile.end <= size


def test_no_tile_at_a_negative_place() -> None:
    with pytest.raises(ValueError, match="has no tile"):
        tile_at(0, -1, 1000)


@given(st.lists(SIZES, min_size=3, max_size=3))
@example([0, 0, 0])
@example([256, 256, 256])
def test_bundles_cover_exactly(bounds: list[int]) -> None:
    start, end, size = sorted(bounds)
    bundles = list(bundles_of(start, end, size))
    assert all(bundle.level == ENTRIES for bundle in bundles)
    covered = [leaf for leaf in (start, end - 1) if start < end]
    assert [bundle.index for bundle in bundles] == (
        list(range(covered[0] // 256, covered[1] // 256 + 1)) if covered else []
    )
    assert all(bundle == tile_at(ENTRIES, bundle.index, size) for bundle in bundles)


@given(SIZES, SIZES)
def test_new_bundles_stand_beside_new_leaf_tiles(one: int, other: int) -> None:
    """tlog-tiles "Log entries": each entry corresponds to a hash of the level 0 tile."""
    old, new = sorted((one, other))
    leaves = [tile for tile in new_tiles(old, new) if tile.level == 0]
    assert [tile._replace(level=ENTRIES) for tile in leaves] == list(bundles_of(old, new, new))


def test_bundles_outside_the_tree() -> None:
    for start, end, size in ((0, 2, 1), (2, 1, 3), (-1, 1, 1)):
        with pytest.raises(ValueError, match="has no leaves"):
            bundles_of(start, end, size)


def test_spans() -> None:
    """tlog-tiles "Merkle Tree": start index n * 256**(l+1), end index (n + 1) * 256**(l+1)."""
    assert 1 << TILE_HEIGHT == TILE_WIDTH
    for level in range(4):
        tile = Tile(level, 3)
        assert (tile.start, tile.end) == (3 * 256 ** (level + 1), 4 * 256 ** (level + 1))
    assert (Tile(ENTRIES, 3).start, Tile(ENTRIES, 3).end) == (768, 1024)
    partial = Tile(1, 1, 17)
    assert (partial.start, partial.end) == (65_536, 65_536 + 17 * 256)
    assert partial.is_partial
    assert partial.full == Tile(1, 1)
    assert not partial.full.is_partial


@given(st.integers(1, 256), st.integers(-40, 40))
def test_a_hash_tile_has_an_exact_length(width: int, off: int) -> None:
    """tlog-tiles "Merkle Tree": full tiles "MUST be exactly 256 hashes wide, or 8,192 bytes"."""
    tile = Tile(0, 5, width)
    data = bytes(index % 251 for index in range(width * 32))
    assert b"".join(check_tile(tile, data)) == data
    assert {len(value) for value in check_tile(tile, data)} == {32}
    if off:
        with pytest.raises(FormatError, match=f"tile/0/005.* instead of {width * 32}"):
            check_tile(tile, data[:off] if off < 0 else data + bytes(off))


def test_a_bundle_has_an_exact_count() -> None:
    entries = [b"a", b"", b"ccc"]
    bundle = Tile(ENTRIES, 0, 3)
    assert check_bundle(bundle, frame(entries)) == entries
    for wrong in (entries[:2], [*entries, b"d"], []):
        with pytest.raises(FormatError, match=r"tile/entries/000\.p/3: . entries instead of 3"):
            check_bundle(bundle, frame(wrong))
    with pytest.raises(FormatError, match=r"tile/entries/000\.p/3: entry 2 .* truncated"):
        check_bundle(bundle, frame(entries)[:-1])


def test_hashes_and_entries_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="holds no hashes"):
        check_tile(Tile(ENTRIES, 0, 1), bytes(32))
    with pytest.raises(ValueError, match="holds no entries"):
        check_bundle(Tile(0, 0, 1), frame([bytes(30)]))
