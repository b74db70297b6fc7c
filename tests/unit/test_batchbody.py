"""Addenda behind a batch: put there, found again, refused with their number."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bodies import split_body
from muniment.records import batchbody
from muniment.records.batchbody import AddendumError, end_of_batch, join_body
from muniment.records.manifest import MANIFEST, NO_PREVIOUS, build_batch
from muniment.tlog.encoding import FormatError, frame
from muniment.tlog.note import Ed25519Signer

SIGNER = Ed25519Signer("gw.example/edge", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))

_text = st.text(min_size=1, max_size=40).map(lambda text: text.replace("\n", " ").encode())
_content = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.just(MANIFEST),
    st.just(frame([b"{}", MANIFEST + b"again"])),
)


def batch_of(records: list[bytes]) -> bytes:
    return build_batch("log.example/x", SIGNER, "s", 0, NO_PREVIOUS, records).body


BATCH = batch_of([b"{}", b'{"a":1}'])


@given(st.lists(_text, min_size=1, max_size=5), st.lists(_content, max_size=5))
def test_what_is_joined_splits_into_the_same(records: list[bytes], addenda: list[bytes]) -> None:
    batch = batch_of(records)
    assert split_body(join_body(batch, iter(addenda))) == (batch, addenda)


@given(st.lists(_content, max_size=4), st.integers(0, 400))
def test_what_is_cut_off_is_refused_or_shorter(addenda: list[bytes], cut: int) -> None:
    body = join_body(BATCH, addenda)
    short = body[: max(0, len(body) - cut)]
    try:
        batch, found = split_body(short)
    except AddendumError:
        assert len(short) > len(BATCH)
    else:
        assert found == addenda[: len(found)]
        assert batch == BATCH[: len(short)]


@given(st.binary(max_size=200))
def test_any_bytes_are_split_or_refused(body: bytes) -> None:
    for data in (body, BATCH + body):
        try:
            batch, addenda = split_body(data)
        except FormatError:
            continue
        assert batch + b"".join(len(one).to_bytes(4, "big") + one for one in addenda) == data


def test_a_batch_alone_is_not_copied() -> None:
    assert split_body(BATCH)[0] is BATCH
    assert join_body(BATCH, []) is BATCH
    assert end_of_batch(BATCH) == len(BATCH)


def test_a_body_without_a_manifest_is_all_batch() -> None:
    assert split_body(b"\0\2{}") == (b"\0\2{}", [])
    assert split_body(MANIFEST) == (MANIFEST, [])


@pytest.mark.parametrize(
    ("addenda", "reason"),
    [
        (b"\0\0\0\1a\0\0\0", "addendum 1: truncated"),
        (b"\0\0\0\1a\0\0\0\0", "addendum 1: empty"),
        (b"\0\0\0\5a", "addendum 0: truncated"),
    ],
)
def test_bad_framing_is_refused_with_its_number(addenda: bytes, reason: str) -> None:
    with pytest.raises(AddendumError, match=reason):
        split_body(BATCH + addenda)


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchbody, "MAX_ADDENDUM", 10)
    monkeypatch.setattr(batchbody, "MAX_ADDENDA_BYTES", 40)
    monkeypatch.setattr(batchbody, "MAX_ADDENDA", 4)
    for addenda, reason in [
        ([b"a", b"b" * 11], "addendum 1: 11 bytes; at most 10"),
        ([b"a" * 10] * 3, "addenda: more than 40 bytes"),
        ([b"a"] * 5, "addenda: more than 4"),
    ]:
        with pytest.raises(FormatError, match=reason):
            join_body(BATCH, addenda)
        with pytest.raises(FormatError, match=reason):
            split_body(BATCH + b"".join(len(one).to_bytes(4, "big") + one for one in addenda))


def test_addenda_go_behind_a_manifest_alone() -> None:
    for batch in (b"", b"\0\2{}", join_body(BATCH, [b"a"])):
        with pytest.raises(FormatError, match="does not end with its manifest"):
            join_body(batch, [b"a"])
