"""Times: what can be one, how people write them, and where new ones are refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions import request
from muniment.permit.contextfile import parse_context
from muniment.records.api import RecordError, check_records, parse_record
from muniment.records.canonical import encode_canonical
from muniment.records.preparation import Preparer
from muniment.records.times import EARLIEST, LATEST, milliseconds_problem, seconds_problem
from muniment.records.timetext import parse_time
from muniment.tlog.encoding import FormatError, in_one_go
from muniment_log.core.ingest import BadRecordError, completing

PRODUCER = "gw.example/edge"
NOW = 1_790_000_000
NOW_MS = NOW * 1000
COMMON = {"v": 1, "id": "r-1", "time": NOW_MS, "producer": PRODUCER}
PAIR = {
    "request": request("planner", "call", ("tool", "x")),
    "response": {"decision": True},
}
ARTIFACT = {
    "scope": {"actions": ["call"], "resources": [{"type": "tool"}]},
    "policy": {"id": "p", "revision": "1", "digest": "sha256:" + "0" * 64},
    "validity": {"not_before": NOW, "not_after": NOW + 60},
    "attribution": {"authority": "acme"},
}
RUN = {"execution": "run-1", **COMMON}
KINDS: dict[str, dict[str, Any]] = {
    "decision": {**COMMON, **PAIR, "kind": "decision"},
    "artifact": {**COMMON, **PAIR, "kind": "decision", "artifact": ARTIFACT},
    "edge": {
        **COMMON,
        "kind": "edge",
        "relation": "triggered_by",
        "from": {"type": "run", "id": "run-1"},
        "to": {"type": "run", "id": "run-0"},
    },
    "outcome": {**RUN, "kind": "outcome", "status": "completed"},
    "verification": {**RUN, "kind": "verification", "state": "verified", "checks": []},
    "erasure": {**COMMON, "kind": "erasure", "digests": ["0a" * 32], "by": "operator"},
    "approval": {
        **COMMON,
        "kind": "approval",
        "approval": {
            "id": COMMON["id"],
            "request": "arq-1",
            "gateway": COMMON["producer"],
            "call": "sha256:" + "0" * 64,
            "decision": False,
            "approver": "alice",
            "at": NOW,
            "not_after": NOW + 60,
            "key": "people.example/alice+01234567",
            "signature": "AAAA",
        },
    },
    "revocation": {
        **COMMON,
        "kind": "revocation",
        "target": {"execution": "run-1"},
        "since": NOW,
        "reason": "because",
    },
}
CASES = [(kind, "time", ms) for kind in KINDS for ms in (NOW, 0, EARLIEST * 1000 - 1)]
CASES += [
    (kind, member, value)
    for kind, member in (
        ("revocation", "since"),
        ("artifact", "artifact.validity.not_before"),
        ("artifact", "artifact.validity.not_after"),
        ("approval", "approval.not_after"),
    )
    for value in (NOW_MS, EARLIEST - 1, LATEST, 2**53 - 2)
    if (member, value) != ("artifact.validity.not_before", NOW_MS)
]
"""Kind, member, and a value that cannot be meant."""


def with_time(kind: str, path: str, value: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(KINDS[kind]))
    *outer, last = path.split(".")
    inner = record
    for name in outer:
        inner = inner[name]
    inner[last] = value
    if path.endswith("not_before"):
        inner["not_after"] = max(inner["not_after"], value + 1)
    if path.endswith("not_after"):
        first = "not_before" if "not_before" in inner else "at"
        inner[first] = min(inner[first], value - 1)
    return record


def preparer() -> Preparer:
    return Preparer(PRODUCER, now_ms=lambda: NOW_MS, new_id=lambda: "new")


@pytest.mark.parametrize(("kind", "member", "value"), CASES)
def test_a_new_record_may_not_state_a_time_that_cannot_be_meant(
    kind: str, member: str, value: int
) -> None:
    record = with_time(kind, member, value)
    data = encode_canonical(record)
    for given_ in (record, data, json.dumps(record), parse_record(data)):
        with pytest.raises(RecordError) as refused:
            preparer().prepare([KINDS["edge"], given_])
        assert refused.value.entry == 1
        if not member.endswith("not_after"):  # its partner may be the first that is wrong
            assert f"{member}: expected Unix" in str(refused.value)
    with pytest.raises(RecordError, match=r"record 1: .*expected Unix"):
        check_records([encode_canonical(KINDS[kind]), data], PRODUCER, are_new=True)
    with pytest.raises(BadRecordError, match="expected Unix"):
        in_one_go(
            completing(
                json.dumps(record).encode(),
                lines=False,
                producer=PRODUCER,
                now_ms=NOW_MS,
                new_id=lambda: "new",
            )
        )


@pytest.mark.parametrize(("kind", "member", "value"), CASES)
def test_what_a_log_holds_stays_valid(kind: str, member: str, value: int) -> None:
    data = encode_canonical(with_time(kind, member, value))
    check_records([data], PRODUCER)
    assert parse_record(data).producer == PRODUCER


@pytest.mark.parametrize("kind", KINDS)
def test_times_that_can_be_meant_are_taken(kind: str) -> None:
    for ms in (EARLIEST * 1000, NOW_MS, LATEST * 1000 - 1):
        check_records([encode_canonical({**KINDS[kind], "time": ms})], PRODUCER, are_new=True)


@given(st.integers(0, 2**53 - 1))
def test_no_number_is_a_time_in_both_units(value: int) -> None:
    seconds, milliseconds = seconds_problem(value), milliseconds_problem(value)
    assert seconds is not None or milliseconds is not None
    assert (seconds is None) == (EARLIEST <= value < LATEST)
    if milliseconds is None:
        assert "can only be milliseconds" in (seconds or "")
    if seconds is None:
        assert "can only be seconds" in (milliseconds or "")


@given(st.integers(EARLIEST, LATEST - 1))
def test_every_spelling_of_a_time_is_read(seconds: int) -> None:
    when = datetime.fromtimestamp(seconds, UTC)
    for text in (
        str(seconds),
        when.isoformat(),
        f"{when:%Y-%m-%dT%H:%M:%SZ}",
        f"{when:%Y%m%dT%H%M%SZ}",
        f"{when:%Y-%m-%d %H:%M:%S UTC}",
        f" {when:%Y-%m-%dT%H:%M:%S.5}+00:00\n",
    ):
        assert parse_time(text) == seconds


def test_offsets_are_read() -> None:
    assert parse_time("2026-11-28T01:00:00+01:00") == parse_time("2026-11-28T00:00:00Z")
    assert parse_time("2026-11-28 02:30-02:30") == parse_time("2026-11-28T05:00:00Z")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (str(NOW_MS), "can only be milliseconds"),
        ("0", "between 2000 and 2100"),
        ("-5", "between 2000 and 2100"),
        ("1999-12-31T23:59:59Z", "between 2000 and 2100"),
        ("2026-11-28", "without an offset"),
        ("2026-11-28T00:00:00", "without an offset"),
        ("2100-01-01T00:00:00Z", "between 2000 and 2100"),
        ("9999-12-31T23:59:59-12:00", "no time|between"),
        ("tomorrow", "is no time"),
        ("", "is no time"),
        ("2026-13-01", "is no time"),
        ("1e9", "is no time"),
        ("1_790_000_000", "is no time"),
        ("9" * 30, "is no time"),
    ],
)
def test_what_is_no_time_is_named(text: str, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_time(text)


def test_a_context_in_milliseconds_is_refused() -> None:
    context = {"action": "call", "resource": {"type": "tool", "id": "x"}, "now": NOW_MS}
    with pytest.raises(FormatError, match=r"now: .* can only be milliseconds"):
        parse_context(json.dumps(context).encode(), now=NOW, facts=None)
