"""Proofs against the oracle, the accumulated vectors of the draft, peers' probes, and mutations."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.tlog.encoding import MAX_SIZE, FormatError, VerificationError
from muniment.tlog.merkle import EMPTY_ROOT, CompactRange, leaf_hash, leaf_hashes, root_of
from muniment.tlog.proofs import (
    MAX_PROOF,
    Node,
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
from muniment.tlog.tiles import Tile, tile_at, tiles_of

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"

ENTRIES = [b"entry %d" % index for index in range(700)]
LEAVES = leaf_hashes(ENTRIES)
SIZES = st.integers(1, 100) | st.integers(1, 700) | st.sampled_from([255, 256, 257, 511, 512, 513])


@cache
def root(size: int) -> bytes:
    return rfc6962.MTH(ENTRIES[:size])


@cache
def tiles_at(size: int) -> dict[Tile, bytes]:
    """Every tile of the tree, straight from the formula of tlog-tiles."""
    tiles = {}
    for tile in tiles_of(size):
        span = 256**tile.level
        starts = range(tile.start, tile.end, span)
        tiles[tile] = b"".join(root_of(LEAVES[start : start + span]) for start in starts)
    return tiles


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


# The accumulated vectors: a digest over the outputs for all inputs up to size 130.

ACCUMULATED = 130
VECTOR_ENTRIES = [bytes([index]) for index in range(ACCUMULATED)]
VECTOR_LEAVES = leaf_hashes(VECTOR_ENTRIES)


@pytest.fixture(scope="module")
def vector_nodes() -> dict[Node, bytes]:
    level, hashes = 0, VECTOR_LEAVES
    nodes = {}
    while hashes:
        nodes |= {Node(level, index): value for index, value in enumerate(hashes)}
        pairs = range(0, len(hashes) - 1, 2)
        level, hashes = level + 1, [root_of(hashes[at : at + 2]) for at in pairs]
    return nodes


def vector_subtrees(most: int = ACCUMULATED) -> list[tuple[int, int]]:
    ends = range(most + 1)
    return [(start, end) for end in ends for start in range(end + 1) if is_subtree(start, end)]


def test_vector_of_subtree_hashes(vector_nodes: dict[Node, bytes]) -> None:
    """merkle-tree-certs appendix "Subtree Hashes"."""
    digest = hashlib.sha256()
    for start, end in vector_subtrees():
        [value] = plan_subtree_root(start, end).assemble(vector_nodes)
        assert value == root_of(VECTOR_LEAVES[start:end])
        digest.update(f"[{start}, {end}) {value.hex()}\n".encode())
    want = "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"
    assert digest.hexdigest() == want


def test_vector_of_subtree_inclusion_proofs(vector_nodes: dict[Node, bytes]) -> None:
    """merkle-tree-certs appendix "Subtree Inclusion Proofs": index - start, in end - start."""
    digest = hashlib.sha256()
    for start, end in vector_subtrees():
        for index in range(start, end):
            plan = plan_inclusion(index - start, end - start)
            moved = tuple(
                tuple(Node(level, at + (start >> level)) for level, at in part)
                for part in plan.parts
            )
            proof = Plan(moved).assemble(vector_nodes)
            digest.update(f"{index} [{start}, {end})".encode())
            digest.update("".join(f" {value.hex()}" for value in proof).encode() + b"\n")
    want = "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"
    assert digest.hexdigest() == want


def test_vector_of_subtree_consistency_proofs(vector_nodes: dict[Node, bytes]) -> None:
    """merkle-tree-certs appendix "Subtree Consistency Proofs"; each of them verifies."""
    digest = hashlib.sha256()
    hashes = {(start, end): root_of(VECTOR_LEAVES[start:end]) for start, end in vector_subtrees()}
    for size in range(ACCUMULATED + 1):
        for start, end in vector_subtrees(size):
            proof = plan_subtree(start, end, size).assemble(vector_nodes)
            verify_subtree(start, end, hashes[start, end], size, hashes[0, size], proof)
            digest.update(f"[{start}, {end}) {size}".encode())
            digest.update("".join(f" {value.hex()}" for value in proof).encode() + b"\n")
    want = "10fa99b37bf9bf9ffa26b412fbd98bd75363256d0b75d61bc4538b9c9c5a0a74"
    assert digest.hexdigest() == want


# The probes of transparency-dev/merkle, one file each.


def probes(kind: str) -> list[Any]:
    paths = sorted((VECTORS / kind).rglob("*.json"))
    if not paths:
        reason = "the shared vectors are not beside this repository"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    names = [path.relative_to(VECTORS).with_suffix("").as_posix() for path in paths]
    return [pytest.param(path, id=name) for path, name in zip(paths, names, strict=True)]


def read_probe(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    probe = json.loads(path.read_text())
    return probe, [base64.b64decode(value) for value in probe["proof"] or []]


@pytest.mark.parametrize("path", probes("inclusion"))
def test_inclusion_probe(path: Path) -> None:
    probe, proof = read_probe(path)
    leaf, tree = (base64.b64decode(probe[name]) for name in ("leafHash", "root"))
    if probe["wantErr"]:
        with pytest.raises(VerificationError):
            verify_inclusion(leaf, probe["leafIdx"], probe["treeSize"], proof, tree)
    else:
        verify_inclusion(leaf, probe["leafIdx"], probe["treeSize"], proof, tree)


@pytest.mark.parametrize("path", probes("consistency"))
def test_consistency_probe(path: Path) -> None:
    """The probes from size 0 all fail here for their roots, which are not hashes.

    Their authors call any proof from size 0 useless and refuse it. merkle-tree-certs accepts the
    empty proof for the empty subtree, which is what a witness that never saw a log needs.
    """
    probe, proof = read_probe(path)
    old, new = (base64.b64decode(probe[name]) for name in ("root1", "root2"))
    if probe["wantErr"]:
        with pytest.raises(VerificationError):
            verify_consistency(probe["size1"], old, probe["size2"], new, proof)
    else:
        verify_consistency(probe["size1"], old, probe["size2"], new, proof)


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


# Tiles are untrusted input.


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
