"""The text of an index log's leaf: one spelling, both ways, and each of its rules."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.tlog.encoding import MAX_SIZE, FormatError
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import (
    HEADER,
    MAX_INDEX_LEAF,
    MAX_VERSION,
    IndexLeaf,
    index_origin,
    parse_index_leaf,
)
from signing import ORIGIN

ROOT = sha256(b"root").digest()
MAP_ROOT = sha256(b"map").digest()
EXAMPLE = b"""muniment-index/v1
log.example/one
map 1
7
SBOGfmwLYJ3iCGz1qtxFO6PKbK5OvXUNh4E0Kf9Y3Pk=
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
"""

hashes = st.binary(min_size=32, max_size=32)
origins = st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=0x20), min_size=1, max_size=60
)
leaves = st.builds(
    IndexLeaf,
    origins,
    st.builds(Head, st.integers(0, MAX_SIZE), hashes),
    hashes,
    st.integers(1, MAX_VERSION),
)


@settings(deadline=None)
@given(leaves)
def test_what_is_written_is_read_again(leaf: IndexLeaf) -> None:
    assert parse_index_leaf(leaf.encode()) == leaf


def test_example() -> None:
    leaf = parse_index_leaf(EXAMPLE)
    assert (leaf.origin, leaf.head.size, leaf.version) == ("log.example/one", 7, 1)
    assert leaf.map_root == bytes(32)
    assert leaf.lines[0] == HEADER


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"muniment-index/v1", b"muniment-index/v2"),
        (b"log.example/one", b""),
        (b"log.example/one", b"log.example\x07"),
        (b"map 1", b"map 0"),
        (b"map 1", b"map 01"),
        (b"map 1", b"1"),
        (b"\n7\n", b"\n07\n"),
        (b"\n7\n", b"\n-1\n"),
        (b"AAAA=\n", b"AAAB=\n"),
        (b"AAAA=\n", b"AA==\n"),
        (b"AAAA=\n", b"AAAA=\nmore\n"),
        (b"AAAA=\n", b"AAAA="),
        (b"log.example/one", b"o" * MAX_INDEX_LEAF),
    ],
)
def test_each_rule(old: bytes, new: bytes) -> None:
    assert old in EXAMPLE
    with pytest.raises(FormatError):
        parse_index_leaf(EXAMPLE.replace(old, new))


@pytest.mark.parametrize(
    "members",
    [
        {"origin": ""},
        {"head": Head(-1, ROOT)},
        {"head": Head(1, ROOT[1:])},
        {"map_root": b""},
        {"version": 0},
        {"origin": "o" * MAX_INDEX_LEAF},
    ],
)
def test_what_cannot_stand_in_a_leaf_makes_none(members: dict[str, object]) -> None:
    good: dict[str, object] = {"origin": ORIGIN, "head": Head(7, ROOT), "map_root": MAP_ROOT}
    with pytest.raises(FormatError, match="index leaf"):
        IndexLeaf(**{**good, **members})  # type: ignore[arg-type]


def test_a_changed_map_has_an_index_log_of_its_own() -> None:
    assert index_origin(ORIGIN) == f"{ORIGIN}/index"
    assert index_origin(ORIGIN, 2) == f"{ORIGIN}/index2"
