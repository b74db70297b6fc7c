"""Views: what verified tiles say about an older size, against the RFC 6962 oracle."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.tiles import Tile, tile_at, tiles_of
from muniment_witness.gossip.treecheck import prefix_of, tiles_for

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
    tiles = {tile: content(tile) for tile in tiles_for(old, new)}
    assert set(tiles) <= set(tiles_of(new))
    prefix = prefix_of(Head(new, root(new)), old, tiles)
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
    tiles = {tile: content(tile) for tile in tiles_for(old, new)}
    tile = data.draw(st.sampled_from(sorted(tiles)))
    at = data.draw(st.integers(0, len(tiles[tile]) - 1))
    broken = bytearray(tiles[tile])
    broken[at] ^= 1
    with pytest.raises(VerificationError):
        prefix_of(Head(new, root(new)), old, {**tiles, tile: bytes(broken)})
    with pytest.raises(FormatError):
        prefix_of(Head(new, root(new)), old, {**tiles, tile: tiles[tile][:-1]})
    with pytest.raises(VerificationError):
        prefix_of(Head(new, root(new - 1)), old, tiles)


def test_right_edge_tiles_are_enough_for_the_view_itself() -> None:
    assert tiles_for(0, 300) == (tile_at(1, 0, 300), tile_at(0, 1, 300))
