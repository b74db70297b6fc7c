"""The Merkle Patricia tree against torchwood's vectors, and its proofs against each other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtree import MemTree
from muniment.tlog import mpt
from muniment.tlog.encoding import FormatError, MunimentError

DATA = Path(__file__).parent.parent / "data" / "mpt"
WIDE = st.binary(min_size=32, max_size=32) | st.integers(0, 40).map(
    lambda n: bytes(30) + bytes((n, n))
)
VALUES = st.binary(max_size=3)


def _lines(name: str) -> Iterator[tuple[str, str]]:
    text = (DATA / name).read_text("ascii").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest


def _hex(text: str) -> bytes:
    return bytes.fromhex(text.replace("''", ""))


def test_torchwood_roots() -> None:
    tree, count = MemTree(), 0
    for word, rest in _lines("treehash.txt"):
        if word == "kv":
            key, value = map(_hex, rest.split(" "))
            tree.set(key, value)
        else:
            assert tree.root == _hex(rest)
            tree, count = MemTree(), count + 1
    assert count == 32


@given(st.dictionaries(WIDE, VALUES, max_size=30), st.sets(WIDE, max_size=5), st.data())
def test_what_is_proved_of_several_keys_is_so_and_nothing_else(
    items: dict[bytes, bytes], others: set[bytes], data: st.DataObject
) -> None:
    keys = others | (
        data.draw(st.sets(st.sampled_from(sorted(items)), max_size=5)) if items else set()
    )
    if not keys:
        return
    tree = MemTree(items.items())
    values, proof = tree.prove_many(keys)
    assert values == {key: items.get(key) for key in keys}
    mpt.verify_many(tree.root, values, proof)
    key = data.draw(st.sampled_from(sorted(keys)))
    for lie in {None, b"another"} - {values[key]}:
        with pytest.raises(MunimentError):
            mpt.verify_many(tree.root, values | {key: lie}, proof)


@given(st.dictionaries(WIDE, VALUES, min_size=1, max_size=12), st.sets(WIDE, min_size=1), st.data())
def test_a_proof_that_was_changed_anywhere_verifies_nowhere(
    items: dict[bytes, bytes], keys: set[bytes], data: st.DataObject
) -> None:
    tree = MemTree(items.items())
    values, proof = tree.prove_many(keys)
    at = data.draw(st.integers(0, len(proof) - 1))
    flipped = data.draw(st.integers(1, 255))
    for changed in (
        proof[:at] + bytes((proof[at] ^ flipped,)) + proof[at + 1 :],
        proof[:at],
        proof + proof[at:],
    ):
        with pytest.raises(MunimentError):
            mpt.verify_many(tree.root, values, changed)


@given(st.dictionaries(WIDE, VALUES, max_size=3), st.binary(max_size=200))
def test_any_bytes_are_refused_as_a_proof_and_crash_nothing(
    values: dict[bytes, bytes | None], proof: bytes
) -> None:
    if not values or values == {}:
        return
    with pytest.raises(MunimentError):
        mpt.verify_many(bytes(32), values, proof)


def test_a_proof_that_leads_too_deep_is_refused() -> None:
    with pytest.raises(FormatError, match="beyond the longest key"):
        mpt.verify_many(bytes(32), {bytes(32): None}, b"\2" * 100_000)


def test_no_keys_and_keys_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="0 keys"):
        mpt.verify_many(mpt.EMPTY, {}, b"")
    with pytest.raises(ValueError, match="more than 32 bytes"):
        mpt.verify_many(mpt.EMPTY, {bytes(33): None}, b"")
