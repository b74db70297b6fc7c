"""Usual decisions, recognised by one regular expression: a third of what reading them costs.

Its law: whatever it accepts, the complete check (`codec`) accepts, and finds the same in it.
Whoever checks records owns a `Forms`: a log, a gateway, each process of an audit.

Producers write the same few forms over and over: only strings and numbers change. `Forms` learns
the objects that AuthZEN leaves open (properties, contexts) from records that the complete check has
found canonical and valid, and makes a pattern of them. What the pattern matches is canonical and
valid as well, for what RFC 8785 and the rules say is in it:

- members and their order are literal, and nothing stands between them;
- a string has no character that is, or ought to be, escaped; ids are visible ASCII;
- a number has the one spelling of its value: at most 15 digits, at most 9 of them before a point
  and 6 after it, the last not zero. So many digits survive a double, and no exponent is due;
- a time is one that a new record may state (`times`).

Whether the bytes are UTF-8 is asked for all at once. Everything else is for others to judge: a
record that does not match is only unusual.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, get_args

from msgspec import UNSET

from muniment.records.canonical import MAX_RECORD
from muniment.records.members import MAX_ID, MAX_KEY_NAME, DenialCode
from muniment.records.shape import PlainDecision

Usual: TypeAlias = tuple[bytes | None, bytes, bytes, bytes | None]
"""A usual decision: its run, its id, its producer, and b"true" if it allows, None if not."""

MOST_FORMS: Final = 4
"""Forms known of each of the open objects. Compiling them takes 10 ms as a rule, 50 at worst."""

MOST_VALUES: Final = 20
"""Values in an object that is learned, nested ones included; bounds the pattern."""

MOST_TEXT: Final = 256
"""Bytes of names in an object that is learned, likewise."""

LEARN_FIRST: Final = 256
LEARN_LAST: Final = 65_536
"""Records between two times of learning, at first and, doubled each time, in the end: a producer
that never repeats itself costs the others less than a microsecond a record."""

_TEXT: Final = rb'"[^"\\\x00-\x1f]*+"'
_TEXTS: Final = rb"\[(?:%b(?:,%b)*)?\]" % (_TEXT, _TEXT)
_NUMBER: Final = (
    rb"(?:-(?!0[,\]}]))?(?:0|[1-9][0-9]{0,14}+)(?:\.(?<![0-9]{10}\.)[0-9]{1,6}+(?<!0))?"
)
# From February 2000 to December 2099: a usual decision states no time that would be refused.
_TIME: Final = rb"(?:9[5-9][0-9]{10}|[1-3][0-9]{12}|40[0-9]{11})"
_ID: Final = rb'"([!#-\[\]-~]{1,%d}+)"' % MAX_ID
_KEY_NAME: Final = rb'"([!#-*,-\[\]-~]{1,%d}+)"' % MAX_KEY_NAME
_CODES: Final = "|".join(get_args(DenialCode)).encode()

# The decision as `shape.PlainDecision` has it, without artifact, signatures and traceparent.
# An `%b` stands for an open object. Groups must not be possessive: early 3.11 gets these wrong.
_DENIAL: Final = rb'("denial":\{"codes":\["(?:' + _CODES + rb')"\]\},)?'
_WHOSE: Final = rb'(?:"execution":' + _ID + rb',)?"id":' + _ID
_REQUEST: Final = (
    rb',"kind":"decision","producer":' + _KEY_NAME
    + rb',"request":\{"action":\{"name":' + _TEXT + rb'(?:,"properties":%b)?\},'
)  # fmt: skip
_REST: Final = (
    rb'"resource":\{"id":' + _TEXT + rb',(?:"properties":%b,)?"type":' + _TEXT + rb"\},"
    rb'"subject":\{"id":' + _TEXT + rb',(?:"properties":%b,)?"type":' + _TEXT + rb"\}\},"
    rb'"response":\{(?:"context":%b,)?"decision":'
)  # fmt: skip
_END: Final = rb'\},"time":' + _TIME + rb',"v":1\}'

_DECISION: Final = (
    rb"\{" + _DENIAL + _WHOSE + _REQUEST + rb'(?:"context":%b,)?' + _REST
    + rb"(?(1)false|(?:(true)|false))" + _END
)  # fmt: skip

# The same of one that withholds members of its request, or of the context of that.
_PAIR: Final = rb'"(/request(?:/context)?/[!#-.0-\[\]-}]{1,64})":"([0-9a-f]{64})"'
_UNGROUPED: Final = _PAIR.replace(b"(/", b"(?:/").replace(b'"([', b'"(?:[')
_ADDENDA: Final = rb'\{"addenda":\{(%b(?:,%b){0,15})\},' % (_UNGROUPED, _UNGROUPED)
_WITHHOLDING: Final = (
    _ADDENDA + _DENIAL + _WHOSE + rb'(?:,"kept":"log")?' + _REQUEST + rb'("context":%b,)?' + _REST
    + rb"(?(2)false|(?:(true)|false))" + _END
)  # fmt: skip
_pairs: Final = re.compile(_PAIR).findall
_NOT_WITHHELD: Final = {b"/request/action", b"/request/resource", b"/request/subject"}
_NONE: Final = b"(?!)"  # matches nothing


class Forms:
    """The forms of decisions that were met so far, at most MOST_FORMS for each open object.

    Any thread may use them: what is known is replaced and not changed, so that of two threads that
    learn at the same time one may do so in vain.
    """

    def __init__(self, *, withholding: bool = False) -> None:
        """Knows none; decisions are also usual that withhold members, if that is said."""
        self._withholding = withholding
        self._match_withholding = re.compile(_WITHHOLDING % ((_NONE,) * 5)).fullmatch
        # One for each open object, in the order of the text; as sets that keep their order.
        self._known: list[dict[bytes, None]] = [{} for _ in range(5)]
        self._match = re.compile(_DECISION % ((_NONE,) * 5)).fullmatch
        self._pause = LEARN_FIRST
        self._since = LEARN_FIRST

    def read(self, entries: Sequence[bytes]) -> list[Usual | None]:
        """Reads the usual decisions among some entries: None for what is not usual, good or bad."""
        self._since += len(entries)
        # UTF-8 that is broken inside an entry stays so between newlines.
        wide = [entry for entry in entries if not entry.isascii()]
        try:
            b"\n".join(wide).decode()
        except UnicodeDecodeError:
            return [None] * len(entries)
        if max(map(len, entries), default=0) > MAX_RECORD:
            return [None] * len(entries)
        found = [*map(self._match, entries)]
        usual = [None if match is None else match.group(2, 3, 4, 5) for match in found]
        if self._withholding and None in usual:
            for at, one in enumerate(usual):
                if one is None:
                    usual[at] = self._read_withholding(entries[at])
        return usual  # type: ignore[return-value]  # as many groups

    def _read_withholding(self, entry: bytes) -> Usual | None:
        """Reads a decision that withholds members, if all that it says of these is certain."""
        match = self._match_withholding(entry)
        if match is None:
            return None
        text: bytes = match[1]
        if b'","' not in text:  # one, as most have; behind it `":"`, 64 digits, `"`
            absent = _absent((text[1:-68],))
        else:
            pairs = _pairs(text)
            absent = _absent(tuple([pointer for pointer, _ in pairs]))
            if len({digest for _, digest in pairs}) != len(pairs):
                return None
        if absent is None or (absent[1] and match.start(6) < 0):
            return None
        start = match.end(1)
        for name in absent[0]:
            if entry.find(name, start) >= 0:
                return None
        return match.group(3, 4, 5, 7)  # type: ignore[return-value]  # as many groups

    def learn(self, records: Iterable[Any]) -> None:
        """Learns from canonical, valid records; passes over others than plain decisions."""
        if self._since < self._pause:
            return
        decisions = [record for record in records if isinstance(record, PlainDecision)]
        all_known = [dict(known) for known in self._known]
        for record in decisions:
            request, response = record.request, record.response
            opens = (
                request.action.properties,
                request.context,
                request.resource.properties,
                request.subject.properties,
                response.context,
            )
            for known, value in zip(all_known, opens, strict=True):
                if value is UNSET or (form := form_of(value)) is None or form in known:
                    continue
                if len(known) == MOST_FORMS:  # forget the one that was learned first
                    del known[next(iter(known))]
                known[form] = None
        if decisions:
            self._since, self._pause = 0, min(2 * self._pause, LEARN_LAST)
        if all_known != self._known:
            self._known = all_known
            slots = [b"(?:%b)" % b"|".join(known) if known else _NONE for known in all_known]
            self._match = re.compile(_DECISION % tuple(slots)).fullmatch
            if self._withholding:
                self._match_withholding = re.compile(_WITHHOLDING % tuple(slots)).fullmatch


@lru_cache(maxsize=256)
def _absent(pointers: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bool] | None:
    """What must stand nowhere in a decision that withholds these; whether it needs a context.

    None when the pointers may not be withheld, or are not in their order.
    """
    if not _NOT_WITHHELD.isdisjoint(pointers) or list(pointers) != sorted({*pointers}):
        return None
    names = tuple(b'"%b":' % pointer.rpartition(b"/")[2] for pointer in pointers)
    return names, any(pointer.startswith(b"/request/context/") for pointer in pointers)


def form_of(value: dict[str, Any]) -> bytes | None:
    """The pattern of all objects of the same form; None for one that is not worth a pattern.

    A text has one form only, so at most one of several patterns matches it.
    """
    names: list[str] = []
    try:
        form = _form(value, names, [])
    except _Unusual:
        return None
    return form if sum(map(len, names)) <= MOST_TEXT else None


class _Unusual(Exception):  # noqa: N818 - nothing is wrong
    """The value is not worth a pattern."""


def _form(value: Any, names: list[str], seen: list[None]) -> bytes:
    seen.append(None)
    if len(seen) > MOST_VALUES:
        raise _Unusual
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, bool):
        return b"(?:true|false)"
    if value is None:
        return b"null"
    if isinstance(value, int | float):
        return _NUMBER
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return _TEXTS
        return rb"\[%b\]" % b",".join([_form(item, names, seen) for item in value])
    members: list[bytes] = []
    for name, item in value.items():
        if not (name.isascii() and name.isprintable()) or '"' in name or "\\" in name:
            raise _Unusual
        names.append(name)
        literal = re.escape(name.encode())
        members.append(b'"%b":%b' % (literal, _form(item, names, seen)))
    return rb"\{%b\}" % b",".join(members)


def usual(record: PlainDecision) -> Usual:
    """A decision that was read otherwise, in the shape of the usual ones."""
    return (
        None if record.execution is None else record.execution.encode(),
        record.id.encode(),
        record.producer.encode(),
        b"true" if record.response.decision else None,
    )
