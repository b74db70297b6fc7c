"""Proofs against the oracle; and what does not hold, or is of another tree, does not verify."""

import hashlib

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.tlog.encoding import MAX_SIZE, VerificationError
from muniment.tlog.merkle import EMPTY_ROOT, CompactRange, leaf_hash, root_of
from muniment.tlog.proofs import (
    MAX_PROOF,
    Plan,
    is_subtree,
    nodes_from_tiles,
    plan_consistency,
    plan_inclusion,
    plan_root,
    plan_subtree,
    plan_subtree_root,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
    verify_subtree,
)
from muniment.tlog.tiles import tile_at
from proving import ENTRIES, LEAVES, SIZES, root, tiles_at


def prove(plan: Plan, size: int) -> list[bytes]:
    """Reads only the tiles that the plan names."""
    tiles = tiles_at(size)
    read = {tile: tiles[tile] for tile in plan.tiles(size)}
    return list(plan.assemble(nodes_from_tiles(plan.nodes, size, read)))


def subtrees(size: int) -> st.SearchStrategy[tuple[int, int]]:
    """Any subtree of a tree: the beginning of any node."""

    def shape(level: int) -> st.SearchStrategy[tuple[int, int]]:
        starts = st.integers(0, (size - 1) >> level).map(lambda index: index << level)
        return starts.flatmap(
            lambda start: st.integers(start + 1, min(start + (1 << level), size)).map(
                lambda end: (start, end)
            )
        )

    return st.integers(0, size.bit_length()).flatmap(shape)


def mutations(proof: list[bytes]) -> list[list[bytes]]:
    """Every single change of a proof that is not the same proof."""
    changed = [proof[:at] + proof[at + 1 :] for at in range(len(proof))]
    for at in range(len(proof) + 1):
        changed += [[*proof[:at], extra, *proof[at:]] for extra in (bytes(32), b"", EMPTY_ROOT)]
    for at, value in enumerate(proof):
        for bit in (0, 100, 255):
            flipped = (int.from_bytes(value, "big") ^ (1 << bit)).to_bytes(32, "big")
            changed.append([*proof[:at], flipped, *proof[at + 1 :]])
        for other in (value[:-1], value + b"\x00", b""):
            changed.append([*proof[:at], other, *proof[at + 1 :]])
    for at in range(len(proof) - 1):
        changed.append([*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]])
        # The same bytes, cut elsewhere: concatenation must not hide it.
        both = proof[at] + proof[at + 1]
        changed.append([*proof[:at], both[:31], both[31:], *proof[at + 2 :]])
    return [mutant for mutant in changed if mutant != proof]


# Proofs of every tree, subtree and leaf, up to a size.


@pytest.mark.parametrize("size", [*range(1, 34), 64, 65, 255, 256, 257])
def test_inclusion_equals_the_oracle(size: int) -> None:
    """RFC 6962 section 2.1.1, PATH; the proof verifies (RFC 9162 section 2.1.3.2)."""
    for index in range(0, size, 1 if size < 66 else 17):
        proof = prove(plan_inclusion(index, size), size)
        assert proof == rfc6962.PATH(index, ENTRIES[:size])
        assert root_from_inclusion(LEAVES[index], index, size, proof) == root(size)
        verify_inclusion(LEAVES[index], index, size, proof, root(size))
        verify_subtree(index, index + 1, LEAVES[index], size, root(size), proof)


@pytest.mark.parametrize("new", [*range(1, 34), 64, 65, 255, 256, 257])
def test_consistency_equals_the_oracle(new: int) -> None:
    """RFC 6962 section 2.1.2, PROOF; the proof verifies (RFC 9162 section 2.1.4.2)."""
    for old in range(1, new + 1, 1 if new < 66 else 17):
        proof = prove(plan_consistency(old, new), new)
        assert proof == rfc6962.PROOF(old, ENTRIES[:new])
        verify_consistency(old, root(old), new, root(new), proof)
        verify_subtree(0, old, root(old), new, root(new), proof)


@settings(max_examples=120, deadline=None)
@given(st.data(), SIZES)
def test_subtree_proofs_equal_the_oracle(data: st.DataObject, size: int) -> None:
    """merkle-tree-certs "Generating a Subtree Consistency Proof", SUBTREE_PROOF."""
    start, end = data.draw(subtrees(size))
    assert is_subtree(start, end)
    subtree = rfc6962.MTH(ENTRIES[start:end])
    proof = prove(plan_subtree(start, end, size), size)
    assert proof == rfc6962.SUBTREE_PROOF(start, end, ENTRIES[:size])
    assert prove(plan_subtree_root(start, end), size) == [subtree]
    verify_subtree(start, end, subtree, size, root(size), proof)


@settings(max_examples=60, deadline=None)
@given(st.data(), SIZES)
def test_roots_from_tiles(data: st.DataObject, size: int) -> None:
    assert prove(plan_root(size), size) == [root(size)]
    # A node that is complete at an older size is in the newer tree's tiles too.
    older = data.draw(st.integers(0, size))
    assert prove(plan_root(older), size) == [root(older)]


def test_peaks_from_tiles() -> None:
    """How a log finds its right edge again at start."""
    size = 611
    plan = plan_root(size)
    hashes = nodes_from_tiles(plan.nodes, size, tiles_at(size))
    restored = CompactRange.from_peaks(size, [hashes[node] for node in plan.nodes])
    assert restored == CompactRange.EMPTY.extend(LEAVES[:size])


# What does not hold does not verify.


@settings(max_examples=40, deadline=None)
@given(st.data(), SIZES)
def test_no_mutated_proof_verifies(data: st.DataObject, size: int) -> None:
    start, end = data.draw(subtrees(size))
    subtree = root_of(LEAVES[start:end])
    proof = prove(plan_subtree(start, end, size), size)
    for mutant in mutations(proof):
        with pytest.raises(VerificationError):
            verify_subtree(start, end, subtree, size, root(size), mutant)
        if start == 0:
            with pytest.raises(VerificationError):
                verify_consistency(end, subtree, size, root(size), mutant)
        if end == start + 1:
            with pytest.raises(VerificationError):
                verify_inclusion(subtree, start, size, mutant, root(size))


@settings(max_examples=100, deadline=None)
@given(st.data(), SIZES, SIZES)
def test_no_inclusion_proof_verifies_elsewhere(data: st.DataObject, size: int, other: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove(plan_inclusion(index, size), size)
    elsewhere = data.draw(st.integers(-1, max(size, other)))
    assume((index, size) != (elsewhere, other))
    stranger = LEAVES[elsewhere] if 0 <= elsewhere < len(LEAVES) else leaf_hash(b"of no tree here")
    if elsewhere != index:
        with pytest.raises(VerificationError):
            verify_inclusion(LEAVES[index], elsewhere, size, proof, root(size))
        with pytest.raises(VerificationError):
            verify_inclusion(stranger, index, size, proof, root(size))
    if other != size:
        with pytest.raises(VerificationError):
            verify_inclusion(LEAVES[index], index, size, proof, root(other))
        with pytest.raises(VerificationError):
            verify_inclusion(LEAVES[index], index, other, proof, root(other))


@settings(max_examples=150, deadline=None)
@given(SIZES, SIZES, SIZES)
@example(1, 2, 3)
@example(4, 8, 6)
def test_no_consistency_proof_verifies_elsewhere(one: int, two: int, other: int) -> None:
    old, new = sorted((one, two))
    assume(other not in (old, new) and old != new)
    proof = prove(plan_consistency(old, new), new)
    for claim in (
        (other, root(old), new, root(new)),
        (other, root(other), new, root(new)),
        (old, root(other), new, root(new)),
        (old, root(old), other, root(other)),
        (old, root(old), new, root(other)),
        (old, root(new), new, root(old)),
        (new, root(new), old, root(old)),
        (old, root(old), new, root(old)),
        (old, EMPTY_ROOT, new, root(new)),
        (0, EMPTY_ROOT, new, root(new)),
    ):
        with pytest.raises(VerificationError):
            verify_consistency(*claim, proof)


def test_a_fork_does_not_verify() -> None:
    """An older tree with another leaf: no proof from the newer tree connects them."""
    forked = root_of([*LEAVES[:9], LEAVES[100], *LEAVES[10:13]])
    for new in (14, 16, 100):
        proof = prove(plan_consistency(13, new), new)
        with pytest.raises(VerificationError, match="older root does not match"):
            verify_consistency(13, forked, new, root(new), proof)


def test_the_empty_tree_is_a_beginning_of_all() -> None:
    """merkle-tree-certs: SUBTREE_PROOF(start, start, D_n) = {}, with the hash of nothing."""
    for new in (0, 1, 5):
        assert plan_consistency(0, new).nodes == ()
        verify_consistency(0, EMPTY_ROOT, new, root(new), [])
        with pytest.raises(VerificationError, match="not the root of the empty tree"):
            verify_consistency(0, root(1), new, root(new), [])
        with pytest.raises(VerificationError, match="1 hashes instead of 0"):
            verify_consistency(0, EMPTY_ROOT, new, root(new), [EMPTY_ROOT])
    with pytest.raises(VerificationError, match="not the root of the empty tree"):
        verify_consistency(0, EMPTY_ROOT, 0, root(1), [])
    with pytest.raises(VerificationError, match="32 bytes"):
        verify_consistency(0, EMPTY_ROOT, 1, b"root", [])
    assert plan_subtree(5, 5, 7).nodes == ()
    verify_subtree(5, 5, EMPTY_ROOT, 7, root(7), [])
    with pytest.raises(VerificationError, match="not the root of the empty tree"):
        verify_subtree(5, 5, LEAVES[5], 7, root(7), [])


@given(st.integers(1, 10**6), st.binary(min_size=32, max_size=32))
def test_equal_sizes_have_equal_roots_and_no_proof(size: int, value: bytes) -> None:
    verify_consistency(size, value, size, value, [])
    with pytest.raises(VerificationError, match="two roots of one size"):
        verify_consistency(size, value, size, hashlib.sha256(value).digest(), [])
    with pytest.raises(VerificationError, match="1 hashes instead of 0"):
        verify_consistency(size, value, size, value, [value])


def test_trees_do_not_shrink() -> None:
    with pytest.raises(VerificationError, match="from 2 to 1"):
        verify_consistency(2, root(2), 1, root(1), [])
    with pytest.raises(VerificationError, match="from -1 to 1"):
        verify_consistency(-1, root(2), 1, root(1), [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 5), (6, 5), (-1, 5), (0, -1)])
def test_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(VerificationError, match=f"a tree of size {size} has no leaf {index}"):
        verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])
    with pytest.raises(ValueError, match=f"a tree of size {size} has no leaf {index}"):
        plan_inclusion(index, size)


@pytest.mark.parametrize(("start", "end", "size"), [(1, 3, 8), (4, 9, 9), (4, 8, 7), (3, 2, 8)])
def test_not_a_subtree(start: int, end: int, size: int) -> None:
    with pytest.raises(VerificationError, match="there is no such subtree"):
        verify_subtree(start, end, LEAVES[0], size, root(size), [])
    with pytest.raises(ValueError, match="has no subtree"):
        plan_subtree(start, end, size)


def test_plans_refuse_what_no_tree_has() -> None:
    for old, new in ((2, 1), (-1, 1)):
        with pytest.raises(ValueError, match="no tree grows"):
            plan_consistency(old, new)
    with pytest.raises(ValueError, match="is not a subtree"):
        plan_root(-1)
    with pytest.raises(ValueError, match="is not a subtree"):
        plan_subtree_root(2, 5)


@given(st.integers(-2, 300), st.integers(-2, 300))
def test_is_subtree_is_the_definition(start: int, end: int) -> None:
    """merkle-tree-certs "Definition of a Subtree"."""
    assert is_subtree(start, end) == rfc6962.is_subtree(start, end)


def test_is_subtree_does_not_overflow() -> None:
    """merkle-tree-certs: BIT_CEIL of a size above 2**63 needs care with 64-bit integers."""
    assert is_subtree(0, 2**63 + 1)
    assert not is_subtree(1, 2**63 + 2)


@given(st.integers(1, MAX_SIZE), st.integers(0, MAX_SIZE))
def test_the_largest_proofs(size: int, index: int) -> None:
    """Planning and verifying take the depth of the tree, whatever its size."""
    index %= size
    plan = plan_inclusion(index, size)
    assert len(plan.parts) <= MAX_PROOF
    assert all(tile == tile_at(tile.level, tile.index, size) for tile in plan.tiles(size))
    hashes = {node: bytes([node.level]) * 32 for node in plan.nodes}
    proof = plan.assemble(hashes)
    verify_inclusion(
        LEAVES[0], index, size, proof, root_from_inclusion(LEAVES[0], index, size, proof)
    )
    with pytest.raises(VerificationError, match="hashes instead of"):
        root_from_inclusion(LEAVES[0], index, size, [*proof, LEAVES[0]])
    if size < 2**62:
        assert len(plan_consistency(index, size).parts) <= MAX_PROOF
