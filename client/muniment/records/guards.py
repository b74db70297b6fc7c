"""What the quick decoder and encoder of records cannot be trusted with (RFC 8785).

The quick encoder's output is canonical but for four things, each of which has its guard here:

- floats: only those pass whose spelling is Python's own and has no exponent (`plain_float`);
- integers beyond ±(2**53 - 1), which the quick decoder takes;
- member names beyond U+FFFF, which RFC 8785 sorts by UTF-16 code units and not by code points;
- nesting deeper than MAX_DEPTH.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec import MsgspecError
from msgspec.json import Encoder

from muniment.records.canonical import MAX_DEPTH, MAX_RECORD, MAX_SAFE_INTEGER


class Undecided(Exception):  # noqa: N818 - not an error: the slow path decides
    """The fast path met a number that it cannot judge."""


UNDECIDED: Final = (Undecided, MsgspecError, UnicodeDecodeError, RecursionError)
"""Whatever the quick decoder and encoder raise."""

ENCODER: Final = Encoder(order="sorted")

_DIGITS: Final = b"0123456789"
# What remains of a text: digits as 0, and what can stand before a number in compact JSON, but for
# the minus; quotes, so that the digits of a string do not come to stand beside a colon; brackets
# that open as [; newlines; and the bytes from 0xF0, with which UTF-8 starts the characters beyond
# U+FFFF.
_KEPT: Final = _DIGITS + b':,[{"\n' + bytes(range(0xF0, 256))
_DROPPED: Final = bytes(i for i in range(256) if i not in _KEPT)
_AS: Final = {**dict.fromkeys(_DIGITS, ord("0")), ord("{"): ord("["), ord(","): ord(":")}
_TRACE: Final = bytes(_AS.get(i, i) for i in range(256))
_LONG_MEMBER: Final = b":" + b"0" * 16
_LONG_ITEM: Final = b"[" + b"0" * 16
_LONG_INTEGER: Final = re.compile(rb"[:\[,]-?([0-9]{16,})")
# From the first such character of a string to its end; a colon follows if it is a member's name.
# It matches without a colon too, and at the end of an unfinished string: a search that failed
# would start over at each of the string's characters, quadratic.
_ASTRAL_STRING: Final = re.compile(rb'[\xf0-\xff](?:[^"\\]|\\.)*+(?:"(:?)|\\?\Z)', re.DOTALL)


def plain_float(text: str) -> float:
    """Reads a float, if its spelling is RFC 8785's beyond doubt; raises Undecided if not.

    Python's digits are RFC 8785's, the fewest that round-trip; exponents and whole numbers are
    written otherwise.
    """
    value = float(text)
    if repr(value) != text or "e" in text or text.endswith(".0"):
        raise Undecided
    return value


def needs_care(entries: Sequence[bytes], joined: bytes) -> bool:
    """Tells whether one of the entries may have fooled the quick encoder, floats aside.

    One pass for all entries, `joined` by newlines, is much cheaper than one for each. They are
    known to be what the encoder writes, or are refused anyhow, so a newline can only be what joins
    them. A string that looks like a long number causes care without need, nothing worse.
    """
    if max(map(len, entries)) > MAX_RECORD:
        return True
    trace = joined.translate(_TRACE, _DROPPED)
    if _is_fooled(joined, trace):
        return True
    return max([one.count(b"[") for one in trace.split(b"\n")]) > MAX_DEPTH


def may_differ(data: bytes, value: Any) -> bool:
    """Tells whether the quick encoder may have been fooled by a value, floats aside.

    `data` is what it has written, of any length, and `value` what that is read as.
    """
    if _is_fooled(data, data.translate(_TRACE, _DROPPED)):
        return True
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _is_fooled(joined: bytes, trace: bytes) -> bool:
    if (_LONG_MEMBER in trace or _LONG_ITEM in trace) and any(
        len(digits) > 16 or int(digits) > MAX_SAFE_INTEGER
        for digits in _LONG_INTEGER.findall(joined)
    ):
        return True
    return not trace.isascii() and any(match[1] for match in _ASTRAL_STRING.finditer(joined))
