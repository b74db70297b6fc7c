"""Authenticated tiles: what they say about a tree, against the RFC 6962 oracle."""

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.errors import BadAnswer, Unreachable
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError, frame
from muniment.tlog.heads import EMPTY, Head
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.tiles import ENTRIES, Tile, tile_at, tiles_of
from muniment.tlog.treereader import (
    TreeTiles,
    prefix_from,
    read_consistency,
    read_entry,
    read_inclusion,
    read_inclusions,
    read_leaf_hash,
    read_prefix,
    read_root,
    read_served,
    tiles_of_prefix,
)

DATA = [b"%d" % index for index in range(66_000)]
LEAVES = leaf_hashes(DATA)


@cache
def content(tile: Tile) -> bytes:
    span = 256**tile.level
    first = tile.index * 256
    return b"".join(
        root_of(LEAVES[at * span : (at + 1) * span]) for at in range(first, first + tile.width)
    )


@cache
def root(size: int) -> bytes:
    return root_of(LEAVES[:size])


sizes = st.one_of(st.integers(1, 700), st.sampled_from([255, 256, 257, 65535, 65536, 65537]))


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 66_000))
def test_it_is_the_root_and_proof_of_the_oracle(new: int, pick: int) -> None:
    old = pick % (new + 1)
    tiles = {tile: content(tile) for tile in tiles_of_prefix(old, new)}
    assert set(tiles) <= set(tiles_of(new))
    prefix = prefix_from(Head(new, root(new)), old, tiles)
    assert prefix.root == root(old)
    verify_consistency(old, prefix.root, new, root(new), prefix.proof if old else ())
    if new < 700:
        assert prefix.root == rfc6962.MTH(DATA[:old])
        if 0 < old < new:
            assert list(prefix.proof) == rfc6962.PROOF(old, DATA[:new])


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 66_000), st.data())
def test_any_changed_byte_is_found(new: int, pick: int, data: st.DataObject) -> None:
    """No hash of any tile that is used, and then cached and served, goes unverified."""
    old = pick % (new + 1)
    tiles = {tile: content(tile) for tile in tiles_of_prefix(old, new)}
    tile = data.draw(st.sampled_from(sorted(tiles)))
    at = data.draw(st.integers(0, len(tiles[tile]) - 1))
    broken = bytearray(tiles[tile])
    broken[at] ^= 1
    with pytest.raises(VerificationError):
        prefix_from(Head(new, root(new)), old, {**tiles, tile: bytes(broken)})
    with pytest.raises(FormatError):
        prefix_from(Head(new, root(new)), old, {**tiles, tile: tiles[tile][:-1]})
    with pytest.raises(VerificationError):
        prefix_from(Head(new, root(new - 1)), old, tiles)


def test_right_edge_tiles_are_enough_for_the_view_itself() -> None:
    assert tiles_of_prefix(0, 300) == (tile_at(1, 0, 300), tile_at(0, 1, 300))


class Served:
    """Tiles and bundles as somebody serves them; one byte can be changed."""

    def __init__(self, size: int) -> None:
        self.head = Head(size, root(size))
        self.rounds: list[tuple[Tile, ...]] = []
        self.broken: tuple[Tile, int] | None = None

    @property
    def tiles(self) -> TreeTiles:
        return TreeTiles(self.head, self.fetch)

    async def fetch(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        self.rounds.append(tuple(tiles))
        return {tile: self.stored(tile) for tile in tiles}

    def stored(self, tile: Tile) -> bytes:
        data = bytearray(
            frame(DATA[tile.start : tile.end]) if tile.level == ENTRIES else content(tile)
        )
        if self.broken is not None and self.broken[0] == tile:
            data[self.broken[1]] ^= 1
        return bytes(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.data())
async def test_proofs_are_those_of_the_oracle_and_cost_one_round(
    size: int, data: st.DataObject
) -> None:
    served, entries = Served(size), DATA[:size]
    index = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(index, min(size, index + 5)))
    paths = [tuple(rfc6962.PATH(at, entries)) for at in range(index, end)]
    path = tuple(rfc6962.PATH(index, entries))
    tiles = served.tiles
    assert await read_inclusion(tiles, index, size) == (LEAVES[index], path)
    assert await read_leaf_hash(tiles, index, size) == LEAVES[index]
    assert await read_entry(tiles, index, size) == DATA[index]
    assert len(served.rounds) == 3
    assert await read_inclusions(tiles, index, end, size) == paths
    proof = tuple(rfc6962.PROOF(index, entries)) if index else ()
    assert await read_consistency(tiles, index, size) == proof
    assert await read_prefix(tiles, index, size) == (rfc6962.MTH(DATA[:index]), proof)
    assert await read_root(tiles, size) == rfc6962.MTH(entries)
    assert len(served.rounds) <= 7


@settings(max_examples=100, deadline=None)
@given(sizes, st.integers(0, 66_000), st.data())
async def test_nothing_is_given_out_of_a_round_with_a_changed_byte(
    size: int, pick: int, data: st.DataObject
) -> None:
    index = pick % size
    served = Served(size)
    wanted = [tile_at(level, index // 256, size) for level in (ENTRIES, 0)]
    assert list(await served.tiles.read(wanted)) == wanted
    tile = data.draw(st.sampled_from(sorted(served.rounds[0])))
    served.broken = tile, data.draw(st.integers(0, len(served.stored(tile)) - 1))
    with pytest.raises((VerificationError, FormatError)):
        await served.tiles.read(wanted)


async def test_the_tree_itself_is_read_without_asking_for_a_tile() -> None:
    served = Served(300)
    assert await served.tiles.read(()) == {}
    served.head = Head(300, root(299))
    with pytest.raises(VerificationError, match="another root"):
        await served.tiles.read(())
    empty = TreeTiles(EMPTY, served.fetch)
    assert await empty.read(()) == {}
    assert await read_root(empty, 0) == EMPTY.root


async def test_a_source_that_leaves_out_a_tile_is_told_which() -> None:
    served = Served(300)

    async def short(tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        return {tile: served.stored(tile) for tile in tiles[:-1]}

    with pytest.raises(ValueError, match=r"tile/0/000 is missing"):
        await TreeTiles(served.head, short).read([Tile(0, 0)])


async def served(tile: Tile, **answers: bytes | MunimentError) -> bytes:
    """Reads a tile of a server that has dropped what it has no answer for."""

    async def get(asked: Tile) -> bytes:
        answer = answers.get("part" if asked.is_partial else "full", Unreachable("dropped"))
        if isinstance(answer, MunimentError):
            raise answer
        return answer

    return await read_served(tile, get, is_dropped=lambda error: isinstance(error, Unreachable))


async def test_a_dropped_partial_tile_is_cut_from_the_full_one() -> None:
    full, bundle = Tile(0, 1, 256), Tile(ENTRIES, 1, 7)
    whole = content(full)
    assert await served(Tile(0, 1, 7), part=b"as it is") == b"as it is"
    assert await served(Tile(0, 1, 7), full=whole) == content(Tile(0, 1, 7))
    assert await served(bundle, full=frame(DATA[256:512])) == frame(DATA[256:263])
    with pytest.raises(FormatError, match=r"^tile/0/001: 8191 bytes"):
        await served(Tile(0, 1, 7), full=whole[:-1])
    with pytest.raises(FormatError, match=r"^tile/entries/001: 7 entries instead of 256"):
        await served(bundle, full=frame(DATA[256:263]))


async def test_only_a_partial_tile_that_was_dropped_is_asked_for_again() -> None:
    whole = content(Tile(0, 1, 256))
    with pytest.raises(BadAnswer, match="refused"):
        await served(Tile(0, 1, 7), part=BadAnswer("refused"), full=whole)
    with pytest.raises(Unreachable, match="dropped"):
        await served(Tile(0, 1, 256), part=whole)
