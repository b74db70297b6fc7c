"""Reading and writing records, and the fast check of whole batches.

Fast path: a typed decode, a sorted encode, and a comparison with the input; for many plain records
all at once (`recordquick`). What that cannot decide goes to the slow path, which rests on
`canonical` alone and always has the last word. The fast path only ever accepts, and it may do so
because of the guards in `recordguards`, one for each way in which the quick encoder's output is not
RFC 8785. Everything else that RFC 8785 forbids (white space, order, duplicates, escapes) changes
the bytes.
"""

import re
from collections.abc import Generator, Sequence
from typing import Any, Final

from msgspec import MsgspecError, ValidationError, convert
from msgspec.json import Decoder

from muniment.records.canonical import check_canonical, encode_canonical
from muniment.records.check import (
    check_producer,
    check_rules,
    check_times,
    explain,
    time_problem,
)
from muniment.records.forms import BatchWithholding, Forms, Usual
from muniment.records.guards import ENCODER, UNDECIDED, may_differ, needs_care, plain_float
from muniment.records.kinds import Record
from muniment.records.plainvalue import plain_members
from muniment.records.quick import AT_ONCE, read_plain
from muniment.records.shape import Shaped
from muniment.tlog.encoding import FormatError, check_key_name, in_one_go


class RecordError(FormatError):
    """A record of a batch, its `entry` counted from 0, is not acceptable."""

    def __init__(self, entry: int, message: str) -> None:
        super().__init__(f"record {entry}: {message}")
        self.entry = entry


_EFFORT: Final = 1 << 18
"""Work of one step of `checking`, in bytes of records that take the fast path."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_RECORD_EFFORT: Final = 256  # what each record costs besides its bytes
_SLOWER: Final = 20

_encode: Final = ENCODER.encode
_decode: Final = Decoder(Record, float_hook=plain_float).decode
_decode_shaped: Final = Decoder(Shaped, float_hook=plain_float).decode
_decode_any: Final = Decoder(float_hook=plain_float).decode


def parse_record(data: bytes) -> Record:
    """Parses one record, which must be canonical and valid; whose it is, the caller compares.

    Raises FormatError, which names the member, also for more than MAX_RECORD bytes.
    """
    record = _quickly_read(data)
    if record is None:
        return examine(data)
    try:
        check_rules(record)
        check_producer(record)
    except FormatError as error:
        raise FormatError(f"record: {error}") from None
    return record


def parse_leaves(leaves: Sequence[bytes]) -> list[Record | None]:
    """Parses many leaves; None for each that is no valid record, as `parse_record` tells.

    Costs a third less than one call for each: what guards the quick decoder looks at all at once.
    """
    if not leaves:
        return []
    decode, encode, check = _decode, _encode, check_rules  # locals: a tenth of the time
    careful = needs_care(leaves, b"\n".join(leaves))
    names: set[str] = set()  # of producers, that are key names
    found: list[Record | None] = []
    for leaf in leaves:
        record: Record | None = None
        try:
            if not careful:
                record = decode(leaf)
                if encode(record) != leaf:
                    record = None
        except UNDECIDED:
            record = None
        try:
            if record is None:
                record = parse_record(leaf)
            else:
                check(record)
                if record.producer not in names:
                    check_producer(record)
            names.add(record.producer)
        except FormatError:
            record = None
        found.append(record)
    return found


def encode_record(record: Record) -> bytes:
    """Encodes a record in canonical form; `parse_record` gives it back.

    A value that was made in Python is validated here. Tuples in `request` and `response` come back
    as lists; other values that JSON would not give back are refused, see `plainvalue`. Raises
    FormatError if the record is not valid, or longer than MAX_RECORD bytes.
    """
    data = _quickly(record)
    if data is None:
        try:
            data = encode_canonical(plain_members(record))
        except (TypeError, MsgspecError, UnicodeEncodeError, RecursionError) as error:
            raise FormatError(f"record: cannot be JSON: {error}") from None
        except FormatError as error:
            raise FormatError(f"record: {error}") from None
    parse_record(data)
    return data


def encode_members(members: dict[str, Any]) -> bytes:
    """Encodes members, as `canonical.parse_json` gives them; FormatError if they are no record."""
    data = _encode(members)
    try:
        _decode(data)
    except UNDECIDED:  # a float, perhaps, that the quick encoder may write in its own way
        certain = False
    else:
        certain = not needs_care([data], data)
    if not certain:
        data = encode_canonical(members)
    parse_record(data)
    return data


def encode_json(value: dict[str, Any]) -> bytes:
    """As `canonical.encode_canonical`, in an eighth of the time where the quick encoder may do it.

    Raises FormatError as that.
    """
    try:
        data = _encode(value)
        # It writes NaN as null, and texts for values that JSON does not have: these come back as
        # something else.
        read = _decode_any(data)
        if read == value and not may_differ(data, read):
            return data
    except (*UNDECIDED, ValueError, TypeError, OverflowError):
        pass
    return encode_canonical(value)


def check_records(
    entries: Sequence[bytes], producer: str, *, are_new: bool = False, forms: Forms | None = None
) -> None:
    """Checks that each entry is a canonical, valid record of one producer.

    Costs 3 to 8 µs a record; about 20 times that for a record that needs the slow path (see the
    module's first lines): a service uses `checking`. With `are_new`, the times that records state
    must be ones that can be meant, see `times`; what a log holds stays valid whatever it says.
    `forms` is what the caller has learned of usual decisions, if it checks many. Raises RecordError
    for the first entry that is not acceptable, with its number, from 0, and the member, as in
    ``record 17: request.subject.id: expected str, got int``; FormatError if `producer` is no key
    name.
    """
    in_one_go(checking(entries, producer, are_new=are_new, forms=forms))


def checking(
    entries: Sequence[bytes], producer: str, *, are_new: bool = False, forms: Forms | None = None
) -> Generator[None, None, BatchWithholding]:
    """Does `check_records` in steps, and yields between them.

    A step is two or three milliseconds, or a single record: one of 64 KB that was made to take long
    takes a tenth of a second. Returns what `Forms.read` tells of those of the records that
    withhold members and are usual, and how many are usual and withhold none.
    """
    withheld = BatchWithholding()
    name = check_key_name(producer, "producer").encode()
    effort = 0
    for start in range(0, len(entries), AT_ONCE):
        piece = entries[start : start + AT_ONCE]
        size = sum(map(len, piece)) + len(piece) * _RECORD_EFFORT
        if size <= _EFFORT:
            if forms is not None and forms.producer_of(piece) == name:
                withheld.without += len(piece)
                is_fit = True
            else:
                plain = read_plain(piece, forms, withheld, start)
                is_fit = plain is not None and _are_fit(plain, producer, are_new=are_new)
            if is_fit:
                effort += size
                if effort > _EFFORT:
                    effort = 0
                    yield
                continue
        effort = yield from _checking_each(piece, start, producer, effort, are_new=are_new)
    return withheld


def _checking_each(
    entries: Sequence[bytes], start: int, producer: str, effort: int, *, are_new: bool
) -> Generator[None, None, int]:
    """Checks records one by one, the first of which has a number; returns the effort since."""
    decode, encode, check = _decode_shaped, _encode, check_rules  # locals: a tenth of the time
    careful = needs_care(entries, b"\n".join(entries))
    for number, entry in enumerate(entries, start):
        if effort > _EFFORT:
            effort = 0
            yield
        effort += len(entry) + _RECORD_EFFORT
        record: Record | Shaped | None
        try:
            record = decode(entry)
            if encode(record) != entry or (careful and needs_care([entry], entry)):
                record = None
        except UNDECIDED:
            record = None
        try:
            if record is None:
                record = _quickly_read(entry)
            if record is None:
                effort += _SLOWER * (len(entry) + _RECORD_EFFORT)
                record = examine(entry)
            else:
                check(record)
            if are_new:
                check_times(record)
            if record.producer != producer:
                check_producer(record)
                raise FormatError(f"producer: expected {producer!a}, got {record.producer!a}")
        except FormatError as error:
            raise RecordError(number, str(error).removeprefix("record: ")) from None
    return effort


def _are_fit(records: Sequence[Usual | Shaped], producer: str, *, are_new: bool) -> bool:
    """Whether valid records are all of a producer; and if they are new, state times to be meant."""
    name = producer.encode()
    for record in records:
        if isinstance(record, tuple):  # a usual one, whose time is right
            if record[2] != name:
                return False
        elif record.producer != producer or (are_new and time_problem(record) is not None):
            return False
    return True


def _quickly_read(data: bytes) -> Record | None:
    """The record, if it is canonical beyond doubt; its rules are not checked."""
    try:
        record: Record = _decode(data)
        return record if _encode(record) == data and not needs_care([data], data) else None
    except UNDECIDED:
        return None


def _quickly(record: Record) -> bytes | None:
    """The quick encoder's output, if that can be relied upon: NaN, say, it writes as null."""
    try:
        data = _encode(record)
        return data if _decode(data) == record and not needs_care([data], data) else None
    except (*UNDECIDED, TypeError, UnicodeEncodeError):
        return None


def examine(data: bytes) -> Record:
    """The slow path: parses a record with the complete canonical check, whatever it costs.

    Raises FormatError if it is not valid.
    """
    value = check_canonical(data, "record")
    try:
        record: Record = convert(value, Record)
        # Every default is None: a null is all that would not come back.
        if path := _first_null(value, ""):
            raise FormatError(f"{path}: null; leave the member out")
        check_rules(record)
        check_producer(record)
    except ValidationError as error:
        raise FormatError(f"record: {_explain(error, value)}") from None
    except FormatError as error:
        raise FormatError(f"record: {error}") from None
    return record


def _explain(error: ValidationError, value: Any) -> str:
    """As `explain`; names the pointer whose digest is none, which the decoder does not."""
    text = explain(error)
    addenda = value.get("addenda") if text.startswith("addenda[") else None
    for pointer, digest in addenda.items() if isinstance(addenda, dict) else ():
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
            return f"addenda: {pointer!a}: expected a SHA-256, 64 lower-case hexadecimal digits"
    return text


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
