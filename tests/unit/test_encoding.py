"""Strictness of the primitives: one spelling for each value, one declared error for the rest."""

import base64
import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog.encoding import (
    MAX_ENTRY,
    MAX_SIZE,
    FormatError,
    MunimentError,
    VerificationError,
    check_key_name,
    first_entries,
    format_base64,
    frame,
    parse_base64,
    parse_decimal,
    parse_hash,
    parse_hashes,
    parse_text,
    split_lines,
    unframe,
)

DIGITS_LIKE = st.text(alphabet="0123456789+-_ .eE١०\n", max_size=24)
BASE64_LIKE = st.text(alphabet="ABab01+/=-_ \n\u00e9", max_size=12)


def test_errors_form_one_family() -> None:
    assert issubclass(FormatError, MunimentError)
    assert issubclass(FormatError, ValueError)
    assert issubclass(VerificationError, MunimentError)
    assert not issubclass(VerificationError, ValueError)


@pytest.mark.parametrize("value", [0, 1, 9, 10, 255, 256, 10**18, MAX_SIZE])
def test_decimal_accepts_the_canonical_spelling(value: int) -> None:
    assert parse_decimal(str(value), "size") == value


@pytest.mark.parametrize(
    "text",
    [
        "", "+1", "-1", "-0", "1_0", "010", "00", " 1", "1 ", "1\n", "1.0", "1e3", "0x1", "١",
        "१", "²", str(MAX_SIZE + 1), "9" * 5000,
    ],
)  # fmt: skip
def test_decimal_rejects_what_int_would_take(text: str) -> None:
    with pytest.raises(FormatError, match=r"^size: "):
        parse_decimal(text, "size")


def test_decimal_bound_is_inclusive() -> None:
    assert parse_decimal("255", "width", most=255) == 255
    with pytest.raises(FormatError, match="more than 255"):
        parse_decimal("256", "width", most=255)


@given(st.text(max_size=30) | DIGITS_LIKE)
def test_decimal_round_trips_or_raises(text: str) -> None:
    try:
        value = parse_decimal(text, "number")
    except FormatError:
        return
    assert str(value) == text


@given(st.binary(max_size=100))
def test_base64_inverts_its_formatting(data: bytes) -> None:
    text = format_base64(data)
    assert text == base64.b64encode(data).decode()
    assert parse_base64(text, "value") == data
    assert parse_base64(text, "value", size=len(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "AB==", "AAB=", "AA", "AA=", "AA===", "AA==AA==", "AA==\n", " AA==", "A", "=", "_-==",
        "é", "AA\n==", "AA=A", "====", "AAAA=", "A\u2028A==",
    ],
)  # fmt: skip
def test_base64_rejects_other_spellings(text: str) -> None:
    """RFC 4648 section 3.5: non-zero padding bits are one way to spell a value twice."""
    with pytest.raises(FormatError, match=r"^value: "):
        parse_base64(text, "value")


@given(st.text(max_size=12) | BASE64_LIKE, st.none() | st.integers(0, 6))
def test_base64_round_trips_or_raises(text: str, size: int | None) -> None:
    try:
        data = parse_base64(text, "value", size=size)
    except FormatError:
        return
    assert format_base64(data) == text
    assert size is None or len(data) == size


@pytest.mark.parametrize("size", [0, 30, 31, 33, 34, 64])
def test_hash_is_exactly_32_bytes(size: int) -> None:
    assert parse_hash(format_base64(bytes(32)), "root") == bytes(32)
    with pytest.raises(FormatError, match=r"^root: "):
        parse_hash(format_base64(bytes(size)), "root")


@given(st.binary(min_size=32, max_size=32), st.integers(0, 43), st.characters())
def test_hash_has_the_one_spelling_of_its_base64(data: bytes, at: int, other: str) -> None:
    """The shortcut for 32 bytes takes and refuses what all other base64 goes by."""
    spelled = format_base64(data)
    for text in (spelled, spelled[:at] + other + spelled[at + 1 :], f"{spelled}\n"):
        of_any = _outcome(partial(parse_base64, size=32), text)
        assert _outcome(parse_hash, text) == of_any
        of_many = _outcome(lambda it, what: parse_hashes([spelled, it], what)[1], text)
        if isinstance(of_many, str):
            of_many = of_many.replace("root 2:", "root:")
        assert of_many == of_any


def _outcome(parse: Callable[[str, str], bytes], text: str) -> bytes | str:
    try:
        return parse(text, "root")
    except FormatError as error:
        return str(error)


def test_text_is_utf8() -> None:
    """signed-note "Format": a note "MUST be valid UTF-8"."""
    assert parse_text("é — ok\n".encode(), "note", most=100) == "é — ok\n"
    for bad in (b"\xff\n", b"\xc0\x80\n", b"\xed\xa0\x80\n", b"\xf5\x80\x80\x80\n"):
        with pytest.raises(FormatError, match="not UTF-8 in line 2"):
            parse_text(b"fine\n" + bad, "note", most=100)


@pytest.mark.parametrize("code", [code for code in range(0x20) if code != 0x0A])
def test_text_has_no_control_characters(code: int) -> None:
    """signed-note "Format": notes "MUST NOT contain any ASCII control characters"."""
    with pytest.raises(FormatError, match="note: control character in line 3"):
        parse_text(b"a\nb\nc" + bytes([code]) + b"d\n", "note", most=100)


def test_text_may_hold_what_only_looks_like_control() -> None:
    """signed-note defines the forbidden ones as below U+0020: DEL, C1 and U+2028 are text."""
    text = "a\x7fb\x85c\u2028d\ufeff\n\n"
    assert parse_text(text.encode(), "note", most=100) == text
    assert split_lines(text) == ["a\x7fb\x85c\u2028d\ufeff", ""]


def test_text_is_bounded_and_terminated() -> None:
    assert parse_text(b"abc\n", "note", most=4) == "abc\n"
    with pytest.raises(FormatError, match="more than 3 bytes"):
        parse_text(b"abc\n", "note", most=3)
    for bad in (b"", b"abc", b"a\nb"):
        with pytest.raises(FormatError, match="does not end with a newline"):
            parse_text(bad, "note", most=100)


@given(
    st.binary(max_size=40) | st.text(max_size=20).map(lambda text: (text + "\n").encode("utf-8"))
)
def test_text_round_trips_or_raises(data: bytes) -> None:
    try:
        text = parse_text(data, "text", most=60)
    except FormatError:
        return
    assert text.encode() == data
    assert "".join(line + "\n" for line in split_lines(text)) == text


@given(st.text(max_size=40))
def test_lines_round_trip_or_raise(text: str) -> None:
    try:
        lines = split_lines(text)
    except FormatError:
        assert not text.endswith("\n")
        return
    assert "\n".join(lines) + "\n" == text


@pytest.mark.parametrize("name", ["example.com/log", "a", "müller.example", "x\x7f", "日本/ログ"])
def test_key_name_accepts(name: str) -> None:
    assert check_key_name(name, "line 1") == name


@pytest.mark.parametrize(
    "name",
    [
        "", "a b", "a+b", "+", "a\tb", "a\nb", "a\x00", "a\x1f", "a\u00a0b", "a\u0085b",
        "a\u2028b", "a\u2003", "\u3000a", "a\u1680", "a\ud800",
    ],
)  # fmt: skip
def test_key_name_rejects(name: str) -> None:
    """signed-note "Format": key names "MUST be non-empty", without Unicode spaces or plus."""
    with pytest.raises(FormatError, match=r"^line 1: "):
        check_key_name(name, "line 1")


@given(st.text(st.characters(), max_size=8))
def test_key_name_of_any_text(name: str) -> None:
    good = bool(name) and not any(
        char.isspace() or char == "+" or char < " " or "\ud800" <= char <= "\udfff" for char in name
    )
    if good:
        assert check_key_name(name, "name") == name
    else:
        with pytest.raises(FormatError):
            check_key_name(name, "name")


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_framing_is_the_bundle_format(entries: list[bytes]) -> None:
    """tlog-tiles "Log entries": big-endian uint16 length-prefixed entries."""
    data = frame(entries)
    assert data == b"".join(bytes([len(e) >> 8, len(e) & 0xFF]) + e for e in entries)
    assert unframe(data) == entries


@given(st.binary(max_size=60))
def test_unframing_round_trips_or_raises(data: bytes) -> None:
    try:
        entries = unframe(data, "batch")
    except FormatError as error:
        assert str(error).startswith("batch: ")  # noqa: PT017 - a valid input is no failure here
        return
    assert frame(entries) == data


def test_unframing_rejects_every_truncation() -> None:
    data = frame([b"abc", b"", b"defg"])
    whole = {0, 5, 7, len(data)}
    for cut in range(len(data) + 1):
        if cut in whole:
            assert frame(unframe(data[:cut])) == data[:cut]
        else:
            with pytest.raises(FormatError, match="truncated"):
                unframe(data[:cut])


def test_unframing_names_the_truncated_entry() -> None:
    with pytest.raises(FormatError, match=r"^bundle: entry 2 "):
        unframe(frame([b"a", b"b"]) + b"\x00\x05abc")
    with pytest.raises(FormatError, match=r"^bundle: entry 0 "):
        unframe(b"\x00")


def test_the_number_of_entries_is_bounded() -> None:
    assert unframe(frame([b"a", b"b"]), most=2) == [b"a", b"b"]
    for rest in (b"\0", b"\0\0", b"\0\1c", bytes(10_000_000)):
        with pytest.raises(FormatError, match=r"^batch: more than 2 entries"):
            unframe(frame([b"a", b"b"]) + rest, "batch", most=2)


def test_framing_bounds_an_entry() -> None:
    largest = random.Random(1).randbytes(MAX_ENTRY)
    assert unframe(frame([largest, b""])) == [largest, b""]
    with pytest.raises(ValueError, match="65535"):
        frame([b"", largest + b"x"])


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 10))
def test_the_first_entries_of_a_bundle(entries: list[bytes], count: int) -> None:
    if count <= len(entries):
        assert first_entries(frame(entries), count) == frame(entries[:count])
    else:
        with pytest.raises(FormatError, match="fewer than"):
            first_entries(frame(entries), count)
