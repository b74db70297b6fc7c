"""Integration against a naive oracle: tiles are a pure function of the leaves (C2SP tlog-tiles)."""

from dataclasses import dataclass
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import rfc6962
from muniment.tlog.encoding import frame, unframe
from muniment.tlog.merkle import leaf_hashes
from muniment.tlog.tiles import ENTRIES, Tile, bundles_of, tile_at, tiles_of
from muniment_log.core.integrate import EMPTY_EDGE, RightEdge, cut_bundle, integrate, restore
from muniment_log.errors import StorageError


@dataclass
class Framed:
    entries: list[bytes]

    @property
    def body(self) -> bytes:
        return frame(self.entries)

    @property
    def offsets(self) -> list[int]:
        return list(accumulate((len(e) + 2 for e in self.entries[:-1]), initial=0))

    @property
    def leaf_hashes(self) -> list[bytes]:
        return leaf_hashes(self.entries)


class Stored:
    """What a store holds, applied as `Integration` says."""

    def __init__(self) -> None:
        self.bundles: dict[int, bytes] = {}
        self.tail: dict[int, bytes] = {}
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.edge = EMPTY_EDGE

    def commit(self, batches: list[Framed]) -> None:
        change = integrate(self.edge, batches)
        assert change.before == self.edge.head
        if change.bundles:
            self.bundles |= dict(change.bundles)
            self.tail.clear()
        if change.fragment is not None:
            assert change.fragment[0] not in self.tail
            self.tail[change.fragment[0]] = change.fragment[1]
        for level, index, data in change.tiles:
            self.tiles[level, index] = data
        self.edge = change.edge

    def restored(self) -> RightEdge:
        partials = {}
        for level, index in sorted(self.tiles):
            if level:
                partials[level] = (index, self.tiles[level, index])
        fragments = [data for _, data in sorted(self.tail.items())]
        return restore(self.edge.head, fragments, partials)

    def read(self, tile: Tile) -> bytes:
        found = self.edge.read(tile)
        if found is not None:
            return found
        if tile.level == ENTRIES:
            return cut_bundle(self.bundles[tile.index], tile.width)
        return self.tiles[tile.level, tile.index][: 32 * tile.width]


def leaves(count: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(count)]


def oracle(entries: list[bytes], tile: Tile) -> bytes:
    if tile.level == ENTRIES:
        return frame(entries[tile.start : tile.end])
    span = 256**tile.level
    starts = range(tile.start, tile.end, span)
    return b"".join(rfc6962.MTH(entries[at : at + span]) for at in starts)


@st.composite
def commits(draw: st.DrawFn) -> list[list[int]]:
    """Commits of batches of so many entries; some cross several bundles."""
    batch = st.integers(1, 40) | st.sampled_from([1, 2, 254, 255, 256, 257, 300, 600])
    return draw(st.lists(st.lists(batch, min_size=1, max_size=4), min_size=1, max_size=7))


@given(commits())
@settings(max_examples=60, deadline=None)
def test_any_split_gives_the_same_bundles_and_tiles(split: list[list[int]]) -> None:
    entries = leaves(sum(map(sum, split)))
    stored, at = Stored(), 0
    for group in split:
        batches = []
        for count in group:
            batches.append(Framed(entries[at : at + count]))
            at += count
        stored.commit(batches)
    size = len(entries)
    assert stored.edge.head == (size, rfc6962.MTH(entries))
    assert stored.restored() == replace(
        stored.edge, fragments=tuple(v for _, v in sorted(stored.tail.items()))
    )
    for tile in [*tiles_of(size), *bundles_of(0, size, size)]:
        assert stored.read(tile) == oracle(entries, tile), tile
    assert len(stored.bundles) == size // 256
    assert b"".join(v for _, v in sorted(stored.tail.items())) == frame(entries[size & ~255 :])


def test_two_levels_of_tiles_and_every_step_across_a_full_level() -> None:
    entries = leaves(65_536 + 3)
    stored = Stored()
    stored.commit([Framed(entries[:65_535])])
    for count, end in ((1, 65_536), (1, 65_537), (2, 65_539)):
        stored.commit([Framed(entries[end - count : end])])
        assert stored.restored().head == stored.edge.head
        for level in range(3):
            width = end >> 8 * level
            if width:
                tile = tile_at(level, (width - 1) >> 8, end)
                assert stored.read(tile) == oracle(entries, tile)
    # tlog-tiles: "a tree of size 256 will be represented by a full level 0 tile and a partial
    # level 1 tile of width 1", one level up.
    assert len(stored.tiles[2, 0]) == 32


def test_the_edge_reads_only_what_it_holds() -> None:
    stored = Stored()
    stored.commit([Framed(leaves(300))])
    edge = stored.edge
    assert edge.read(Tile(0, 1, 44)) is not None
    assert edge.read(Tile(0, 1, 45)) is None
    assert edge.read(Tile(0, 0, 10)) is None
    assert edge.read(Tile(1, 0, 1)) is not None
    assert edge.read(Tile(1, 0, 2)) is None
    assert edge.read(Tile(2, 0, 1)) is None
    assert unframe(edge.read(Tile(ENTRIES, 1, 3)) or b"") == [
        b"leaf 256",
        b"leaf 257",
        b"leaf 258",
    ]


def test_a_commit_writes_only_what_is_new() -> None:
    stored = Stored()
    stored.commit([Framed(leaves(10))])
    change = integrate(stored.edge, [Framed([b"one more"])])
    assert change.bundles == []
    assert change.tiles == []
    assert change.fragment == (10, frame([b"one more"]))


def test_exactly_a_full_bundle_leaves_no_fragment() -> None:
    stored = Stored()
    stored.commit([Framed(leaves(256))])
    assert stored.tail == {}
    assert stored.edge.fragments == ()
    assert stored.restored() == stored.edge


@pytest.mark.parametrize("damage", ["fragment", "short", "tile", "missing", "root", "truncated"])
def test_restore_refuses_what_does_not_make_the_tree(damage: str) -> None:
    stored = Stored()
    stored.commit([Framed(leaves(600))])
    head = stored.edge.head
    fragments = list(stored.tail.values())
    partials = {1: (0, stored.tiles[1, 0])}
    if damage == "fragment":
        fragments = [fragments[0].replace(b"599", b"598")]
    elif damage == "short":
        fragments = [frame(leaves(600)[512:599])]
    elif damage == "truncated":
        fragments = [fragments[0][:-1]]
    elif damage == "tile":
        partials = {1: (0, bytes(64))}
    elif damage == "missing":
        partials = {}
    else:
        head = head._replace(root=bytes(32))
    with pytest.raises(StorageError):
        restore(head, fragments, partials)


def test_a_truncated_bundle_is_noticed_when_cut() -> None:
    with pytest.raises(StorageError, match="truncated"):
        cut_bundle(frame([b"abc", b"def"])[:-1], 2)
