"""Records made ready for a batch: complete, canonical and valid.

What ``submission`` does to one record with care, this does to many in a fraction of the
time: a quick reading and writing with C libraries, and one check over all results. Whatever is
out of the ordinary goes the careful way, which decides and words the errors. The quick way can
not let anything through that the check would not, nor change a value: the reader refuses
duplicate members and NaN, and what differs between the libraries fails the check.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from math import isinf
from typing import Any, TypeAlias, cast

import msgspec

from muniment.records.api import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    RecordError,
    Revocation,
    Verification,
    check_records,
    complete_record,
    decision_of_evaluation,
    encode_record,
)
from muniment.records.forms import Forms
from muniment.records.plainvalue import plain_value
from muniment.records.submission import is_traceparent
from muniment.tlog.encoding import FormatError

RecordInput: TypeAlias = Record | bytes | str | Mapping[str, Any]
"""A typed record, a JSON object as text, or a mapping that can be one."""

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
# How a complete record ends in canonical form, where members are sorted; the check decides.
_COMPLETE = b',"v":1}'
_TYPED = (Decision, Edge, Verification, Outcome, Revocation, Erasure, Approval)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(_name: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError("a number beyond all doubles")
    return value


_read = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
).decode


def _read_plain(text: bytes) -> dict[str, Any] | None:
    """Reads an object without escapes in a third of the time; None when it is not certain.

    This reader takes the last of several members of one name. Without escapes only strings have
    quotes, two each, so that fewer are written again than were read.
    """
    if b"\\" in text:
        return None
    members = _decode(text)
    return members if _encode(members).count(b'"') == text.count(b'"') else None


def is_ready(record: bytes, producer: str, forms: Forms) -> bool:
    """Whether a record is a usual decision of a producer, which needs no preparation."""
    return record.endswith(_COMPLETE) and forms.is_usual(record, producer.encode())


class Preparer:
    """Prepares the records of one producer.

    `now_ms` is the clock, in Unix milliseconds; `new_id` makes the ids that are filled in. Who
    makes a preparer for each request shares `forms` among them, so that it is learned only once.
    """

    def __init__(
        self,
        producer: str,
        *,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
        forms: Forms | None = None,
    ) -> None:
        self.producer = producer
        self._name = producer.encode()
        self._now_ms = now_ms
        self._new_id = new_id
        self._forms = forms or Forms()

    def prepare(self, records: Iterable[RecordInput]) -> list[bytes]:
        """Prepares records, in order; RecordError for the first one that cannot be."""
        given = list(records)
        # All is read by one clock, so that the careful way gives the same bytes as the quick one.
        now_ms = self._now_ms()
        entries = [
            record
            if isinstance(record, bytes) and record.endswith(_COMPLETE)
            else self._quick(record, number, now_ms)
            for number, record in enumerate(given)
        ]
        if len(entries) == 1 and self._forms.is_usual(entries[0], self._name):
            return entries
        start = 0
        while start < len(entries):
            try:
                rest = entries[start:] if start else entries
                check_records(rest, self.producer, are_new=True, forms=self._forms)
            except RecordError as error:
                at = start + error.entry
                record = given[at]
                if isinstance(record, _TYPED):
                    raise RecordError(at, _reason(error)) from None
                if entries[at] is record and (filled := self._filled(record, now_ms)):
                    entries[at], start = filled, at  # it only looked complete
                    continue
                entries[at] = self._careful(record, at, now_ms)
                start = at + 1
            else:
                break
        return entries

    def _quick(self, record: RecordInput, number: int, now_ms: int) -> bytes:
        """The bytes of a record that is made complete; else what the check will refuse."""
        if isinstance(record, _TYPED):
            return self._typed(record, number)
        return self._filled(record, now_ms)

    def _filled(self, record: bytes | str | Mapping[str, Any], now_ms: int) -> bytes:
        """The bytes of a record with what it lacks; none where the careful way has to decide."""
        try:
            members = _read_plain(record) if isinstance(record, bytes) else None
            if members is None:
                members = _read(_text(record))
            if not isinstance(record, str | bytes) and members != record:
                members = plain_value(record)  # a tuple, at best
            if "kind" not in members:
                members = decision_of_evaluation(members)
            common = {"v": 1, "time": now_ms, "producer": self.producer}
            if "id" not in members:
                common["id"] = self._new_id()
            return _encode(common | members)
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
            return b""

    def _typed(self, record: Record, number: int) -> bytes:
        try:
            return encode_record(record)
        except FormatError as error:
            found = getattr(record, "traceparent", None)
            if found is not None and not is_traceparent(found):  # somebody else's, see submission
                return self._typed(msgspec.structs.replace(record, traceparent=None), number)
            raise RecordError(number, _bare(error)) from None

    def _careful(self, record: RecordInput, number: int, now_ms: int) -> bytes:
        try:
            data = record if isinstance(record, bytes) else _plain_text(record).encode()
            entry = complete_record(
                data, producer=self.producer, now_ms=now_ms, new_id=self._new_id
            )
            check_records([entry], self.producer, are_new=True)
        except RecordError as error:
            raise RecordError(number, _reason(error)) from None
        except FormatError as error:
            raise RecordError(number, _bare(error)) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordError(number, f"cannot be JSON: {error}") from None
        return entry


def _reason(error: RecordError) -> str:
    return str(error).removeprefix(f"record {error.entry}: ")


def _bare(error: FormatError) -> str:
    return str(error).removeprefix("record: ")


def _plain_text(record: RecordInput) -> str:
    return _text(record if isinstance(record, str) else plain_value(record))


def _text(record: RecordInput) -> str:
    if isinstance(record, str):
        return record
    if isinstance(record, bytes):
        return record.decode()
    return json.dumps(cast("Any", record), allow_nan=False, ensure_ascii=False)
