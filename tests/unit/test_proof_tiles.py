"""Proofs from tiles: only those that are planned are read, and none of them is trusted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.proofs import (
    Node,
    nodes_from_tiles,
    plan_consistency,
    plan_inclusion,
    plan_root,
    verify_inclusion,
)
from muniment.tlog.tiles import Tile, tile_at
from proving import LEAVES, SIZES, root, tiles_at


def test_only_the_planned_tiles_are_read() -> None:
    size = 700
    plan = plan_inclusion(300, size)
    assert set(plan.tiles(size)) == {Tile(0, 1), Tile(0, 2, 188), Tile(1, 0, 2)}
    assert plan_consistency(512, 700).tiles(700) == (Tile(0, 2, 188),)
    assert plan_root(256).tiles(700) == (Tile(1, 0, 2),)


def test_a_tile_of_wrong_length_is_refused() -> None:
    size = 700
    plan = plan_inclusion(300, size)
    for tile in plan.tiles(size):
        good = tiles_at(size)[tile]
        for bad in (b"", good[:-1], good[:-32], good + bytes(32)):
            with pytest.raises(FormatError, match="bytes instead of"):
                nodes_from_tiles(plan.nodes, size, {**tiles_at(size), tile: bad})


def test_a_missing_tile_is_named() -> None:
    size = 700
    plan = plan_inclusion(300, size)
    for tile in plan.tiles(size):
        rest = {other: data for other, data in tiles_at(size).items() if other != tile}
        with pytest.raises(ValueError, match=f"{tile.path} is missing"):
            nodes_from_tiles(plan.nodes, size, rest)


def test_the_full_tile_stands_in_for_a_partial_one() -> None:
    """tlog-tiles "Partial Tiles": clients "MAY fetch the full tile in parallel as a fallback"."""
    old, size = 300, 700
    plan = plan_inclusion(260, old)
    partial = Tile(0, 1, 44)
    assert partial in plan.tiles(old)
    tiles = {tile: data for tile, data in tiles_at(old).items() if tile != partial}
    tiles[partial.full] = tiles_at(size)[partial.full]
    proof = plan.assemble(nodes_from_tiles(plan.nodes, old, tiles))
    verify_inclusion(LEAVES[260], 260, old, proof, root(old))
    with pytest.raises(FormatError, match="instead of 8192"):
        nodes_from_tiles(plan.nodes, old, {**tiles, partial.full: tiles[partial.full][:-32]})


def test_a_node_outside_the_tree_is_a_bug_of_the_caller() -> None:
    for node in (Node(0, 13), Node(2, 3), Node(4, 0)):
        with pytest.raises(ValueError, match="has no Node"):
            nodes_from_tiles([node], 13, tiles_at(13))
    with pytest.raises(ValueError, match="has no Node"):
        plan_inclusion(3, 13).tiles(12)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.data())
def test_a_false_tile_makes_a_false_proof(size: int, data: st.DataObject) -> None:
    """Planning trusts nothing, assembling proves nothing: only verifying decides."""
    index = data.draw(st.integers(0, size - 1))
    plan = plan_inclusion(index, size)
    for tile in plan.tiles(size):
        tiles = dict(tiles_at(size))
        tiles[tile] = bytes(byte ^ 1 for byte in tiles[tile])
        proof = plan.assemble(nodes_from_tiles(plan.nodes, size, tiles))
        with pytest.raises(VerificationError, match="not in the tree"):
            verify_inclusion(LEAVES[index], index, size, proof, root(size))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 256), st.integers(0, 2)), min_size=1, max_size=12))
def test_nodes_of_a_tile_that_grew_shrank_or_forked(steps: list[tuple[int, int]]) -> None:
    """What was computed of a tile before is used for its prefix alone, and never for another's."""
    for width, fork in steps:
        # Forks begin with the same hash, by which tiles are recognised, and part later.
        hashes = [
            LEAVES[0],
            *leaf_hashes([b"%d %d" % (fork * (at > 9), at) for at in range(width)]),
        ]
        hashes = hashes[:width]
        nodes = [Node(level, at) for level in range(8) for at in range(width >> level)]
        found = nodes_from_tiles(nodes, width, {tile_at(0, 0, width): b"".join(hashes)})
        for node in nodes:
            under = hashes[node.index << node.level : node.index + 1 << node.level]
            assert found[node] == root_of(under)
