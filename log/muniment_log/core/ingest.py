"""Judging what is submitted: the CPU work before a batch may be ordered.

In two parts: `Admission.authenticate` tells whose batch it is and costs strangers' batches next to
nothing; `examine`, and `completing` for plain JSON, look at the records, in steps between which a
service answers others (see `scheduler`): a record that was made to be slow to check costs twenty
times what a usual one does, and a batch may have 10,000. All of it is pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, MsgspecError, Raw, Struct
from msgspec.json import Decoder

from muniment.records.api import RecordError
from muniment.records.canonical import MAX_RECORD, parse_json
from muniment.records.codec import checking
from muniment.records.guards import ENCODER
from muniment.records.manifest import MAX_BATCH_RECORDS, Frames, parse_frames, verify_batch
from muniment.records.preparation import Preparer, is_ready
from muniment.records.submission import (
    MAX_SPELLING,
    is_traceparent,
    split_ndjson,
    split_records,
)
from muniment.tlog.encoding import FormatError, VerificationError
from muniment_log.core.bearer import NONE, Tokens
from muniment_log.core.repeats import RequestRecords, Stated, request_of, request_of_one
from muniment_log.core.tokens import TOKEN_STREAMS
from muniment_log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from muniment.records.forms import BatchWithholding, Forms
    from muniment.records.manifest import Batch
    from muniment.records.preparation import RecordInput
    from muniment.tlog.note import Verifier

_EFFORT = 16 << 10
"""Bytes of plain JSON that one step of `completing` takes, a record counting for 256 more: some
milliseconds when they need care."""


class MalformedBatchError(LogError):
    """The body is not records and their manifest."""


class WrongLogError(LogError):
    """The manifest names another log's origin."""


class UnknownGatewayError(LogError):
    """No configured gateway has this key name."""


class BadSignatureError(LogError):
    """The manifest is not signed by a configured key of its gateway."""


class BadRecordError(LogError):
    """One record is not canonical, not valid, or another producer's."""

    def __init__(self, entry: int, reason: str) -> None:
        super().__init__(reason)
        self.entry = entry


class TooManyRecordsError(LogError):
    """More records in one request than a batch may have."""


class Admission(Struct, frozen=True):
    """Who may submit, and who may read.

    Attributes:
        origin: this log's origin.
        gateways: key name → verifiers of its keys.
        tokens: of the producers that cannot sign.
        readers: tokens for reading; without any, everybody may read.
        protects_tiles: whether the C2SP reads need a read token, too.
        addenda_readers: tokens for reading addenda.
        opens_addenda: whether everybody may read addenda.
    """

    origin: str
    gateways: Mapping[str, tuple[Verifier, ...]]
    tokens: Tokens
    readers: Tokens = NONE
    protects_tiles: bool = False
    addenda_readers: Tokens = NONE
    opens_addenda: bool = False

    def knows(self, producer: str) -> bool:
        """Whether anybody may submit under a key name."""
        return producer in self.gateways or producer in self.tokens.holders

    def authenticate(self, body: bytes) -> Frames:
        """Authenticates a batch: framing, gateway key, manifest signature; hashes no record.

        Costs one signature, and a tenth of a microsecond a record. Raises MalformedBatchError,
        WrongLogError, UnknownGatewayError, BadSignatureError if it is malformed, for another log,
        or not signed by a known gateway.
        """
        try:
            frames = parse_frames(body)
        except FormatError as error:
            raise MalformedBatchError(str(error)) from error
        manifest = frames.manifest
        if manifest.stream.startswith(TOKEN_STREAMS):
            raise MalformedBatchError(f"stream labels in {TOKEN_STREAMS} are the log's own")
        if manifest.origin != self.origin:
            raise WrongLogError(f"the batch is for the log {manifest.origin}")
        verifiers = self.gateways.get(manifest.producer)
        if verifiers is None:
            raise UnknownGatewayError(f"{manifest.producer} is not a gateway of this log")
        try:
            verify_batch(frames, verifiers, origin=self.origin)
        except (FormatError, VerificationError) as error:
            raise BadSignatureError(str(error)) from error
        return frames


def examine(frames: Frames, forms: Forms) -> Generator[None, None, tuple[Batch, BatchWithholding]]:
    """Hashes and checks every record of an authentic batch, in steps; returns the batch.

    Also what the check told of records that withhold members, see `checking`. Costs about 10 µs a
    record.

    Raises:
        MalformedBatchError: the records are not those of the manifest.
        BadRecordError: one is not canonical, not valid, or another producer's.
    """
    try:
        batch = yield from frames.hashing()
    except FormatError as error:
        raise MalformedBatchError(str(error)) from error
    try:
        withheld = yield from checking(
            frames.records, frames.manifest.producer, are_new=True, forms=forms
        )
    except RecordError as error:
        raise BadRecordError(error.entry, str(error)) from error
    return batch, withheld


class _Own(Struct):
    """The members of a record that a log fills in."""

    id: Any = UNSET
    time: Any = UNSET


class _Common(Struct):
    kind: str
    id: str
    time: int
    traceparent: str | None = None


_own: Final = Decoder(_Own).decode
_common: Final = Decoder(_Common).decode
_LONE: Final = re.compile(rb"[ \t\r\n]*+\{")
_TRACED: Final = frozenset({"decision", "outcome", "verification"})


def received(body: bytes, producer: str, key: str | None, forms: Forms) -> RequestRecords | None:
    """Does `receiving` with a lone usual decision that lacks nothing, as most are; else None."""
    if not is_ready(body, producer, forms):
        return None
    common = _common(body)
    return request_of_one(body, common.id, common.time, key)


def receiving(
    body: bytes,
    *,
    lines: bool,
    producer: str,
    now_ms: int,
    new_id: Callable[[], str],
    key: str | None = None,
    traceparent: str | None = None,
    forms: Forms | None = None,
) -> Generator[None, None, RequestRecords]:
    """Does `completing`, and finds out what the records are recognised by when they come again.

    `key` is the request's Idempotency-Key. A single record of a run that states no `traceparent`
    (W3C Trace Context) gets the request's, if it is valid. Raises what `completing` does.
    """
    stated: list[Stated] = []
    members: list[tuple[str, int]] = []
    is_lone = not lines and _LONE.match(body) is not None
    fills = is_lone and traceparent is not None and is_traceparent(traceparent)

    def finish(text: bytes, entry: bytes) -> bytes:
        common = _common(entry)
        members.append((common.id, common.time))
        filled = fills and common.kind in _TRACED and common.traceparent is None
        has_id = has_time = True
        if text is not entry:  # else it was complete
            own = _own_members(text)
            has_id, has_time = own.id is not UNSET, own.time is not UNSET
        stated.append(Stated(has_id, has_time, traceparent=not filled))
        return _traced(entry, traceparent) if filled and traceparent else entry

    if is_lone:
        prepare = Preparer(producer, now_ms=lambda: now_ms, new_id=new_id, forms=forms).prepare
        try:
            records = [finish(body, _completed(prepare, body, 0, lines=False))]
        except RecordError as error:
            raise BadRecordError(error.entry, str(error)) from error
    else:
        records = yield from completing(
            body,
            lines=lines,
            producer=producer,
            now_ms=now_ms,
            new_id=new_id,
            finish=finish,
            forms=forms,
        )
    return request_of(records, stated, members, key)


def _own_members(text: bytes) -> _Own:
    try:
        return _own(text)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        # JSON that one of the readers takes and the other does not.
        value = parse_json(text, "record", most=MAX_SPELLING)
        return _Own(value.get("id", UNSET), value.get("time", UNSET))


def _traced(entry: bytes, traceparent: str) -> bytes:
    """The record with a traceparent, unless it would be too long."""
    members = {**msgspec.json.decode(entry, type=dict[str, Raw]), "traceparent": traceparent}
    traced = ENCODER.encode(members)
    return traced if len(traced) <= MAX_RECORD else entry


def _completed(
    prepare: Callable[[list[RecordInput]], list[bytes]], text: bytes, number: int, *, lines: bool
) -> bytes:
    """One record, completed; RecordError with its number, or FormatError if it is not JSON."""
    if len(text) > MAX_SPELLING:
        raise RecordError(number, f"more than {MAX_SPELLING} bytes")
    try:
        return prepare([text])[0]
    except RecordError as error:
        reason = str(error).removeprefix(f"record {error.entry}: ")
        if not lines:
            parse_json(text, f"record {number}", most=MAX_SPELLING)
        raise RecordError(number, reason) from None


def _as_it_is(_text: bytes, entry: bytes) -> bytes:
    return entry


def completing(
    body: bytes,
    *,
    lines: bool,
    producer: str,
    now_ms: int,
    new_id: Callable[[], str],
    finish: Callable[[bytes, bytes], bytes] = _as_it_is,
    forms: Forms | None = None,
) -> Generator[None, None, list[bytes]]:
    """Completes the records of a JSON object, array, or lines, in steps; returns them.

    Of lines, empty ones are skipped. Records without a time get `now_ms`, Unix milliseconds.
    `finish` makes each record what it shall be, of its text and what was made of that. `forms` is
    what the log has learned of usual decisions.

    Raises:
        FormatError: the body is not JSON, or there is no record.
        BadRecordError: one is no record, or of lines, not JSON; `entry` counts from 0.
        TooManyRecordsError: more than a batch may have.
    """
    prepare = Preparer(producer, now_ms=lambda: now_ms, new_id=new_id, forms=forms).prepare
    records: list[bytes] = []
    effort = 0
    try:
        for text in split_ndjson(body) if lines else split_records(body):
            if len(records) == MAX_BATCH_RECORDS:
                raise TooManyRecordsError(f"more than {MAX_BATCH_RECORDS} records in one request")
            if effort > _EFFORT:
                effort = 0
                yield
            effort += len(text) + 256
            entry = _completed(prepare, text, len(records), lines=lines)
            records.append(finish(text, entry))
    except RecordError as error:
        raise BadRecordError(error.entry, str(error)) from error
    if not records:
        raise FormatError("no records")
    return records
