"""Records: the quick check says of every text what the complete one says."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from decisions import decisions
from muniment.records import codec as recordcodec
from muniment.records.api import RecordError, check_records, encode_record, parse_record
from muniment.records.canonical import MAX_RECORD, encode_canonical
from muniment.records.forms import Forms
from muniment.records.quick import read_plain
from muniment.tlog.encoding import FormatError
from record_examples import DENIED, EXAMPLES, PRODUCER, changed, outcome_of_fast, outcome_of_slow


def timed(value: bytes) -> bytes:
    """A denied decision whose context has this for a time."""
    return encode_canonical(DENIED).replace(b'"1985-10-26T01:22-07:00"', value)


NOT_CANONICAL = r"""
1.0 1e2 -0 -0.0 0.10 9007199254740992 1e400 NaN 1.50 123456789012345678901234567890 0.0000001 1E5
1.00000000000000000001 10000000000000000000.5 -9007199254740992 [9007199254740993]
"\ud800" "\/" "\u001F" {"b":1,"a":1} {"a":1,"a":1} {"a":1,"a":2}
"""
# Canonical, and no usual decision has them.
UNUSUAL = r"""
0.5 -12.25 0.000001 1e-7 1e+21 123456789012.345 0.1234567890123456 9007199254740991
-9007199254740991 333333333.3333333 5e-324 "9007199254740993000" ":9007199254740993000"
"""


@pytest.mark.parametrize("value", [*NOT_CANONICAL.split(), "[1, 2]", '"\x7f\\u007f"'])
def test_numbers_and_strings_that_are_not_canonical(value: str) -> None:
    """RFC 8785: what a quick decoder and encoder would let pass."""
    text = timed(value.encode())
    assert outcome_of_slow(text) is not None
    assert outcome_of_fast(text) == outcome_of_slow(text)


@pytest.mark.parametrize(
    "value",
    [
        *UNUSUAL.split(),
        '"\x7f"',
        '{"é":1,"\ue000":2}',
        '{"😀":1,"\ufb33":2}',
        '{"😀\\":":1,"\ufb33":2}',
    ],
)
def test_numbers_and_names_that_need_the_slow_path(value: str) -> None:
    text = timed(value.encode())
    assert outcome_of_slow(text) is None
    assert outcome_of_fast(text) is None
    check_records([*decisions(3), text, *decisions(3)], PRODUCER)
    assert encode_record(parse_record(text)) == text


def test_names_are_sorted_by_utf16() -> None:
    """RFC 8785 section 3.2.3: not by code points, as the quick encoder does."""
    for rest in ("", '\\":', "\\\\", "é😀"):
        by_code_point = timed(f'{{"\ufb33":1,"😀{rest}":2}}'.encode())
        refused = outcome_of_slow(by_code_point)
        assert refused.startswith("not canonical")
        assert outcome_of_fast(by_code_point) == refused


@pytest.mark.parametrize("end", ['"', "\\", ""])
def test_long_strings_take_time_in_proportion(end: str) -> None:
    """A batch of strings of characters beyond U+FFFF; time in their square would be an hour."""
    text = changed(DENIED, "request/context/time", "😀" * 15_000)
    assert 60_000 < len(text) <= MAX_RECORD
    if end == '"':
        check_records([text] * 120, PRODUCER)
    else:  # cut off within the string
        broken = text[: text.rindex("😀".encode())] + end.encode()
        with pytest.raises(RecordError, match=r"^record 119: "):
            check_records([*[text] * 119, broken], PRODUCER)


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        return timed(b"[" * levels + b"]" * levels)

    assert outcome_of_fast(nested(61)) is None
    assert outcome_of_slow(nested(61)) is None
    for levels in (62, 100, 900, 30_000):
        assert outcome_of_fast(nested(levels)) == outcome_of_slow(nested(levels))
        assert "levels deep" in str(outcome_of_fast(nested(levels)))
    wide = timed(b"[" + b"[]," * 99 + b"1]")
    assert outcome_of_fast(wide) is None


@pytest.mark.parametrize("data", [b"", b"1", b"null", b"[]", b"{}", b'"decision"', b"\xff", b"{"])
def test_what_is_no_record(data: bytes) -> None:
    assert outcome_of_fast(data) is not None
    assert outcome_of_fast(data) == outcome_of_slow(data)


# Fast and slow path against each other.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = (
    st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-1000, 1000, places=3, allow_nan=False).map(float)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


# A likely and an unlikely spelling of whatever JSON value lands in a record.
SPELL = (
    encode_canonical,
    lambda value: msgspec.json.encode(value, order="sorted"),
    lambda value: json.dumps(value, separators=(",", ":"), sort_keys=True).encode(),
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
)
PIECES = [b"null", b"1.0", b"-0", b"1e2", b"0.5", b"{", b"[", b",", b'"', b" ", b"\\u00e9", b"\n"]


PIECES += [b"9007199254740993", b'"v":1,', b'"x":1,', b"\xf0\x9f\x98\x80", b"\xee\x80\x80", b"\xff"]


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """A record with an arbitrary value somewhere in it, canonical or nearly so."""
    record = json.loads(json.dumps(EXAMPLES[draw(st.sampled_from(list(EXAMPLES)))]))
    spots: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        items: Any = ()
        if isinstance(value, dict):
            items = value.items()
            spots.append((value, draw(TEXT)))
        elif isinstance(value, list):
            items = enumerate(value)
        for name, inner in items:
            spots.append((value, name))
            collect(inner)

    collect(record)
    inside = [spot for spot in spots if draw(st.booleans()) or "context" in spot[0]]
    holder, name = draw(st.sampled_from(inside or spots))
    holder[name] = draw(JSON)
    try:
        return draw(st.sampled_from(SPELL))(record)
    except (FormatError, UnicodeEncodeError):
        return json.dumps(record, separators=(",", ":")).encode()


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(data=spelled())
def test_fast_and_slow_agree_on_values(data: bytes) -> None:
    agree(data)


@settings(max_examples=500)
@given(
    name=st.sampled_from(list(EXAMPLES)),
    at=st.integers(0, 2000),
    piece=st.sampled_from(PIECES) | st.binary(max_size=2),
    cut=st.integers(0, 3),
)
@example(name="decision", at=0, piece=b"\xef\xbb\xbf", cut=0)
@example(name="decision", at=1_000_000, piece=b" ", cut=0)
def test_fast_and_slow_agree_on_mutations(name: str, at: int, piece: bytes, cut: int) -> None:
    data = encode_canonical(EXAMPLES[name])
    at = min(at, at % (len(data) + 1)) if at < 1_000_000 else len(data)
    agree(data[:at] + piece + data[at + cut :])


def agree(data: bytes) -> None:
    """Both paths accept or refuse for the same reason; what they accept comes back."""
    slow = outcome_of_slow(data)
    assert outcome_of_fast(data) == slow
    if slow is None:
        record = parse_record(data)
        assert record == recordcodec.examine(data)
        assert encode_record(record) == data


RECORDS = [encode_canonical(example) for example in EXAMPLES.values()]


@settings(max_examples=300)
@given(
    pieces=st.lists(
        st.sampled_from([*RECORDS, *decisions(3), b"\n", b"", b"{}", b"[", b" "]), max_size=6
    ),
    cuts=st.lists(st.integers(0, 9999), max_size=3),
)
def test_what_is_read_at_once_is_what_is_read_one_by_one(
    pieces: list[bytes], cuts: list[int]
) -> None:
    """However entries are cut, also within a record and at newlines: all are good, or no answer."""
    text = b"".join(piece + b"\0" for piece in pieces)
    for cut in cuts:
        cut %= len(text) + 1
        text = text[:cut] + b"\0" + text[cut:]
    for joint in (b"\0", b"\n\0"):
        entries = text.replace(b"\0", joint).split(b"\0")[:-1]
        plain = read_plain(entries, Forms())
        if plain is None:
            continue
        slow = [recordcodec.examine(entry) for entry in entries]
        found = [
            (one[1].decode(), one[2].decode()) if isinstance(one, tuple) else (one.id, one.producer)
            for one in plain
        ]
        assert found == [(one.id, one.producer) for one in slow]


def test_usual_batches_are_read_at_once() -> None:
    assert len(read_plain([*decisions(500), *RECORDS], Forms()) or ()) == 500 + len(RECORDS)


@pytest.mark.parametrize(
    "value",
    ["0.25", "0.1234567890123456", "1790000000000000", '"' + "😀" * 100 + '"', '{"é":"🏳️"}', '":1"'],
)
def test_usual_values_take_the_fast_path(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = timed(value.encode())
    assert outcome_of_slow(text) is None
    monkeypatch.setattr(recordcodec, "examine", None)
    check_records([*decisions(3), text, changed(DENIED, "request/extra", [1])], PRODUCER)


def test_usual_decisions_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordcodec, "examine", None)
    entries = decisions(500)
    check_records(entries, PRODUCER)
    assert [encode_record(parse_record(entry)) for entry in entries] == entries
    assert entries == decisions(500)
    assert 540 < sum(map(len, entries)) / 500 < 620
