"""RFC 8785 and RFC 7493: the RFCs' own examples, each refusal, and properties over JSON values."""

import json
import math
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muniment.records import canonical
from muniment.records.canonical import (
    MAX_DEPTH,
    MAX_RECORD,
    MAX_SAFE_INTEGER,
    canonicalize,
    check_canonical,
    check_depth,
    encode_canonical,
    is_canonical,
    parse_json,
)
from muniment.records.codec import encode_json
from muniment.tlog.encoding import FormatError

# RFC 8785 appendix B: IEEE 754 doubles in hexadecimal, and their only spelling.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

# The same doubles where the spelling is an integer too large to be safe.
UNSAFE = {text for text in NUMBERS.values() if text.lstrip("-").isdecimal() and len(text) > 15}

SAFE_FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda value: not MAX_SAFE_INTEGER < abs(value) < 1e21
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | SAFE_FLOATS
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def deep(levels: int) -> Any:
    """Arrays in each other."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_of_the_rfc(bits: str, text: str) -> None:
    """RFC 8785 appendix B: the number samples."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert encode_canonical(value) == text.encode()
    assert is_canonical(text.encode()) == (text not in UNSAFE)


@settings(max_examples=400)
@given(
    st.dictionaries(
        st.text(max_size=3),
        VALUES | st.floats() | st.integers() | st.text(max_size=3) | st.just(math.nan),
        max_size=5,
    )
)
@example({"\ufb33": 1, "\U0001f600": 2})  # by UTF-16 code units the second is the first
@example({"a": [2**53]})
@example({"a": "\ud800"})
@example({"\ud800": 1})
@example({"a": deep(MAX_DEPTH - 1)})
@example({"a": deep(MAX_DEPTH)})
@example({"a": deep(MAX_DEPTH - 1), "b": [1]})
@example({"a": deep(MAX_DEPTH), "b": [1]})
@example({"a": "x" * MAX_RECORD, "b": 1e21})
@example({"a": [[1]] * MAX_DEPTH})
@example({"a": (1, 2), "b": -0.0, "c": [True, 1]})
def test_the_quick_encoder_of_any_object_says_the_same(value: dict[str, Any]) -> None:
    try:
        expected = encode_canonical(value)
    except FormatError:
        with pytest.raises(FormatError):
            encode_json(value)
    else:
        assert encode_json(value) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks(value: float) -> None:
    """RFC 8785 section 3.2.2.3: NaN and Infinity "MUST cause" an error."""
    with pytest.raises(FormatError, match="not representable"):
        encode_canonical({"x": [value]})


def test_sorting_example_of_the_rfc() -> None:
    """RFC 8785 section 3.2.3: members "MUST be sorted" by UTF-16 code units."""
    text = rb"""{"\u20ac": "Euro Sign", "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis"}"""
    members = json.loads(canonicalize(text, "example"))
    assert [name.split()[0] for name in members.values()] == [
        "Carriage",
        "One",
        "Control",
        "Latin",
        "Euro",
        "Emoji:",
        "Hebrew",
    ]


def test_transformation_example_of_the_rfc() -> None:
    """RFC 8785 section 3.2.2 to 3.2.4: the sample object."""
    text = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    ).encode()
    assert canonicalize(text, "example") == expected
    assert check_canonical(expected, "example") == json.loads(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x: not JSON at byte 0"),
        (b"[1,]", "x: not JSON at byte"),
        ('["é" 1]'.encode(), "x: not JSON at byte 6"),
        (b"1 2", "x: not JSON at byte 2: extra data"),
        (b"{'a':1}", "x: not JSON at byte 1"),
        (b'"\x1f"', "x: not JSON at byte 1"),
        (b'"\\x"', "x: not JSON"),
        (b"01", "x: not JSON"),
        (b"+1", "x: not JSON"),
        (b".5", "x: not JSON"),
        (b"[NaN]", "x: NaN is not JSON"),
        (b"-Infinity", "x: -Infinity is not JSON"),
        (b"1e400", "x: number 1e400 is too large"),
        (b"9007199254740992", "x: integer 9007199254740992 is beyond"),
        (b"-9007199254740992", "is beyond"),
        (b"9007199254740992.0", "is beyond"),
        (b"1e20", "x: number 1e20 is beyond"),
        (b"1" * 6000, "x: integer 111111111111111111111111… is beyond"),
        (b'{"a":{"b":1,"c":2,"b":1}}', "x: member 'b' comes twice in one object"),
        (b'{"a":1,"\\u0061":2}', "x: member 'a' comes twice"),
        (b'{"a":["","\\ud800"]}', r"x: a\[1\]: lone surrogate"),
        (b'{"a":{"\\udc00":1}}', r"x: a.\\udc00: lone surrogate"),
        (b'"\\ude00\\ud83d"', "x: value: lone surrogate"),
        (b"\xef\xbb\xbf1", "x: starts with a byte order mark"),
        (b'["\xff"]', "x: not UTF-8 at byte 2"),
        (b'"\xed\xa0\x80"', "x: not UTF-8 at byte 1"),
        (b'"\xc0\x80"', "x: not UTF-8 at byte 1"),
        (b"[" * 65 + b"]" * 65, "x: more than 64 levels deep at byte 64"),
        (b'{"":' * 65 + b"1" + b"}" * 65, "x: more than 64 levels deep at byte 256"),
        (b"[" * 1_000_000, "levels deep"),
        (b"[" * 70 + b'"' + b'\\"' * 500_000 + b"\\", "levels deep"),
        (b"1" * 4_194_305, "x: more than 4194304 bytes"),
    ],
)
def test_refused_in_any_spelling(data: bytes, message: str) -> None:
    """RFC 7493 section 2 and our bounds: what no spelling makes acceptable."""
    with pytest.raises(FormatError, match=message):
        canonicalize(data, "x")
    assert not is_canonical(data)


@pytest.mark.parametrize(
    ("data", "canonical"),
    [
        (b"-0", b"0"),
        (b"-0.0", b"0"),
        (b"1.0", b"1"),
        (b"1e2", b"100"),
        (b"1E+2", b"100"),
        (b"0.50", b"0.5"),
        (b"1e21", b"1e+21"),
        (b"0.0000001", b"1e-7"),
        (b"9007199254740991.0", b"9007199254740991"),
        (b" [ ] \n", b"[]"),
        (b'{"b":1,"a":2}', b'{"a":2,"b":1}'),
        (b'"\\u001F"', b'"\\u001f"'),
        (b'"\\u007f"', b'"\x7f"'),
        (b'"\\/"', b'"/"'),
        (b'"\\u0008"', b'"\\b"'),
        (b'"\\u2028"', '"\u2028"'.encode()),
        (b'"\\ud83d\\ude00"', '"😀"'.encode()),
    ],
)
def test_other_spellings_are_refused_as_canonical(data: bytes, canonical: bytes) -> None:
    assert canonicalize(data, "x") == canonical
    assert is_canonical(canonical)
    with pytest.raises(FormatError, match=r"x: not canonical JSON \(RFC 8785\) at byte \d"):
        check_canonical(data, "x")


def test_a_difference_is_shown() -> None:
    with pytest.raises(FormatError) as caught:
        check_canonical(b'{"a":1.50}', "record")
    assert str(caught.value) == (
        "record: not canonical JSON (RFC 8785) at byte 8: '0}' should be '}'"
    )


def test_a_record_is_bounded() -> None:
    assert is_canonical(b'"' + b"x" * (MAX_RECORD - 2) + b'"')
    assert not is_canonical(b'"' + b"x" * (MAX_RECORD - 1) + b'"')


def test_depth_counts_open_brackets_only() -> None:
    check_depth(b"[" + b"[]," * 1000 + b"[]]", "x")
    check_depth(b'["' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"]', "x")
    nested = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert is_canonical(nested)


def test_recursion_does_not_escape() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(FormatError, match="levels deep"):
        encode_canonical(value)
    with pytest.raises(FormatError, match="levels deep"):
        encode_canonical([[] for _ in range(3)] + [json.loads("[" * 70 + "]" * 70)])


def test_a_full_stack_is_a_declared_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_pairs: object) -> Any:
        raise RecursionError

    monkeypatch.setattr(canonical, "_DECODER", json.JSONDecoder(object_pairs_hook=full))
    with pytest.raises(FormatError, match="too deep to read here"):
        parse_json(b"{}", "x")


@pytest.mark.parametrize(
    "value", [{1: 2}, {"a": b"b"}, {"a": {1, 2}}, "\ud800", {"\ud800": 1}, 2**53, [object()]]
)
def test_values_that_are_not_json(value: Any) -> None:
    with pytest.raises(FormatError):
        encode_canonical(value)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 2))
def test_any_spelling_has_one_canonical_form(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    spelled = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    data = canonicalize(spelled, "value")
    assert data == rfc8785.dumps(value)
    assert check_canonical(data, "value") == json.loads(data) == value
    assert canonicalize(data, "value") == data


@settings(max_examples=300)
@given(
    data=st.binary(max_size=24)
    | st.text(alphabet='{}[]",:\\u0123dDe-+.ntfalsru \n', max_size=24).map(str.encode)
)
def test_arbitrary_bytes_are_refused_or_come_back(data: bytes) -> None:
    try:
        value = check_canonical(data, "text")
    except FormatError:
        return
    assert encode_canonical(value) == data


@settings(max_examples=200)
@given(value=VALUES, at=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 2))
def test_mutations_are_refused_or_come_back(value: Any, at: int, byte: int, cut: int) -> None:
    data = encode_canonical(value)
    at %= len(data) + 1
    data = data[:at] + bytes([byte]) + data[at + cut :]
    try:
        again = check_canonical(data, "text")
    except FormatError:
        return
    assert encode_canonical(again) == data
