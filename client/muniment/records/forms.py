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
    TOLD,
    WITHHOLDING,
    absent_of,
    absent_of_all,
    is_without,
)
from muniment.records.shape import PlainDecision

Withheld: TypeAlias = tuple[bytes, bytes, bytes, bytes | None, bytes | None]
"""What a usual decision withholds: the digests of the addenda, 32 bytes each, one after the other;
the subject's type and id, b'"log"' if it says that the log keeps them, and the run."""


class BatchWithholding:
    """What the usual decisions of a batch withhold, member by member.

    Attributes:
        places: the numbers of those that withhold something.
        digests: of the addenda, 32 bytes each, one after the other.
        types: of the subject of each.
        subjects: its id.
        runs: of each.
        without: how many decisions are known to withhold nothing.
    """

    def __init__(self) -> None:
        """Nothing is withheld."""
        self.places: list[int] = []
        self.digests = b""
        self.types: list[bytes] = []
        self.subjects: list[bytes] = []
        self.runs: list[bytes | None] = []
        self.without = 0
        self._numbers: list[int] = []  # of digests
        self._kept: list[bytes | None] = []

    def __bool__(self) -> bool:
        """Whether something is."""
        return bool(self.places)

    def add(
        self,
        places: Iterable[int],
        numbers: Iterable[int],
        digests: bytes,
        types: Iterable[bytes],
        subjects: Iterable[bytes],
        kept: Iterable[bytes | None],
        runs: Iterable[bytes | None],
    ) -> None:
        """Adds decisions: `numbers` says of how many digests each is."""
        self.places += places
        self._numbers += numbers
        self.digests += digests
        self.types += types
        self.subjects += subjects
        self._kept += kept
        self.runs += runs

    def is_one_of_each(self, records: int) -> bool:
        """Whether each of so many records withholds exactly one member."""
        return len(self.places) == records and len(self.digests) == SIZE * records

    def each(self) -> dict[int, Withheld]:
        """The same, decision by decision: by their numbers."""
        found: dict[int, Withheld] = {}
        begin = 0
        columns = zip(self.types, self.subjects, self._kept, self.runs, strict=True)
        for place, number, told in zip(self.places, self._numbers, columns, strict=True):
            end = begin + SIZE * number
            found[place] = (self.digests[begin:end], *told)
            begin = end
        return found


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

    def is_usual(self, entry: bytes, producer: bytes) -> bool:
        """Whether one entry is a usual decision of a producer, and withholds nothing.

        Then it is canonical and valid, and may be logged as new; else nothing is said of it.
        """
        if len(entry) > MAX_RECORD:
            return False
        match = self._match(entry)
        if match is None or match[4] != producer:
            return False
        if not entry.isascii():
            try:
                entry.decode()
            except UnicodeDecodeError:
                return False
        self._since += 1
        return True

    def producer_of(self, entries: Sequence[bytes]) -> bytes | None:
        """Whose entries are that are all usual decisions of one producer, and withhold nothing.

        None if that is not certain. It takes a quarter less than `read`, which makes a tuple of
        each, and looks at none behind the first other one.
        """
        if not _may_be_read(entries):
            return None
        names: set[bytes] = set()
        for match in map(self._match, entries):
            if match is None:
                return None
            names.add(match[4])
        if len(names) != 1:
            return None
        self._since += len(entries)
        return names.pop()

    def read(
        self, entries: Sequence[bytes], withheld: BatchWithholding | None = None, first: int = 0
    ) -> list[Usual | None]:
        """Reads the usual decisions among some entries: None for what is not usual, good or bad.

        What those withhold that do so is added to `withheld`; they count from `first`.
        """
        self._since += len(entries)
        if not _may_be_read(entries):
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
        withheld: BatchWithholding | None,
        first: int,
    ) -> None:
        """Reads decisions that withhold members, if all that they say of these is certain."""
        places = [at for at, one in enumerate(usual) if one is None]
        matches = [self._match_withholding(entries[at]) for at in places]
        if None in matches:
            places = [at for at, match in zip(places, matches, strict=True) if match is not None]
            matches = [match for match in matches if match is not None]
        tellings: list[Any] = [match.group(*TOLD) for match in matches if match is not None]
        if not tellings:
            return
        texts = [telling[0] for telling in tellings]
        # One member, which nothing else is to be looked at for: so are most, and all of a batch.
        if all(map(_is_plain, {text[: -1 - HEX] for text in texts})):
            digests, numbers = [text[-1 - HEX : -1] for text in texts], [1] * len(texts)
        else:
            fit, digests, numbers = _named_by(matches, texts)
            places = [places[at] for at in fit]
            tellings = [tellings[at] for at in fit]
        if (raw := _of_hex(b"".join(digests))) is None or not tellings:
            return
        _, runs, ids, producers, allow, types, subjects, kept = zip(*tellings, strict=True)
        for at, one in zip(places, zip(runs, ids, producers, allow, strict=True), strict=True):
            usual[at] = one
        if withheld is not None:
            withheld.add([first + at for at in places], numbers, raw, types, subjects, kept, runs)

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


def _may_be_read(entries: Sequence[bytes]) -> bool:
    """Whether all of them are UTF-8, and none is too long for a record."""
    # UTF-8 that is broken inside an entry stays so between newlines.
    wide = [entry for entry in entries if not entry.isascii()]
    try:
        b"\n".join(wide).decode()
    except UnicodeDecodeError:
        return False
    return max(map(len, entries), default=0) <= MAX_RECORD


def _is_plain(head: bytes) -> bool:
    """Whether this begins the text of one member, of which nothing else is to be looked at."""
    return BETWEEN not in head and absent_of(head[1:-3]) is NOTHING


def _named_by(
    matches: Sequence[re.Match[bytes] | None], texts: Sequence[bytes]
) -> tuple[list[int], list[bytes], list[int]]:
    """Of decisions that withhold members: those that may, the digests, and how many each has."""
    fit: list[int] = []
    digests: list[bytes] = []
    numbers: list[int] = []
    for at, (match, text) in enumerate(zip(matches, texts, strict=True)):
        if BETWEEN not in text:
            named: Sequence[bytes] = (text[-1 - HEX : -1],)
            absent = absent_of(text[1 : -4 - HEX])
        else:
            absent, named = absent_of_all(text)
        if absent is None or match is None or not is_without(match, absent):
            continue
        fit.append(at)
        digests += named
        numbers.append(len(named))
    return fit, digests, numbers


def _of_hex(digits: bytes) -> bytes | None:
    """The bytes of digests; None unless all are lower-case hexadecimal digits."""
    text = digits.decode("latin-1")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if raw.hex() == text else None  # it reads spaces and capitals, too


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
