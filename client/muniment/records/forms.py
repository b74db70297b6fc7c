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
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from muniment.records.canonical import MAX_RECORD
from muniment.records.patterns import (
    BEGIN,
    BETWEEN,
    DECISION,
    HEX,
    NONE,
    NOTHING,
    NUMBER,
    OPEN,
    SIZE,
    TEXT,
    TEXTS,
    WITHHOLDING,
    absent_of,
    absent_of_all,
    is_without,
    told,
)
from muniment.records.shape import PlainDecision

Withheld: TypeAlias = tuple[bytes, bytes, bytes, bytes | None, bytes | None]
"""What a usual decision withholds: the digests of the addenda, 32 bytes each, one after the other;
the subject's type and id, b'"log"' if it says that the log keeps them, and the run."""

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


class Forms:
    """The forms of decisions that were met so far, at most MOST_FORMS for each open object.

    Any thread may use them: what is known is replaced and not changed, so that of two threads that
    learn at the same time one may do so in vain.
    """

    def __init__(self, *, withholding: bool = False) -> None:
        """Knows none; decisions are also usual that withhold members, if that is said."""
        self._withholding = withholding
        self._match_withholding = re.compile(WITHHOLDING % ((NONE,) * len(OPEN))).fullmatch
        # One for each open object, in the order of the text; as sets that keep their order.
        self._known: list[dict[bytes, None]] = [{} for _ in OPEN]
        self._match = re.compile(DECISION % ((NONE,) * len(OPEN))).fullmatch
        self._pause = LEARN_FIRST
        self._since = LEARN_FIRST

    @property
    def learned(self) -> list[int]:
        """How many forms of each open object are known."""
        return [len(known) for known in self._known]

    def read(
        self, entries: Sequence[bytes], withheld: dict[int, Withheld] | None = None, first: int = 0
    ) -> list[Usual | None]:
        """Reads the usual decisions among some entries: None for what is not usual, good or bad.

        What those withhold that do so is put into `withheld`, by their numbers from `first` on.
        """
        self._since += len(entries)
        # UTF-8 that is broken inside an entry stays so between newlines.
        wide = [entry for entry in entries if not entry.isascii()]
        try:
            b"\n".join(wide).decode()
        except UnicodeDecodeError:
            return [None] * len(entries)
        if max(map(len, entries), default=0) > MAX_RECORD:
            return [None] * len(entries)
        usual: list[Any] = [None] * len(entries)
        begins = self._withholding and bool(entries) and entries[0].startswith(BEGIN)
        if begins:
            self._read_withholding(entries, usual, withheld, first)
        if not begins:
            found = [*map(self._match, entries)]
            usual = [None if match is None else match.group(2, 3, 4, 5) for match in found]
        else:
            for at, entry in enumerate(entries):
                if usual[at] is None and (match := self._match(entry)) is not None:
                    usual[at] = match.group(2, 3, 4, 5)
        if self._withholding and not begins and None in usual:
            self._read_withholding(entries, usual, withheld, first)
        return usual

    def _read_withholding(
        self,
        entries: Sequence[bytes],
        usual: list[Any],
        withheld: dict[int, Withheld] | None,
        first: int,
    ) -> None:
        """Reads decisions that withhold members, if all that they say of these is certain."""
        match_one, between = self._match_withholding, BETWEEN
        heads: dict[bytes, bool] = {}  # of pairs: whether nothing else is to be looked at
        places: list[int] = []
        tellings: list[Any] = []
        numbers: list[int] = []
        digests: list[bytes] = []
        for at, entry in enumerate(entries):
            if usual[at] is not None or (match := match_one(entry)) is None:
                continue
            telling = told(match)
            text: bytes = telling[0]
            head = text[: -1 - HEX]
            if (is_plain := heads.get(head)) is None:  # one member, as most have, and as others
                is_plain = between not in text and absent_of(text[1 : -4 - HEX]) is NOTHING
                heads[head] = is_plain
            named: Sequence[bytes] = (text[-1 - HEX : -1],)
            if not is_plain:
                if between not in text:
                    absent = absent_of(text[1 : -4 - HEX])
                else:
                    absent, named = absent_of_all(text)
                if absent is not NOTHING and (absent is None or not is_without(match, absent)):
                    continue
            places.append(at)
            tellings.append(telling)
            numbers.append(len(named))
            digests += named
        joined = b"".join(digests).decode("latin-1")
        try:
            raw = bytes.fromhex(joined)
        except ValueError:
            return
        if raw.hex() != joined:  # that it reads spaces and capitals, too
            return
        begin = 0
        for at, number, telling in zip(places, numbers, tellings, strict=True):
            end = begin + SIZE * number
            _, run, id_, producer, allows, type_, subject, kept = telling
            usual[at] = (run, id_, producer, allows)
            if withheld is not None:
                withheld[first + at] = (raw[begin:end], type_, subject, kept, run)
            begin = end

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
            slots = [b"(?:%b)" % b"|".join(known) if known else NONE for known in all_known]
            self._match = re.compile(DECISION % tuple(slots)).fullmatch
            if self._withholding:
                self._match_withholding = re.compile(WITHHOLDING % tuple(slots)).fullmatch


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
        return TEXT
    if isinstance(value, bool):
        return b"(?:true|false)"
    if value is None:
        return b"null"
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return TEXTS
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
