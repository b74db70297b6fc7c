"""How two heads stand to each other, against the definition in RFC 6962."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfc6962
from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import EMPTY, Head, Prefix, Relation, relate

ENTRIES = [b"%d" % index for index in range(40)]
OTHERS = [b"other %d" % index for index in range(40)]

sizes = st.integers(0, 40)
histories = st.sampled_from([ENTRIES, OTHERS])


def head(entries: list[bytes], size: int) -> Head:
    return Head(size, rfc6962.MTH(entries[:size]))


def prefix(entries: list[bytes], old: int, new: int) -> Prefix:
    proof = rfc6962.PROOF(old, entries[:new]) if 0 < old < new else []
    return Prefix(rfc6962.MTH(entries[:old]), tuple(proof))


@settings(max_examples=200, deadline=None)
@given(sizes, sizes, histories, histories)
def test_a_prefix_tells_whether_the_newer_tree_begins_with_the_older(
    one: int, other: int, older: list[bytes], newer: list[bytes]
) -> None:
    old, new = sorted((one, other))
    is_one_history = older[:old] == newer[:old]
    relation = relate(head(older, old), head(newer, new), prefix(newer, old, new))
    if old == new:
        assert relation is (Relation.SAME if is_one_history else Relation.CONTRADICTS)
    else:
        assert relation is (Relation.EXTENDS if is_one_history else Relation.CONTRADICTS)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, histories, histories)
def test_without_a_prefix_only_equal_sizes_and_empty_trees_tell_anything(
    one: int, other: int, older: list[bytes], newer: list[bytes]
) -> None:
    old, new = sorted((one, other))
    relation = relate(head(older, old), head(newer, new))
    if old == new:
        assert relation is (Relation.SAME if older[:old] == newer[:new] else Relation.CONTRADICTS)
    else:
        assert relation is (Relation.UNKNOWN if old else Relation.EXTENDS)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 39), st.integers(1, 39), histories, st.data())
def test_a_spoiled_prefix_says_nothing(
    old: int, more: int, older: list[bytes], data: st.DataObject
) -> None:
    """Whatever is wrong on the way is no contradiction: neither head is blamed for it."""
    new = min(old + more, 40)
    right = prefix(ENTRIES, old, new)
    hashes = [right.root, *right.proof]
    at = data.draw(st.integers(0, len(hashes) - 1))
    spoiled = bytearray(hashes[at])
    spoiled[data.draw(st.integers(0, 31))] ^= 1
    hashes[at] = bytes(spoiled)
    broken = Prefix(hashes[0], tuple(hashes[1:]))
    for wrong in (
        broken,
        Prefix(right.root, (*right.proof, bytes(32))),
        Prefix(right.root, right.proof[:-1]),
    ):
        with pytest.raises(VerificationError):
            relate(head(older, old), head(ENTRIES, new), wrong)


def test_an_empty_tree_with_a_root_contradicts_itself_and_everything() -> None:
    bad = Head(0, bytes(32))
    for newer in (bad, EMPTY, head(ENTRIES, 5)):
        assert relate(bad, newer) is Relation.CONTRADICTS
        assert relate(bad, newer, Prefix(bytes(32), ())) is Relation.CONTRADICTS
    assert relate(EMPTY, bad) is Relation.CONTRADICTS
    assert relate(EMPTY, EMPTY) is Relation.SAME


def test_every_tree_begins_with_the_empty_one_and_needs_no_proof_of_it() -> None:
    assert relate(EMPTY, head(ENTRIES, 9), Prefix(EMPTY.root, ())) is Relation.EXTENDS
    with pytest.raises(VerificationError):
        relate(EMPTY, head(ENTRIES, 9), Prefix(EMPTY.root, (bytes(32),)))


def test_the_older_head_comes_first() -> None:
    with pytest.raises(ValueError, match="is not older"):
        relate(head(ENTRIES, 9), head(ENTRIES, 5))
