"""Fuzz targets of JSON: canonical form and records, the quick ways against the careful ones."""

import json
import math
from contextlib import suppress
from typing import Any, Final

import msgspec
import rfc8785

from fuzzing.law import parsed, target
from governed import GATEWAY, World
from muniment.lineage import Head, MemoryFacts, trace
from muniment.permit.contextfile import parse_context
from muniment.records import codec as recordcodec
from muniment.records.api import (
    Decision,
    RecordError,
    check_records,
    complete_record,
    encode_record,
    parse_record,
)
from muniment.records.authority import authority_vkey, verify_signatures
from muniment.records.canonical import (
    MAX_RECORD,
    canonicalize,
    encode_canonical,
    is_canonical,
    parse_json,
)
from muniment.records.preparation import Preparer
from muniment.records.submission import split_records
from muniment.tlog.encoding import FormatError, VerificationError, in_one_go, unframe
from muniment_log.core.ingest import BadRecordError, TooManyRecordsError, completing
from signing import NOW, ORIGIN, ed25519, mldsa44

AUTHORITIES: Final = (
    authority_vkey("authority.example", ed25519("authority")),
    authority_vkey("second.example", mldsa44("second")),
)
NOW_MS: Final = NOW * 1000


@target("json")
def _json(data: bytes) -> None:
    value = parsed(lambda data: parse_json(data, "text"), None, data)
    if value is None:
        assert not is_canonical(data) or data == b"null"
        return
    # Two other readers of JSON must see the same value ...
    assert _same(json.loads(data), value)
    assert _same(msgspec.json.decode(data), value)
    # ... and one canonical spelling, which means it, too.
    canonical = encode_canonical(value)
    assert canonical == rfc8785.dumps(value)
    assert canonicalize(canonical, "text", most=len(canonical)) == canonical
    assert _same(parse_json(canonical, "text", most=len(canonical)), value)
    assert is_canonical(data) == (data == canonical and len(data) <= MAX_RECORD)


def _same(one: Any, other: Any) -> bool:
    """Equal, types included; 0.0 and -0.0 are one number to RFC 8785, and 1 and 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return (list(one) == list(other) and all(_same(one[key], other[key]) for key in one)) or (
            sorted(one) == sorted(other) and all(_same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(other, float):
        one, other = other, one
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=0, abs_tol=0)
    return bool(one == other)


@target("record")
def _record(data: bytes) -> None:
    """The quick reading against the plain one: the same record, or the same words of refusal."""
    plain = _outcome(recordcodec.examine, data)
    quick = _outcome(parse_record, data)
    assert quick == plain
    batch = _outcome(_checked, data)
    if isinstance(plain, str):
        assert batch == plain
        return
    if plain.producer == GATEWAY:
        assert batch is None
    assert rfc8785.dumps(json.loads(data)) == data
    assert encode_record(plain) == data
    if isinstance(plain, Decision):
        with suppress(VerificationError):
            verify_signatures(plain, AUTHORITIES)
    if plain.producer == GATEWAY:
        # Whatever it says, lineage can be told with it among other records.
        facts = MemoryFacts(Head(ORIGIN, len(_TOLD) + 1, NOW), list(enumerate([*_TOLD, plain])))
        for run in ("call", "plan"):
            trace(run, facts, NOW)


def _told() -> list[Any]:
    world = World()
    world.decide("plan", id_="d-plan", subject="orch")
    world.edge("performed_by", "run:plan", "agent:orch")
    world.edge("triggered_by", "run:call", "run:plan")
    return world.records


_TOLD: Final = _told()


def _outcome(read: Any, data: bytes) -> Any:
    try:
        return read(data)
    except FormatError as error:
        return str(error).removeprefix("record 0: ").removeprefix("record: ")


def _checked(data: bytes) -> None:
    check_records([data], GATEWAY)


@target("records")
def _records(data: bytes) -> None:
    """A batch of records is refused at the first of them that alone is refused."""
    try:
        entries = unframe(data)
    except FormatError:
        return
    alone = [_outcome(_checked, entry) for entry in entries]
    first = next((number for number, each in enumerate(alone) if each is not None), None)
    refused = None
    try:
        check_records(entries, GATEWAY)
    except RecordError as error:
        refused = error
    if first is None or refused is None:
        assert refused is first is None
    else:
        assert refused.entry == first
        assert str(refused) == f"record {first}: {alone[first]}"


def _preparer() -> Preparer:
    return Preparer(GATEWAY, now_ms=lambda: NOW_MS, new_id=lambda: "made")


@target("submission")
def _submission(data: bytes) -> None:
    """Plain JSON made into records: the quick way gives what the careful one does."""
    careful: list[bytes] | None = None
    try:
        texts = list(split_records(data))
        careful = [
            complete_record(text, producer=GATEWAY, now_ms=NOW_MS, new_id=lambda: "made")
            for text in texts
        ]
    except FormatError:
        careful = None
    else:
        check_records(careful, GATEWAY)
        value = json.loads(data)  # what was cut into texts is the array that others read
        assert [json.loads(text) for text in texts] == (
            value if isinstance(value, list) else [value]
        )
    assert _completed(data, lines=False) == careful
    one = parsed(
        lambda data: complete_record(data, producer=GATEWAY, now_ms=NOW_MS, new_id=lambda: "made"),
        None,
        data,
    )
    try:
        prepared = _preparer().prepare([data])[0]
    except RecordError:
        prepared = None
    assert prepared == one


@target("submission-lines")
def _submission_lines(data: bytes) -> None:
    records = _completed(data, lines=True)
    if records is not None:
        check_records(records, GATEWAY)


def _completed(data: bytes, *, lines: bool) -> list[bytes] | None:
    steps = completing(data, lines=lines, producer=GATEWAY, now_ms=NOW_MS, new_id=lambda: "made")
    try:
        return in_one_go(steps)
    except (FormatError, BadRecordError, TooManyRecordsError):
        return None


@target("context")
def _context(data: bytes) -> None:
    parsed(lambda data: parse_context(data, now=NOW, facts=None), None, data)
