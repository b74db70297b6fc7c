"""Manifests and batches: strict text, one signature, what each step proves."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from decisions import decisions
from muniment.records.manifest import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_MANIFEST,
    NO_PREVIOUS,
    Batch,
    Manifest,
    build_batch,
    check_stream_label,
    parse_batch,
    parse_manifest,
    parse_manifest_text,
    sign_manifest,
    token_stream,
    verify_batch,
    verify_manifest,
)
from muniment.tlog.cosignature import MLDSA44Cosigner
from muniment.tlog.encoding import MAX_SIZE, FormatError, VerificationError, frame, unframe
from muniment.tlog.merkle import EMPTY_ROOT, leaf_hash, root_of
from muniment.tlog.note import Ed25519Signer, Ed25519Verifier, sign_note

ORIGIN = "log.example/decisions"
GATEWAY = Ed25519Signer("gw.example/edge", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
LOG = Ed25519Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
STRANGER = Ed25519Signer("gw.example/other", Ed25519PrivateKey.from_private_bytes(b"\x03" * 32))
KNOWN = [Ed25519Verifier(signer.vkey) for signer in (GATEWAY, LOG)]
RECORDS = decisions(5)
MANIFEST = Manifest(
    origin=ORIGIN,
    producer="gw.example/edge",
    stream="main",
    first=17,
    count=5,
    root=b"\x01" * 32,
    previous=b"\x02" * 32,
)
TEXT = (
    "muniment/manifest/v1\n"
    "log.example/decisions\n"
    "gw.example/edge main\n"
    "17 5\n"
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n"
)


def batch(records: list[bytes] | None = None, first: int = 0) -> Batch:
    previous = b"\x07" * 32 if first else NO_PREVIOUS
    return build_batch(ORIGIN, GATEWAY, "main", first, previous, records or RECORDS)


def resigned(old: Batch, **changes: object) -> bytes:
    """The body of a batch with other things said in its manifest, properly signed."""
    manifest = structs.replace(old.manifest, **changes)  # type: ignore[arg-type]  # by name
    return frame([*old.records, sign_manifest(manifest, GATEWAY)])


def test_the_text_is_that_of_the_design() -> None:
    """A manifest has six lines."""
    assert MANIFEST.text == TEXT
    assert parse_manifest_text(TEXT) == MANIFEST
    assert MANIFEST.next == 22


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("muniment/manifest/v1", "muniment/manifest/v2", "line 1 is not"),
        ("log.example", "log example", "origin"),
        ("log.example/decisions\n", "", "5 lines instead of 6"),
        ("I=\n", "I=\n\n", "7 lines instead of 6"),
        ("I=\n", "I=", "newline"),
        ("edge main", "edge", "line 3"),
        ("edge main", "edge  main", "line 3"),
        ("edge main", "edge main ", "line 3"),
        ("edge main", "edge\tmain", "line 3"),
        ("edge main", "e+dge main", "gateway"),
        ("edge main", "edge -main", "stream label"),
        ("edge main", "edge m/ain", "stream label"),
        ("edge main", "edge mäin", "stream label"),
        ("edge main", "edge " + "m" * 65, "stream label"),
        ("17 5", "17", "line 4"),
        ("17 5", "017 5", "leading zeros"),
        ("17 5", "+17 5", "not a decimal"),
        ("17 5", "1_7 5", "not a decimal"),
        ("17 5", "١٧ 5", "not a decimal"),
        ("17 5", "17 0", "number of records"),
        ("17 5", "17 10001", "number of records"),
        ("17 5", f"{MAX_SIZE} 5", "out of range"),
        ("17 5", f"{MAX_SIZE + 1} 5", "more than"),
        ("17 5", "0 5", "exactly the first batch"),
        ("AQE=", "AQF=", "line 5: root: not canonical"),
        ("AQE=", "AQE", "line 5: root"),
        ("AgI=", "AgJ=", "line 6: previous manifest: not canonical"),
        (TEXT.split("\n")[5], "A" * 43 + "=", "exactly the first batch"),
    ],
)
def test_other_texts_are_refused(old: str, new: str, message: str) -> None:
    text = TEXT.replace(old, new, 1)
    with pytest.raises(FormatError, match=message):
        parse_manifest_text(text)


@pytest.mark.parametrize("label", ["a", "0", "A.b_c:d-e", "x" * 64, "token:0123456789abcdef"])
def test_labels(label: str) -> None:
    assert check_stream_label(label) == label


@pytest.mark.parametrize("label", ["", ".a", "a b", "a\n", "é", "x" * 65, "a/b", "a+b"])
def test_other_labels_are_refused(label: str) -> None:
    with pytest.raises(FormatError, match="stream label"):
        check_stream_label(label)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "a\nb"},
        {"producer": ""},
        {"first": -1},
        {"count": 0},
        {"root": b""},
        {"previous": bytes(31)},
        {"previous": NO_PREVIOUS},
        {"first": 0},
    ],
)
def test_a_manifest_is_within_its_bounds(change: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="manifest"):
        structs.replace(MANIFEST, **change)  # type: ignore[arg-type]  # wrong on purpose


def test_a_signed_manifest_comes_back() -> None:
    data = sign_manifest(MANIFEST, GATEWAY)
    assert parse_manifest(data)[0] == verify_manifest(data, KNOWN) == MANIFEST
    assert parse_manifest(data)[1].encode() == data


def test_exactly_one_signature() -> None:
    two = sign_note(TEXT, [GATEWAY, LOG], 0).encode()
    twice = sign_note(TEXT, [GATEWAY, GATEWAY], 0).encode()
    for data in (two, twice):
        with pytest.raises(FormatError, match="2 signatures instead of 1"):
            verify_manifest(data, KNOWN)


def test_the_signature_must_hold() -> None:
    data = sign_manifest(MANIFEST, GATEWAY)
    with pytest.raises(VerificationError, match="does not verify"):
        verify_manifest(data.replace(b"\n17 5\n", b"\n18 5\n"), KNOWN)
    with pytest.raises(VerificationError, match="no signature of a known key"):
        verify_manifest(data, KNOWN[1:])


def test_no_gateway_speaks_for_another() -> None:
    data = sign_manifest(MANIFEST, STRANGER)
    with pytest.raises(VerificationError, match=r"signed as 'gw.example/other'"):
        verify_manifest(data, [*KNOWN, Ed25519Verifier(STRANGER.vkey)])


def test_the_log_signs_token_streams_only() -> None:
    with pytest.raises(VerificationError, match=r"signed as 'log.example/decisions'"):
        verify_manifest(sign_manifest(MANIFEST, LOG), KNOWN)
    producer = "curl.example/dev"
    stream = token_stream(producer)
    assert stream == "token:" + sha256(producer.encode()).hexdigest()[:16]
    made = build_batch(ORIGIN, LOG, stream, 0, NO_PREVIOUS, RECORDS, producer=producer)
    assert made.manifest.producer == producer
    verify_batch(parse_batch(made.body), KNOWN, origin=ORIGIN)
    other = structs.replace(made.manifest, producer="curl.example/other")
    with pytest.raises(VerificationError, match="signed as"):
        verify_manifest(sign_manifest(other, LOG), KNOWN)


def test_checkpoint_keys_sign_no_manifest() -> None:
    """C2SP tlog-cosignature: ML-DSA-44 signatures of type 0x06 are over checkpoints."""
    signer = MLDSA44Cosigner("gw.example/edge", MLDSA44PrivateKey.from_seed_bytes(b"\x04" * 32))
    with pytest.raises(FormatError):
        sign_manifest(MANIFEST, signer)


def test_a_batch_comes_back() -> None:
    made = batch()
    parsed = parse_batch(made.body)
    assert parsed == made
    assert parsed.records == RECORDS
    assert parsed.leaf_hashes == [leaf_hash(entry) for entry in (*RECORDS, made.manifest_note)]
    assert parsed.manifest.root == root_of(parsed.leaf_hashes[:-1])
    assert (parsed.manifest.first, parsed.manifest.count) == (0, 5)
    verify_batch(parsed, KNOWN, origin=ORIGIN)


def test_slices_of_the_body_are_bundles() -> None:
    made = batch()
    entries = [*RECORDS, made.manifest_note]
    assert len(made.offsets) == len(entries)
    for start in range(len(entries) + 1):
        for end in range(start, len(entries) + 1):
            assert made.framed(start, end) == frame(entries[start:end])
    for start, end in ((-1, 2), (2, 1), (0, 7)):
        with pytest.raises(ValueError, match="entries"):
            made.framed(start, end)


def test_a_batch_for_another_log_does_not_verify() -> None:
    with pytest.raises(VerificationError, match=r"for log 'log.example/decisions'"):
        verify_batch(batch(), KNOWN, origin="log.example/other")
    with pytest.raises(VerificationError, match="no signature"):
        verify_batch(batch(), [], origin=ORIGIN)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda made: b"", "batch: empty"),
        (lambda made: frame([b""]), "newline|note"),
        (lambda made: frame([made.manifest_note]), "0 records, and the manifest states 5"),
        (lambda made: frame([*made.records[1:], made.manifest_note]), "4 records"),
        (lambda made: frame([*made.records[::-1], made.manifest_note]), "the root"),
        (lambda made: frame(made.records), "note|newline"),
        (lambda made: frame([*made.records, made.manifest_note, b"x"]), "note|newline"),
        (lambda made: made.body[:-1], "truncated"),
        (lambda made: made.body + b"\x00", "truncated"),
        (lambda made: resigned(made, count=4), "5 records, and the manifest states 4"),
        (lambda made: resigned(made, root=EMPTY_ROOT), "the root"),
        (lambda made: frame([b"", *made.records[1:], made.manifest_note]), "record 0 is empty"),
        (lambda made: bytes(MAX_BATCH_BYTES + 1), "more than 8388608 bytes"),
    ],
)
def test_a_body_that_disagrees_is_refused(make: Callable[[Batch], bytes], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_batch(make(batch()))


def test_batches_are_bounded() -> None:
    def build(records: list[bytes]) -> Batch:
        return build_batch(ORIGIN, GATEWAY, "main", 0, NO_PREVIOUS, records)

    full = build([b"{}"] * MAX_BATCH_RECORDS)
    assert len(parse_batch(full.body).records) == MAX_BATCH_RECORDS
    with pytest.raises(FormatError, match="0 records"):
        build([])
    with pytest.raises(FormatError, match="10001 records"):
        build([b"{}"] * (MAX_BATCH_RECORDS + 1))
    with pytest.raises(FormatError, match="record 1 is empty"):
        build([b"{}", b""])
    with pytest.raises(FormatError, match="record 1 is longer than 65535 bytes"):
        build([b"{}", bytes(65_536)])
    with pytest.raises(FormatError, match="more than 8388608 bytes"):
        build([bytes(65_535)] * 129)
    many = frame([b"{}"] * (MAX_BATCH_RECORDS + 1) + [full.manifest_note])
    with pytest.raises(FormatError, match="more than 10001 entries"):
        parse_batch(many)
    with pytest.raises(FormatError, match=f"more than {MAX_MANIFEST} bytes"):
        sign_manifest(structs.replace(MANIFEST, producer="p" * MAX_MANIFEST), GATEWAY)
    with pytest.raises(FormatError, match=f"more than {MAX_MANIFEST} bytes"):
        parse_manifest(b"x" * (MAX_MANIFEST + 1))


@settings(max_examples=60)
@given(records=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=40))
def test_any_records_make_a_batch(records: list[bytes]) -> None:
    made = batch(records, first=3)
    assert parse_batch(made.body) == made
    assert unframe(made.body) == [*records, made.manifest_note]
    verify_batch(made, KNOWN, origin=ORIGIN)


BODY = batch(decisions(3)).body


@settings(max_examples=400)
@given(
    at=st.integers(0, len(BODY)) | st.integers(len(BODY) - 300, len(BODY)),
    piece=st.binary(max_size=3),
    cut=st.integers(0, 3),
)
def test_mutated_batches_are_refused_or_the_same(at: int, piece: bytes, cut: int) -> None:
    body = BODY[:at] + piece + BODY[at + cut :]
    try:
        parsed = parse_batch(body)
        verify_batch(parsed, KNOWN, origin=ORIGIN)
    except (FormatError, VerificationError):
        assert body != BODY
        return
    assert body == BODY


@settings(max_examples=200)
@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_raise_the_declared_error(data: bytes) -> None:
    for parse in (parse_batch, parse_manifest):
        with pytest.raises(FormatError):
            parse(data)
