"""Judging what is submitted (design section 3.2): the CPU work before a batch may be ordered.

Everything here is a pure function of its arguments, so it can run in any thread or process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from muniment.formats.encoding import FormatError, VerificationError
from muniment.formats.manifest import MAX_BATCH_RECORDS, Batch, parse_batch, verify_batch
from muniment.formats.preparation import Preparer
from muniment.formats.records import RecordError, check_records, complete_record, complete_records
from muniment_log.bearer import NONE, Tokens
from muniment_log.errors import LogError
from muniment_log.tokens import TOKEN_STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from muniment.formats.note import Verifier


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


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may submit, and who may read.

    Attributes:
        origin: this log's origin.
        gateways: key name → verifiers of its keys.
        tokens: of the producers that cannot sign.
        readers: tokens for reading; without any, everybody may read.
        protects_tiles: whether the C2SP reads need a read token, too.
    """

    origin: str
    gateways: Mapping[str, tuple[Verifier, ...]]
    tokens: Tokens
    readers: Tokens = NONE
    protects_tiles: bool = False

    def knows(self, producer: str) -> bool:
        """Whether anybody may submit under a key name."""
        return producer in self.gateways or producer in self.tokens.holders

    def judge(self, body: bytes) -> Batch:
        """Verifies a submitted batch: framing, gateway, signature, every record.

        Costs one signature and about 10 µs a record.

        Raises:
            MalformedBatchError, WrongLogError, UnknownGatewayError, BadSignatureError,
            BadRecordError: it may not be logged.
        """
        try:
            batch = parse_batch(body)
        except FormatError as error:
            raise MalformedBatchError(str(error)) from error
        manifest = batch.manifest
        if manifest.stream.startswith(TOKEN_STREAMS):
            raise MalformedBatchError(f"stream labels in {TOKEN_STREAMS} are the log's own")
        if manifest.origin != self.origin:
            raise WrongLogError(f"the batch is for the log {manifest.origin}")
        verifiers = self.gateways.get(manifest.producer)
        if verifiers is None:
            raise UnknownGatewayError(f"{manifest.producer} is not a gateway of this log")
        try:
            verify_batch(batch, verifiers, origin=self.origin)
        except (FormatError, VerificationError) as error:
            raise BadSignatureError(str(error)) from error
        try:
            check_records(batch.records, manifest.producer)
        except RecordError as error:
            raise BadRecordError(error.entry, str(error)) from error
        return batch


def complete(
    body: bytes, *, producer: str, now_ms: int, new_id: Callable[[], str], most: int
) -> list[bytes]:
    """Completes the records of one JSON object or array.

    Raises:
        FormatError: the body is not JSON, or an empty array.
        BadRecordError: one of them is no record.
        TooManyRecordsError: more than a batch may have.
    """
    if body.lstrip(b" \t\r\n").startswith(b"{"):
        # One record a request is the common case: a quarter of the cost. What the quick way will
        # not have, the careful one decides.
        try:
            return Preparer(producer, now_ms=lambda: now_ms, new_id=new_id).prepare([body])
        except RecordError:
            pass
    try:
        records = complete_records(body, producer=producer, now_ms=now_ms, new_id=new_id, most=most)
    except RecordError as error:
        raise BadRecordError(error.entry, str(error)) from error
    return _bounded(records)


def complete_lines(
    body: bytes, *, producer: str, now_ms: int, new_id: Callable[[], str]
) -> list[bytes]:
    """Completes the records of newline-delimited JSON; empty lines are skipped.

    Raises:
        FormatError: there is no record.
        BadRecordError: a line is no record; `entry` counts records from 0.
        TooManyRecordsError: more than a batch may have.
    """
    lines = [line for line in body.split(b"\n") if line.strip(b" \t\r")]
    if not lines:
        raise FormatError("no records")
    _bounded(lines)
    records = []
    for number, line in enumerate(lines):
        try:
            records.append(complete_record(line, producer=producer, now_ms=now_ms, new_id=new_id))
        except FormatError as error:
            raise BadRecordError(number, f"line {number + 1}: {error}") from error
    return records


def _bounded(records: list[bytes]) -> list[bytes]:
    if len(records) > MAX_BATCH_RECORDS:
        raise TooManyRecordsError(f"more than {MAX_BATCH_RECORDS} records in one request")
    return records
