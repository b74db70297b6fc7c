"""Reading and writing records (design section 3.1), and the fast check of whole batches.

Fast path: a typed decode, a sorted encode, and a comparison with the input. What that cannot
decide goes to the slow path, which rests on `canonical` alone and always has the last word. The
fast path only ever accepts, and it may do so because of four guards, one for each way in which the
quick encoder's output is not RFC 8785:

- floats: only those pass whose spelling is Python's own and has no exponent (`_plain_float`);
- integers beyond ±(2**53 - 1), which the quick decoder takes;
- member names beyond U+FFFF, which RFC 8785 sorts by UTF-16 code units and not by code points;
- nesting deeper than MAX_DEPTH.

Everything else that RFC 8785 forbids (white space, order, duplicates, escapes) changes the bytes.
"""

import re
from collections.abc import Generator, Sequence
from typing import Any, Final

from msgspec import MsgspecError, ValidationError, convert, to_builtins
from msgspec.json import Decoder, Encoder

from muniment.formats.canonical import (
    MAX_DEPTH,
    MAX_RECORD,
    MAX_SAFE_INTEGER,
    check_canonical,
    encode_canonical,
)
from muniment.formats.encoding import FormatError, check_key_name, in_one_go
from muniment.formats.kinds import Record
from muniment.formats.recordcheck import check_producer, check_rules, explain
from muniment.formats.recordshape import Shaped


class RecordError(FormatError):
    """A record of a batch is not acceptable.

    Attributes:
        entry: The record's number in its batch, from 0.
    """

    def __init__(self, entry: int, message: str) -> None:
        super().__init__(f"record {entry}: {message}")
        self.entry = entry


class _Undecided(Exception):  # noqa: N818 - not an error: the slow path decides
    """The fast path met a number that it cannot judge."""


_EFFORT: Final = 1 << 18
"""Work of one step of `checking`, in bytes of records that take the fast path."""

_RECORD_EFFORT: Final = 256  # what each record costs besides its bytes
_SLOWER: Final = 20
_SCANNED_AT_ONCE: Final = 64  # records in one `_needs_care`

_UNDECIDED: Final = (_Undecided, MsgspecError, UnicodeDecodeError, RecursionError)

# Before a number in compact JSON stands one of these, or one of them and a minus; digits become 0.
# A string with a minus before so many digits costs the search below, and nothing else.
_NUMBERS: Final = bytes(
    ord("0") if chr(i) in "0123456789" else ord(":") if chr(i) in ":[,-" else i for i in range(256)
)
_LONG_NUMBER: Final = b":" + b"0" * 16
_LONG_INTEGER: Final = re.compile(rb"[:\[,]-?([0-9]{16,})")

# What remains without these: brackets that open, newlines, and the bytes from 0xF0 with which
# UTF-8 starts the characters beyond U+FFFF.
_UNREMARKABLE: Final = bytes(i for i in range(0xF0) if i not in b"[{\n")
_ASTRAL: Final = bytes(range(0xF0, 256))
# From the first such character of a string to its end; a colon follows if it is a member's name.
# It matches without a colon too, and at the end of an unfinished string: a search that failed
# would start over at each of the string's characters, quadratic.
_ASTRAL_STRING: Final = re.compile(rb'[\xf0-\xff](?:[^"\\]|\\.)*+(?:"(:?)|\\?\Z)', re.DOTALL)


def _plain_float(text: str) -> float:
    """Reads a float, if its spelling is RFC 8785's beyond doubt.

    Python's digits are RFC 8785's, the fewest that round-trip; exponents and whole numbers are
    written otherwise.
    """
    value = float(text)
    if repr(value) != text or "e" in text or text.endswith(".0"):
        raise _Undecided
    return value


_encode: Final = Encoder(order="sorted").encode
_decode: Final = Decoder(Record, float_hook=_plain_float).decode
_decode_shaped: Final = Decoder(Shaped, float_hook=_plain_float).decode


def parse_record(data: bytes) -> Record:
    """Parses one record, which must be canonical and valid.

    Whose record it is, the caller compares.

    Raises:
        FormatError: If the data is longer than MAX_RECORD bytes, not canonical JSON, or no valid
            record; the message names the member.
    """
    record = _quickly_read(data)
    if record is None:
        return _examine(data)
    try:
        check_rules(record)
        check_producer(record)
    except FormatError as error:
        raise FormatError(f"record: {error}") from None
    return record


def encode_record(record: Record) -> bytes:
    """Encodes a record in canonical form; `parse_record` gives it back.

    A value that was made in Python is validated here. Tuples in `request` and `response` come
    back as lists.

    Raises:
        FormatError: If the record is not valid, or longer than MAX_RECORD bytes.
    """
    data = _quickly(record)
    if data is None:
        try:
            data = encode_canonical(to_builtins(record))
        except (TypeError, MsgspecError, UnicodeEncodeError, RecursionError) as error:
            raise FormatError(f"record: cannot be JSON: {error}") from None
        except FormatError as error:
            raise FormatError(f"record: {error}") from None
    parse_record(data)
    return data


def encode_members(members: dict[str, Any]) -> bytes:
    """Encodes the members of a record, as `canonical.parse_json` gives them, in canonical form.

    Raises:
        FormatError: If they are no valid record.
    """
    data = _encode(members)
    try:
        _decode(data)
    except _UNDECIDED:  # a float, perhaps, that the quick encoder may write in its own way
        certain = False
    else:
        certain = not _needs_care([data])
    if not certain:
        data = encode_canonical(members)
    parse_record(data)
    return data


def check_records(entries: Sequence[bytes], producer: str) -> None:
    """Checks that each entry is a canonical, valid record of one producer.

    Costs 3 to 8 µs a record; about 20 times that for a record that needs the slow path (see the
    module's first lines): a service uses `checking`.

    Args:
        entries: The records' bytes.
        producer: The key name that each must have as its producer; itself a valid key name.

    Raises:
        RecordError: For the first entry that is not acceptable; the message starts with its
            number, from 0, and names the member, as in
            ``record 17: request.subject.id: expected str, got int``.
        FormatError: If `producer` is no key name.
    """
    in_one_go(checking(entries, producer))


def checking(entries: Sequence[bytes], producer: str) -> Generator[None, None, None]:
    """Does `check_records` in steps, and yields between them.

    A step is two or three milliseconds, or a single record: one of 64 KB that was made to take
    long takes a tenth of a second.

    Raises:
        RecordError, FormatError: As `check_records`.
    """
    check_key_name(producer, "producer")
    decode, encode, check = _decode_shaped, _encode, check_rules  # locals: a tenth of the time
    careful = False
    effort = 0
    for number, entry in enumerate(entries):
        if not number % _SCANNED_AT_ONCE:
            careful = _needs_care(entries[number : number + _SCANNED_AT_ONCE])
        if effort > _EFFORT:
            effort = 0
            yield
        effort += len(entry) + _RECORD_EFFORT
        record: Record | Shaped | None
        try:
            record = decode(entry)
            if encode(record) != entry or (careful and _needs_care([entry])):
                record = None
        except _UNDECIDED:
            record = None
        try:
            if record is None:
                record = _quickly_read(entry)
            if record is None:
                effort += _SLOWER * (len(entry) + _RECORD_EFFORT)
                record = _examine(entry)
            else:
                check(record)
            if record.producer != producer:
                check_producer(record)
                raise FormatError(f"producer: expected {producer!a}, got {record.producer!a}")
        except FormatError as error:
            raise RecordError(number, str(error).removeprefix("record: ")) from None


def _needs_care(entries: Sequence[bytes]) -> bool:
    """Tells whether one of the entries may have fooled the quick encoder, floats aside.

    One pass for all entries is much cheaper than one for each. The entries are known to be what
    the encoder writes, or are refused anyhow, so a newline can only be what joins them. A string
    that looks like a long number causes care without need, nothing worse.
    """
    joined = b"\n".join(entries)
    if max(map(len, entries)) > MAX_RECORD:
        return True
    numbers = joined.translate(_NUMBERS)
    if _LONG_NUMBER in numbers and any(
        len(digits) > 16 or int(digits) > MAX_SAFE_INTEGER
        for digits in _LONG_INTEGER.findall(joined)
    ):
        return True
    rest = joined.translate(None, _UNREMARKABLE)
    if not rest.isascii():
        if any(match[1] for match in _ASTRAL_STRING.finditer(joined)):
            return True
        rest = rest.translate(None, _ASTRAL)
    return max(map(len, rest.split(b"\n"))) > MAX_DEPTH


def _quickly_read(data: bytes) -> Record | None:
    """The record, if it is canonical beyond doubt; its rules are not checked."""
    try:
        record: Record = _decode(data)
        return record if _encode(record) == data and not _needs_care([data]) else None
    except _UNDECIDED:
        return None


def _quickly(record: Record) -> bytes | None:
    """The quick encoder's output, if that can be relied upon: NaN, say, it writes as null."""
    try:
        data = _encode(record)
        return data if _decode(data) == record and not _needs_care([data]) else None
    except (*_UNDECIDED, TypeError, UnicodeEncodeError):
        return None


def _examine(data: bytes) -> Record:
    """The slow path: parses a record with the complete canonical check, whatever it costs."""
    value = check_canonical(data, "record")
    try:
        record: Record = convert(value, Record)
        # Every default is None: a null is all that would not come back.
        if path := _first_null(value, ""):
            raise FormatError(f"{path}: null; leave the member out")
        check_rules(record)
        check_producer(record)
    except ValidationError as error:
        raise FormatError(f"record: {explain(error)}") from None
    except FormatError as error:
        raise FormatError(f"record: {error}") from None
    return record


def _first_null(value: Any, path: str) -> str | None:
    """The path of the first null in a record, AuthZEN's own members left aside."""
    if value is None:
        return path
    items: Sequence[tuple[str, Any]] = ()
    if isinstance(value, dict):
        items = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    for inner, item in items:
        if inner not in ("request", "response") and (found := _first_null(item, inner)):
            return found
    return None
