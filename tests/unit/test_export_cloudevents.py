"""CloudEvents 1.0.2: each MUST of the attributes, the JSON format, and the HTTP binding's modes."""

import json
import re
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

import export_tools as tools
import index_tools
import logsim
from muniment.export.cloudevents import CLOUD_EVENTS, source_of, timestamp
from muniment.records.api import Decision, Outcome, parse_record
from muniment.tlog.merkle import leaf_hash

NAME = re.compile(r"[a-z0-9]{1,20}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CONTEXT = {
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "leafhash",
    "traceparent",
}


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    traced = json.loads(logsim.decision(3))
    traced["traceparent"] = TRACE
    last = json.dumps(traced, separators=(",", ":"), sort_keys=True).encode()
    return [*index_tools.make_entries(Random(3), 60), last]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory, entries: list[bytes]) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("events") / "replica.db"
    tools.follow(path, index_tools.MemorySource(entries))
    return [json.loads(CLOUD_EVENTS.event(one)) for one in tools.exported(path)]


def test_required_attributes(events: list[dict[str, Any]]) -> None:
    """Non-empty strings; `specversion` 1.0; a source that is a URI reference."""
    for event in events:
        assert event["specversion"] == "1.0"
        for name in ("id", "source", "type"):
            assert isinstance(event[name], str)
            assert event[name]
        assert event["type"].startswith("dev.muniment.")
        parts = urlsplit(event["source"])
        assert parts.netloc + parts.path == index_tools.ORIGIN


def test_source_and_id_are_unique_for_each_event(
    events: list[dict[str, Any]], entries: list[bytes]
) -> None:
    names = {(event["source"], event["id"]) for event in events}
    assert len(names) == len(events)
    for event in events:
        assert parse_record(entries[int(event["id"])])


def test_attribute_names_are_lower_case_letters_and_digits(events: list[dict[str, Any]]) -> None:
    """And MUST NOT be named `data`; SHOULD NOT be longer than 20 characters."""
    for event in events:
        for name in event.keys() - {"data"}:
            assert NAME.fullmatch(name)
            assert isinstance(event[name], str)  # "String" in the JSON format
            assert event[name]
        assert event.keys() - {"data"} <= CONTEXT


def test_time_is_rfc_3339_and_the_producers(
    events: list[dict[str, Any]], entries: list[bytes]
) -> None:
    for event in events:
        assert RFC3339.fullmatch(event["time"])
        record = parse_record(entries[int(event["id"])])
        assert event["time"] == timestamp(record.time)
    assert timestamp(1_790_000_000_007) == "2026-09-21T14:13:20.007Z"
    assert timestamp(-1) == "1969-12-31T23:59:59.999Z"


def test_data_is_the_record_in_json(events: list[dict[str, Any]], entries: list[bytes]) -> None:
    for event in events:
        assert event["datacontenttype"] == "application/json"
        index = int(event["id"])
        assert event["data"]["record"] == json.loads(entries[index])
        assert event["data"]["index"] == index
        assert event["data"]["origin"] == index_tools.ORIGIN
        assert event["data"]["leaf"] == event["leafhash"]


def test_the_record_is_verbatim(entries: list[bytes], tmp_path: Path) -> None:
    """So that whoever gets it can hash it."""
    tools.follow(tmp_path / "r", index_tools.MemorySource(entries))
    for one in tools.exported(tmp_path / "r"):
        line = CLOUD_EVENTS.event(one)
        at = line.index(b'"record":') + len(b'"record":')
        assert leaf_hash(line[at : at + len(one.data)]) == one.leaf_hash


def test_subject_and_trace_context(events: list[dict[str, Any]], entries: list[bytes]) -> None:
    for event in events:
        record = parse_record(entries[int(event["id"])])
        kind = event["type"].removeprefix("dev.muniment.")
        if isinstance(record, Outcome) or (isinstance(record, Decision) and record.execution):
            assert event["subject"] == f"run/{record.execution}"
        elif kind != "verification":
            assert event["subject"] == f"{kind}/{record.id}"
    assert events[-1]["traceparent"] == TRACE
    assert "traceparent" not in events[0]


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ("log.example/a", "//log.example/a"),
        ("localhost:8080/a", "//localhost:8080/a"),
        ("a b/ü?#%", "//a%20b/%C3%BC%3F%23%25"),
    ],
)
def test_an_origin_as_a_source(origin: str, source: str) -> None:
    assert source_of(origin) == source


def test_a_lone_event_is_structured_and_several_are_a_batch() -> None:
    """HTTP binding 3.2 and 3.3: the media types, a JSON object and a JSON array of objects."""
    one, other = b'{"id":"1"}', b'{"id":"2"}'
    assert CLOUD_EVENTS.media_type(1) == "application/cloudevents+json; charset=UTF-8"
    assert json.loads(CLOUD_EVENTS.body([one])) == {"id": "1"}
    assert CLOUD_EVENTS.media_type(2) == "application/cloudevents-batch+json; charset=UTF-8"
    assert json.loads(CLOUD_EVENTS.body([one, other])) == [{"id": "1"}, {"id": "2"}]
