"""Audit paths of whole batches against the oracle, and against planning them one by one."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.tlog.auditpath import PathsPlan, plan_inclusions, plan_path
from muniment.tlog.encoding import MAX_SIZE
from muniment.tlog.merkle import root_of
from muniment.tlog.proofs import (
    nodes_from_tiles,
    plan_inclusion,
    root_from_inclusion,
    verify_inclusion,
)
from muniment.tlog.tiles import Tile
from proving import ENTRIES, LEAVES, tiles_at


def prove(plan: PathsPlan, tiles: dict[Tile, bytes]) -> list[tuple[bytes, ...]]:
    """Reads only the tiles that the plan names."""
    read = {tile: tiles[tile] for tile in plan.tiles(plan.size)}
    return plan.assemble(nodes_from_tiles(plan.nodes, plan.size, read))


def prove_one(index: int, size: int, tiles: dict[Tile, bytes]) -> tuple[bytes, ...]:
    """The same for one leaf."""
    plan = plan_path(index, size)
    return plan.assemble({tile: tiles[tile] for tile in plan.tiles})


@pytest.mark.parametrize("size", range(1, 20))
def test_every_run_of_leaves_equals_the_oracle(size: int) -> None:
    """RFC 6962 section 2.1.1, PATH."""
    paths = [tuple(rfc6962.PATH(index, ENTRIES[:size])) for index in range(size)]
    tiles = tiles_at(size)
    for start in range(size + 1):
        for end in range(start, size + 1):
            assert prove(plan_inclusions(start, end, size), tiles) == paths[start:end]
    assert [prove_one(index, size, tiles) for index in range(size)] == paths


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=3, max_size=3))
@example([0, 256, 256])
@example([255, 257, 513])
@example([511, 513, 700])
@example([0, 700, 700])
def test_long_runs_equal_single_plans(bounds: list[int]) -> None:
    start, end, size = sorted(bounds)
    tiles = tiles_at(size)
    root = root_of(LEAVES[:size])
    paths = prove(plan_inclusions(start, end, size), tiles)
    assert len(paths) == end - start
    for index, path in zip(range(start, end), paths, strict=True):
        verify_inclusion(LEAVES[index], index, size, path, root)
        assert prove_one(index, size, tiles) == path
    for index in {start, end - 1} if start < end else ():
        plan = plan_inclusion(index, size)
        assert paths[index - start] == plan.assemble(nodes_from_tiles(plan.nodes, size, tiles))


@given(st.integers(1, MAX_SIZE), st.integers(0, MAX_SIZE), st.integers(1, 6))
def test_huge_trees(size: int, start: int, count: int) -> None:
    """The cost is that of the leaves and the depth, whatever the size."""
    start %= size
    end = min(start + count, size)
    plan = plan_inclusions(start, end, size)
    assert len(set(plan.nodes)) == len(plan.nodes)
    hashes = {node: bytes([node.level]) * 32 for node in plan.nodes}
    assert set(plan_path(start, size).tiles) <= set(plan.tiles(size))
    for index, path in zip(range(start, end), plan.assemble(hashes), strict=True):
        assert root_from_inclusion(LEAVES[0], index, size, path)
        single = plan_inclusion(index, size)
        # What a single plan needs and the run's does not is within the run itself.
        if set(single.nodes) <= set(hashes):
            assert single.assemble(hashes) == path


def test_a_run_needs_few_nodes() -> None:
    plan = plan_inclusions(512, 640, 700)
    one_by_one = {node for index in range(512, 640) for node in plan_inclusion(index, 700).nodes}
    assert set(plan.nodes) == one_by_one
    assert set(plan.tiles(700)) == {Tile(0, 2, 188), Tile(1, 0, 2)}


@pytest.mark.parametrize(("start", "end", "size"), [(-1, 1, 2), (2, 1, 3), (0, 3, 2), (0, 1, 0)])
def test_runs_outside_the_tree(start: int, end: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaves"):
        plan_inclusions(start, end, size)


@pytest.mark.parametrize(("leaf", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_a_tree_has_no_path_of_what_it_has_not(leaf: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of size {size} has no leaf {leaf}"):
        plan_path(leaf, size)
