r"""Python values as JSON, in the one form that commitments to arguments and results are made of.

Whoever holds a commitment has to be able to make it again, in another process, language or
framework. So what a value is, is said as its JSON, and of what JSON has no form for:

- an object of a dataclass, of a pydantic model, `msgspec.Struct` or attrs class: an object of its
  fields, by their names in Python (of a pydantic root model, its root; extra members of a model
  count). What else it holds does not count;
- an enum's member: its value; a date, time, `UUID`, `Decimal`, `Fraction`, path or IP address: its
  text, in ISO 8601 where there is one, with ``Z`` for UTC; a `timedelta`: seconds, as ``PT1.5S``;
- tuples, named tuples, deques, ranges, views: an array; sets: an array in the order of the
  canonical JSON of the elements; Python's own mappings: an object, in which keys of the text-like
  types above, and integers, are their text.

JSON readers would change some values. So these are an object of one member that begins with ``$``:

- ``{"$integer": "9007199254740992"}``: an integer beyond ±(2**53 - 1), in decimal digits;
- ``{"$float": "NaN"}``: ``NaN``, ``Infinity``, ``-Infinity``, or a whole float that JSON would
  write as such an integer, as Python writes it;
- ``{"$bytes": "AAE="}``: bytes, in base64;
- ``{"$text": "\\udcff"}``: text with lone surrogates, which are an escape of six characters each; a
  backslash is two.

An object that looks like one of these has one ``$`` more in its name, so that no two values of JSON
have one form. Everything else has none, and says so: functions, files, objects of other classes.
"""

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import math
import pathlib
import re
import uuid
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from muniment.records.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, encode_canonical
from muniment.tlog.encoding import FormatError

MAX_DIGITS: Final = 4096
"""Longest integer, in decimal digits: Python itself reads and writes no much longer ones."""

Types = tuple[tuple[str, str], ...]


class ValueForm(NamedTuple):
    """A value's JSON, and where in it stands what is of another type than that says.

    `types` has the path and the type of each such value: two values are the same only if these are.
    """

    value: Any
    types: Types


_MAPPINGS: Final = frozenset(
    {dict, OrderedDict, defaultdict, Counter, MappingProxyType, UserDict, ChainMap}
)
_ARRAYS: Final = frozenset(
    {list, tuple, deque, UserList, range} | {type({}.keys()), type({}.values()), type({}.items())}
)
_BYTES: Final = frozenset({bytes, bytearray, memoryview})
_BUILT_IN: Final = (str, int, float, list, tuple, dict)
_LARGEST_SHORT: Final = 1e21  # RFC 8785 writes whole floats from here on with an exponent
_TAG: Final = re.compile(r"\$+(?:integer|float|bytes|text)")
_SPECIAL: Final = re.compile("[\\\\\ud800-\udfff]")


def value_form(value: Any, what: str = "value", *, subclasses: bool = False) -> ValueForm:
    """Brings a value into its form; nobody else holds any of what it returns.

    Raises FormatError if it has no form; names the part that has none.

    Args:
        value: The value.
        what: What it is, for errors.
        subclasses: Whether an object of a subclass of a type that JSON has counts as one of that
            type, although it may say more than its JSON.
    """
    former = _Former(subclasses=subclasses)
    try:
        formed = former.form(value, what, 0)
    except RecursionError:
        raise FormatError(f"{what}: more than {MAX_DEPTH} levels deep") from None
    return ValueForm(formed, tuple(former.types))


def canonical_form(value: Any) -> Any:
    """The JSON that stands for a Python value in commitments; see docs/formats.md.

    Raises FormatError if it has none; names the part.
    """
    return value_form(value).value


class _Former:
    """Forms one value."""

    def __init__(self, *, subclasses: bool) -> None:
        self.types: list[tuple[str, str]] = []
        self._subclasses = subclasses

    def form(self, value: Any, where: str, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return value if value.isascii() else _text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return _integer(value, where)
        if kind is float:
            return _float(value)
        if depth > MAX_DEPTH:
            raise FormatError(f"{where[:64]}: more than {MAX_DEPTH} levels deep")
        if kind is dict:
            return self._object(value.items(), where, depth)
        if kind is list or kind is tuple:
            return self._array(value, where, depth)
        return self._other(value, kind, where, depth)

    def _array(self, values: Iterable[Any], where: str, depth: int) -> list[Any]:
        return [self.form(one, f"{where}[{at}]", depth + 1) for at, one in enumerate(values)]

    def _object(self, members: Iterable[tuple[Any, Any]], where: str, depth: int) -> dict[str, Any]:
        formed: dict[str, Any] = {}
        for key, one in members:
            name = key if type(key) is str and key.isascii() else self._name(key, where)
            if name in formed:
                raise FormatError(f"{where}: two members are named {name[:64]!a}")
            formed[name] = self.form(one, f"{where}, {name}" if depth else name, depth + 1)
        if len(formed) == 1:
            [(name, one)] = formed.items()
            if name.startswith("$") and _TAG.fullmatch(name):
                return {f"${name}": one}
        return formed

    def _name(self, key: Any, where: str) -> str:
        kind = type(key)
        name: str
        if kind is str:
            name = key
        elif kind is int:
            name = _digits(key, where)
        elif isinstance(key, enum.Enum):
            self.types.append((where, _name_of(kind)))
            return self._name(key.value, where)
        elif self._subclasses and isinstance(key, str):
            name = str.__str__(key)
        elif (text := _text_like(kind)) is not None:
            name = text(key)
        else:
            raise FormatError(f"{where}: a member's name is {kind.__name__}, not str")
        if kind is not str:
            self.types.append((f"{where}, {name}", _name_of(kind)))
        try:
            name.encode()
        except UnicodeEncodeError:
            raise FormatError(f"{where}: lone surrogate in a member's name") from None
        return name

    def _other(self, value: Any, kind: type[Any], where: str, depth: int) -> Any:
        if kind in _BYTES:
            return {"$bytes": base64.b64encode(value).decode()}
        if kind in _MAPPINGS:
            return self._object(list(value.items()), where, depth)
        if kind in _ARRAYS or (isinstance(value, tuple) and hasattr(kind, "_fields")):
            return self._array(value, where, depth)
        self.types.append((where, _name_of(kind)))
        if isinstance(value, enum.Enum):
            return self.form(value.value, where, depth)
        if kind is set or kind is frozenset:
            formed = [self.form(one, where, depth + 1) for one in value]
            self.types.sort()  # a set has no order of its own
            return sorted(formed, key=encode_canonical)
        if (text := _text_like(kind)) is not None:
            return _text(text(value))
        fields = _fields(value, kind, where)
        if isinstance(fields, _Root):
            return self.form(fields.value, where, depth)
        if fields is not None:
            return self._object(fields.items(), where, depth)
        if self._subclasses:
            for base in _BUILT_IN:
                if isinstance(value, base):
                    return self.form(_plain(value, base), where, depth)
        raise FormatError(f"{where}: {kind.__name__} has no canonical JSON form")


class _Root(NamedTuple):
    """The value that a model is about."""

    value: Any


def _fields(value: Any, kind: type[Any], where: str) -> dict[str, Any] | _Root | None:
    """The fields of an object, by name; None if nothing says which they are."""
    names: Iterable[str]
    more: Mapping[str, Any] = {}
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    elif hasattr(kind, "__pydantic_core_schema__"):
        names = kind.model_fields
        if getattr(kind, "__pydantic_root_model__", False):
            return _Root(value.root)
        more = getattr(value, "__pydantic_extra__", None) or {}
    else:
        return None
    try:
        return {**{name: getattr(value, name) for name in names}, **more}
    except AttributeError as error:
        raise FormatError(f"{where}: {kind.__name__} without one of its fields: {error}") from None


def _plain(value: Any, base: type[Any]) -> Any:
    """An object of a subclass as one of the type that JSON has."""
    if base is str:
        return str.__str__(value)
    if base is int:
        return int.__int__(value)
    if base is float:
        return float.__float__(value)
    return base(value)


def _integer(value: int, where: str) -> Any:
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return value
    return {"$integer": _digits(value, where)}


def _digits(value: int, where: str) -> str:
    # Before they are made, which takes quadratic time.
    if value.bit_length() > MAX_DIGITS * 3.32:
        raise FormatError(f"{where}: an integer of more than {MAX_DIGITS} digits")
    return str(value)


def _float(value: float) -> Any:
    if math.isfinite(value):
        if not MAX_SAFE_INTEGER < abs(value) < _LARGEST_SHORT:
            return value
        return {"$float": repr(value)}
    return {"$float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"$text": _SPECIAL.sub(_escape, value)}
    return value


def _escape(match: re.Match[str]) -> str:
    return "\\\\" if match[0] == "\\" else f"\\u{ord(match[0]):04x}"


def _time(value: dt.datetime | dt.time) -> str:
    text = value.isoformat()
    return f"{text.removesuffix('+00:00')}Z" if text.endswith("+00:00") else text


def _duration(value: dt.timedelta) -> str:
    micros = value // dt.timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, micros = divmod(micros, 1_000_000)
    fraction = f".{micros:06}".rstrip("0") if micros else ""
    return f"{sign}PT{seconds}{fraction}S"


_TEXTS: Final[Mapping[type[Any], Callable[[Any], str]]] = {
    dt.datetime: _time,
    dt.time: _time,
    dt.date: dt.date.isoformat,
    dt.timedelta: _duration,
    uuid.UUID: str,
    decimal.Decimal: str,
    fractions.Fraction: str,
    ipaddress.IPv4Address: str,
    ipaddress.IPv6Address: str,
    ipaddress.IPv4Network: str,
    ipaddress.IPv6Network: str,
}


def _text_like(kind: type[Any]) -> Callable[[Any], str] | None:
    """What makes the text of objects of a type that have one."""
    if (known := _TEXTS.get(kind)) is not None:
        return known
    return str if issubclass(kind, pathlib.PurePath) else None


def _name_of(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
