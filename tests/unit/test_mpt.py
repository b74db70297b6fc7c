"""The Merkle Patricia tree against torchwood's vectors, and its proofs against each other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog import mpt
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError

DATA = Path(__file__).parent.parent / "data" / "mpt"
KEYS = st.binary(min_size=1, max_size=2)
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


def _holds(state: dict[str, str], word: str) -> bool:
    root, proof = _hex(state["snap"]), _hex(state["proof"])
    try:
        if word == "verify":
            value = None if state["val"] == "-" else _hex(state["val"])
            mpt.verify(root, _hex(state["key"]), value, proof)
        else:
            mpt.verify_prefix(root, _hex(state["prefix"]), _hex(state["hash"]), proof)
    except VerificationError:
        return False
    return True


def test_torchwood_roots() -> None:
    tree, count = mpt.MemTree(), 0
    for word, rest in _lines("treehash.txt"):
        if word == "kv":
            key, value = map(_hex, rest.split(" "))
            tree.set(key, value)
        else:
            assert tree.root == _hex(rest)
            tree, count = mpt.MemTree(), count + 1
    assert count == 32


def test_torchwood_proofs() -> None:
    state: dict[str, str] = {}
    count = 0
    for word, rest in _lines("verify.txt"):
        if word.startswith("verify"):
            assert _holds(state, word) is (rest == "true"), state
            count += 1
        else:
            state[word] = rest
    assert count == 121


def test_torchwood_prefixes() -> None:
    items: list[tuple[bytes, bytes]] = []
    tree = mpt.MemTree()
    prefix = hash_ = b""
    count = 0
    for word, rest in _lines("prefix.txt"):
        if word == "kv":
            key, value = map(_hex, rest.split(" "))
            items.append((key, value))
        elif word == "snap":
            tree, items = mpt.MemTree(items), []
            assert tree.root == _hex(rest)
        elif word == "prefix":
            prefix = _hex(rest)
        elif word == "hash":
            hash_ = _hex(rest)
        else:
            assert tree.prove_prefix(prefix) == (hash_, _hex(rest))
            assert mpt.MemTree(tree.items(prefix)).root == hash_
            mpt.verify_prefix(tree.root, prefix, hash_, _hex(rest))
            count += 1
    assert count == 876


@given(st.dictionaries(KEYS, VALUES, max_size=12), KEYS, VALUES)
def test_what_is_proved_of_a_key_is_so_and_nothing_else(
    items: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    tree = mpt.MemTree(items.items())
    value, proof = tree.prove(key)
    assert value == items.get(key)
    mpt.verify(tree.root, key, value, proof)
    for lie in {None, other} - {value}:
        with pytest.raises(VerificationError):
            mpt.verify(tree.root, key, lie, proof)


@given(st.dictionaries(WIDE, VALUES, max_size=30), st.sets(WIDE, max_size=5), st.data())
def test_what_is_proved_of_several_keys_is_so_and_nothing_else(
    items: dict[bytes, bytes], others: set[bytes], data: st.DataObject
) -> None:
    keys = others | (
        data.draw(st.sets(st.sampled_from(sorted(items)), max_size=5)) if items else set()
    )
    if not keys:
        return
    tree = mpt.MemTree(items.items())
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
    tree = mpt.MemTree(items.items())
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
    with pytest.raises(ValueError, match="more than 32 bytes"):
        mpt.MemTree([(bytes(33), b"")]).prove_many([b"a"])
    with pytest.raises(ValueError, match="more than 1024 bytes"):
        mpt.MemTree().set(bytes(1025), b"")
