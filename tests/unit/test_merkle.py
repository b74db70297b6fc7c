"""The tree hash against the oracle, and compact ranges in any split."""

import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.tlog.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    CompactRange,
    leaf_hash,
    leaf_hashes,
    node_hash,
    pair_hashes,
    root_of,
    split_hashes,
)

ENTRIES = [index.to_bytes(2, "big") * (index % 5) for index in range(700)]
LEAVES = leaf_hashes(ENTRIES)
ROOTS = {size: rfc6962.MTH(ENTRIES[:size]) for size in [*range(140), 255, 256, 257, 511, 512, 700]}


def test_hashes_are_those_of_rfc_6962() -> None:
    """RFC 6962 section 2.1: leaves are prefixed with 0x00, inner nodes with 0x01."""
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT
    assert len(EMPTY_ROOT) == HASH_SIZE
    assert leaf_hash(b"") == rfc6962.MTH([b""])
    assert leaf_hash(b"x") == rfc6962.MTH([b"x"])
    assert node_hash(leaf_hash(b"a"), leaf_hash(b"b")) == rfc6962.MTH([b"a", b"b"])


@given(st.lists(st.binary(max_size=70), max_size=40))
def test_roots_of_any_entries(entries: list[bytes]) -> None:
    hashes = leaf_hashes(iter(entries))
    assert hashes == [leaf_hash(entry) for entry in entries]
    assert root_of(hashes) == rfc6962.MTH(entries)
    assert root_of(tuple(hashes)) == rfc6962.MTH(entries)


@pytest.mark.parametrize("size", ROOTS)
def test_roots_of_every_shape(size: int) -> None:
    before = LEAVES[:size]
    level = list(before)
    assert root_of(level) == ROOTS[size]
    assert level == before, "the caller's list is not touched"
    assert CompactRange.EMPTY.extend(level).root() == ROOTS[size]
    assert level == before


def test_hashes_side_by_side_are_split_and_a_rest_is_not_lost() -> None:
    hashes = [hashlib.sha256(bytes([number])).digest() for number in range(5)]
    assert split_hashes(b"".join(hashes)) == hashes
    assert split_hashes(b"") == []
    assert split_hashes(hashes[0] + b"rest") == [hashes[0], b"rest"]


def test_pairs_need_an_even_level() -> None:
    assert pair_hashes([]) == []
    assert pair_hashes(LEAVES[:4]) == [node_hash(*LEAVES[:2]), node_hash(*LEAVES[2:4])]
    for odd in (1, 3, 5):
        with pytest.raises(ValueError, match="shorter"):
            pair_hashes(LEAVES[:odd])


def test_root_over_subtrees_of_equal_height() -> None:
    """tlog-tiles "Merkle Tree": an entry of a level is the tree hash of a full tile below."""
    tiles = [root_of(LEAVES[start : start + 256]) for start in (0, 256)]
    assert root_of(tiles) == ROOTS[512]


@settings(max_examples=150)
@given(st.integers(0, 700), st.lists(st.integers(0, 700), max_size=8))
def test_extending_in_any_split_is_the_same(size: int, cuts: list[int]) -> None:
    bounds = sorted({0, size, *(cut for cut in cuts if cut < size)})
    grown = CompactRange.EMPTY
    for start, end in itertools.pairwise(bounds):
        grown = grown.extend(LEAVES[start:end])
        assert grown.size == end
        assert len(grown.peaks) == end.bit_count()
    assert grown == CompactRange.EMPTY.extend(LEAVES[:size])
    assert grown.root() == root_of(LEAVES[:size])


def test_extending_leaf_by_leaf() -> None:
    grown = CompactRange.EMPTY
    for size in range(140):
        assert (grown.size, grown.root()) == (size, ROOTS[size])
        grown = grown.extend([LEAVES[size]])


def test_peaks_are_perfect_subtrees_largest_first() -> None:
    grown = CompactRange.EMPTY.extend(LEAVES[:13])
    assert grown.peaks == (
        rfc6962.MTH(ENTRIES[:8]),
        rfc6962.MTH(ENTRIES[8:12]),
        rfc6962.MTH(ENTRIES[12:13]),
    )
    assert CompactRange.from_peaks(13, list(grown.peaks)) == grown


def test_extending_by_nothing() -> None:
    assert CompactRange.EMPTY.extend([]) == CompactRange.EMPTY
    grown = CompactRange.EMPTY.extend(LEAVES[:7])
    assert grown.extend([]) == grown


@given(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9))
def test_appending_subtrees_hashed_apart(height: int, first: int, count: int) -> None:
    span = 1 << height
    start, end = first * span, (first + count) * span
    roots = [root_of(LEAVES[leaf : leaf + span]) for leaf in range(start, end, span)]
    grown = CompactRange.EMPTY.extend(LEAVES[:start]).append(height, roots)
    assert grown == CompactRange.EMPTY.extend(LEAVES[:end])


def test_appending_needs_alignment() -> None:
    grown = CompactRange.EMPTY.extend(LEAVES[:6])
    assert grown.append(1, [root_of(LEAVES[6:8])]).root() == ROOTS[8]
    for height in (2, 3, 8):
        with pytest.raises(ValueError, match="begins at leaf 6"):
            grown.append(height, [LEAVES[0]])


@pytest.mark.parametrize(("size", "count"), [(-1, 0), (0, 1), (1, 0), (7, 2), (8, 2), (2**62, 0)])
def test_restoring_needs_one_peak_for_each_set_bit(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="cannot cover"):
        CompactRange.from_peaks(size, [EMPTY_ROOT] * count)


@settings(max_examples=40)
@given(st.integers(0, 2**62), st.integers(0, 12))
def test_huge_ranges_extend(size: int, more: int) -> None:
    """No shape of a real log is out of reach: the cost depends on the set bits, not the size."""
    peaks = [index.to_bytes(32, "big") for index in range(size.bit_count())]
    grown = CompactRange.from_peaks(size, peaks)
    at_once = grown.extend(LEAVES[:more])
    for leaf in LEAVES[:more]:
        grown = grown.extend([leaf])
    assert at_once == grown
    assert grown.size == size + more


def test_integrating_makes_tiles_by_slicing() -> None:
    """What an integrator does: level 0 by slicing, each full tile's root is an entry above."""
    levels: list[list[bytes]] = [[], []]
    state = CompactRange.EMPTY
    for start, end in ((0, 100), (100, 300), (300, 700)):
        batch = LEAVES[start:end]
        state = state.extend(batch)
        levels[0] += batch
        while len(levels[0]) - 256 * len(levels[1]) >= 256:
            tile = levels[0][256 * len(levels[1]) :][:256]
            levels[1].append(root_of(tile))
    # The right edge: the full tiles' entries, then the leaves of the partial tile.
    edge = CompactRange.EMPTY.append(8, levels[1]).extend(levels[0][512:])
    assert edge == state
    assert state.root() == ROOTS[700]
