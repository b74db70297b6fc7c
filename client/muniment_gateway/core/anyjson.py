"""JSON of others as it stands, also what no record can hold, and what is recorded instead of that.

An engine may answer with a clock of 19 digits. That is no reason to take its decision for none; but
a record is I-JSON, so it has the digest of such a member instead.
"""

import json
from hashlib import sha256
from math import isfinite
from typing import Any, Final

import msgspec

from muniment.records.canonical import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    check_canonical,
    check_depth,
    encode_canonical,
)
from muniment.tlog.encoding import FormatError

MOST_RECORDED: Final = 8 << 10
"""Longest canonical JSON, in bytes, of one value of an engine that is recorded as it is."""


_FEW_LEVELS: Final = 8
_FEW_BRACKETS: Final = MAX_DEPTH // 2 - 2
"""Fewer make no value that is too deep, see `_is_shallow`."""

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 16
"""Digits that may be those of an integer that no record holds; or part of a text."""


def _no_fraction(digits: str) -> float:
    raise ValueError(digits)


_WITHOUT_FRACTIONS: Final = msgspec.json.Decoder(float_hook=_no_fraction)


def parse_any(data: bytes, what: str, *, deep: bool = False) -> Any:
    """Parses JSON text whose objects have each member once; integers of any length are exact.

    Raises FormatError if it is not UTF-8, not JSON or more than MAX_DEPTH levels deep; when it may
    be `deep`, more than this Python can read.
    """
    if not deep:
        check_depth(data, what)
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: not JSON: {error}") from None


def read_any(data: bytes, what: str) -> tuple[Any, "Recordable"]:
    """As `parse_any` when it may be deep, and what makes the value's parts fit for a record.

    Compact JSON text, as OPA sends it, takes a fifth of the time: what C libraries read and write
    back byte for byte has no member twice, and no number that was changed.
    """
    try:
        value = _WITHOUT_FRACTIONS.decode(data)
        if msgspec.json.encode(value) == data:
            return value, Recordable(data, is_simple=_is_simple_text(data))
    except (ValueError, RecursionError):
        pass
    value = parse_any(data, what, deep=True)
    return value, Recordable(data, is_simple=_is_simple(value, 8 * len(data)))


def _is_simple_text(data: bytes) -> bool:
    """Whether compact JSON text has nothing but what `_is_simple` knows, and few brackets."""
    return (
        data.isascii()
        and b"\\" not in data
        and b"\x7f" not in data
        and data.count(b"{") + data.count(b"[") <= _FEW_BRACKETS
        and _LONG_NUMBER not in data.translate(_DIGITS)
    )


def encode_any(value: Any) -> bytes:
    """JSON text of what `parse_any` gives."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:  # an integer of more than 64 bits
        return json.dumps(value, separators=(",", ":")).encode()


def whole_number(value: Any) -> Any:
    """A whole float as the integer that records have of it (RFC 8785); other values as they are.

    Beyond what every reader keeps exact it stays a float: there an integer would say more digits.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def whole_numbers(value: Any) -> Any:
    """A JSON value with `whole_number` of each number in it."""
    if isinstance(value, dict):
        return {name: whole_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole_numbers(one) for one in value]
    return whole_number(value)


def recordable(value: Any, most: int = MOST_RECORDED) -> Any:
    """A value as a record can hold it: itself, or ``{"left_out": {size, digest}}``.

    Size and digest (``sha256:…``) are those of its JSON with sorted members, without white space;
    there are none of what is too deep to be written.
    """
    if _is_simple(value, most):
        return value
    try:
        if _is_shallow(value) and len(data := encode_canonical(value)) <= most:
            check_canonical(data, "value")
            return value
    except (FormatError, RecursionError):
        pass
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except RecursionError:
        return {"left_out": {}}
    digest = f"sha256:{sha256(text.encode()).hexdigest()}"
    return {"left_out": {"size": len(text), "digest": digest}}


class Recordable:
    """The members of one JSON text as a record can hold them, see `recordable`.

    Whether they are simple is looked at once for all of them, and no canonical JSON of simple
    values is longer than the text that they came in.

    Attributes:
        is_cut: Whether something was left out so far.
    """

    __slots__ = ("_is_simple", "_size", "is_cut")

    def __init__(self, data: bytes, *, is_simple: bool) -> None:
        """Takes the text, and whether all its values are simple."""
        self._is_simple = is_simple
        self._size = len(data)
        self.is_cut = False

    def __call__(self, value: Any, most: int) -> Any:
        """A value of the text, as `recordable` gives it."""
        if self._is_simple and (self._size <= most or len(encode_any(value)) <= most):
            return value
        found = recordable(value, most)
        self.is_cut |= found is not value
        return found


def _is_simple(value: Any, most: int) -> bool:
    """Whether a value is surely recordable: ASCII texts, small integers, few levels, short.

    Nearly every answer is, and this is a tenth of the work of making sure by writing it.
    """
    level, left = [value], most
    for _ in range(_FEW_LEVELS):
        inner: list[Any] = []
        for one in level:
            kind = type(one)
            left -= 8
            if kind is str:
                if not (one.isascii() and one.isprintable()):
                    return False
                left -= 2 * len(one)
            elif kind is dict:
                inner += one
                inner += one.values()
            elif kind is list:
                inner += one
            elif kind is int:
                if not -MAX_SAFE_INTEGER <= one <= MAX_SAFE_INTEGER:
                    return False
                left -= 16
            elif kind is not bool and one is not None:
                return False
        if left < 0:
            return False
        if not inner:
            return True
        level = inner
    return False


def _is_shallow(value: Any) -> bool:
    """Whether a value leaves a record enough levels around it."""
    level = [value]
    for _ in range(MAX_DEPTH // 2):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise FormatError("an object has a member twice")
    return members


def _no_constant(name: str) -> Any:
    raise FormatError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise FormatError("a number beyond what readers of JSON know")
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)
