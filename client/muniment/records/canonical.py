r"""RFC 8785 (JSON Canonicalization Scheme) over RFC 7493 (I-JSON): one spelling for each value.

Complete rather than fast: this is the oracle, and the path for what the fast one in `records`
cannot decide. Stricter than RFC 8785 in three ways, each because a peer could otherwise read
another value than we do: integers beyond ±(2**53 - 1) are refused rather than rounded (RFC 7493
section 2.2), also when they were spelled with an exponent; nesting is bounded; and so is the size.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import rfc8785

from muniment.tlog.encoding import MAX_ENTRY, FormatError

MAX_RECORD: Final = MAX_ENTRY
"""Largest record in bytes: what the uint16 length prefix of a tlog-tiles bundle can say."""

MAX_TEXT: Final = 4 * 1024 * 1024
"""Largest JSON text read, in bytes, unless the caller sets another bound; a plain-JSON array of a
few thousand decisions, and small enough that parsing it takes a fraction of a second."""

MAX_DEPTH: Final = 64
"""Most arrays and objects open at once. Far above what people nest, far below what makes a
recursive decoder of any peer run out of stack."""

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""Largest integer, either sign, that every JSON reader keeps exact (RFC 7493 section 2.2)."""

BRACKET_OR_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""What tells how deep JSON is. An unfinished string matches to the end: a search that failed there
would start over at each quote, quadratic."""

_EXPONENT_FROM: Final = 1e21  # ECMAScript writes whole numbers below this as plain digits
_BOM: Final = b"\xef\xbb\xbf"
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_EXCERPT: Final = 24  # bytes of the two spellings that an error shows


def parse_json(data: bytes, what: str, *, most: int = MAX_TEXT) -> Any:
    """Parses one JSON text (RFC 8259) that is also I-JSON (RFC 7493), in any spelling.

    It is UTF-8 without a byte order mark; white space may surround the value. Returns None, bool,
    int, float, str, list, or dict with str keys in the order of the text. Raises FormatError if the
    text is too long, too deep, not UTF-8 or not JSON; if an object has a member twice, a string
    holds a lone surrogate, or a number is not finite or an integer beyond ±MAX_SAFE_INTEGER. The
    message names the member or the byte offset (from 0).
    """
    if len(data) > most:
        raise FormatError(f"{what}: more than {most} bytes")
    if data.startswith(_BOM):
        raise FormatError(f"{what}: starts with a byte order mark")
    check_depth(data, what)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{what}: not UTF-8 at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8"))
        raise FormatError(f"{what}: not JSON at byte {offset}: {error.msg.lower()}") from None
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from None
    except RecursionError:
        raise FormatError(f"{what}: too deep to read here") from None
    # Only an escape can bring a surrogate in: the UTF-8 decoder refuses encoded ones.
    if _ESCAPED_SURROGATE.search(text):
        for path, string in _strings(value, ""):
            if _SURROGATE.search(string):
                where = ascii(path[:64])[1:-1] or "value"
                raise FormatError(f"{what}: {where}: lone surrogate in a string")
    return value


def encode_canonical(value: Any) -> bytes:
    """Encodes None, bool, int, float, str, list, tuple, or dict as RFC 8785 canonical JSON.

    Floats follow RFC 8785 to the letter, so a whole float of 2**53 or more gives digits that
    `check_canonical` refuses; no value that `parse_json` returns holds one. Raises FormatError if a
    number is not finite or an integer beyond ±MAX_SAFE_INTEGER, a string holds a lone surrogate,
    the value nests deeper than MAX_DEPTH, or is of another type.
    """
    try:
        data = rfc8785.dumps(value)
    except UnicodeEncodeError:
        raise FormatError("lone surrogate in a member name") from None
    except rfc8785.CanonicalizationError as error:
        raise FormatError(str(error)) from None
    except RecursionError:
        raise FormatError(f"more than {MAX_DEPTH} levels deep") from None
    check_depth(data, "value")
    return data


def canonicalize(data: bytes, what: str, *, most: int = MAX_TEXT) -> bytes:
    """Brings any I-JSON text into its canonical form (RFC 8785); raises as `parse_json`."""
    return encode_canonical(parse_json(data, what, most=most))


def check_canonical(data: bytes, what: str) -> Any:
    """Parses a JSON text that must already be canonical, and returns its value.

    Costs about 100 µs for a typical record; `records.check_records` is the fast path. Raises
    FormatError as `parse_json`, or if the text is longer than MAX_RECORD bytes, or is not the
    canonical spelling of its value: the message shows where the two differ.
    """
    value = parse_json(data, what, most=MAX_RECORD)
    expected = encode_canonical(value)
    if expected != data:
        at = next(
            (i for i, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b),
            min(len(data), len(expected)),
        )
        found, wanted = (_excerpt(text, at) for text in (data, expected))
        raise FormatError(
            f"{what}: not canonical JSON (RFC 8785) at byte {at}: {found} should be {wanted}"
        )
    return value


def is_canonical(data: bytes) -> bool:
    """Tells whether the bytes are canonical JSON within our bounds (see `check_canonical`)."""
    try:
        check_canonical(data, "text")
    except FormatError:
        return False
    return True


def check_depth(data: bytes, what: str) -> None:
    """Checks, without recursion, that a JSON text opens at most MAX_DEPTH brackets at once.

    Text that is not JSON gets some answer, never another error. Raises FormatError if it opens
    more; the message tells the byte offset (from 0).
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in BRACKET_OR_STRING.finditer(data):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise FormatError(
                    f"{what}: more than {MAX_DEPTH} levels deep at byte {match.start()}"
                )
        elif token in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object, and refuses a member that comes twice (RFC 7493 section 2.3)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise FormatError(f"member {_shorten(name)!a} comes twice in one object")
            seen.add(name)
    return members


def _integer(digits: str) -> int:
    """Reads an integer; the length goes first, as int() takes quadratic time."""
    if len(digits) > len(str(-MAX_SAFE_INTEGER)) or abs(value := int(digits)) > MAX_SAFE_INTEGER:
        raise FormatError(f"integer {_shorten(digits)} is beyond ±{MAX_SAFE_INTEGER}")
    return value


def _float(digits: str) -> float:
    """Reads a number with a fraction or an exponent as the nearest double."""
    value = float(digits)
    if abs(value) == float("inf"):
        raise FormatError(f"number {_shorten(digits)} is too large")
    # Its canonical spelling would be an integer that `_integer` refuses.
    if MAX_SAFE_INTEGER < abs(value) < _EXPONENT_FROM:
        raise FormatError(f"number {_shorten(digits)} is beyond ±{MAX_SAFE_INTEGER}")
    return value


def _constant(name: str) -> Any:
    """Refuses NaN and the infinities, which Python reads and JSON does not have."""
    raise FormatError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """All strings of a value, member names included, each with the path to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            inner = f"{path}.{name}" if path else name
            yield inner, name
            yield from _strings(item, inner)


def _shorten(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _excerpt(data: bytes, at: int) -> str:
    piece = data[at : at + _EXCERPT].decode("utf-8", "replace")
    return ascii(piece) if piece else "the end"
