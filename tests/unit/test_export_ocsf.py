"""OCSF 1.8.0: the required attributes of the two classes, enums with their names, units.

`integration/test_export_forms.py` holds events against the schema itself.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import export_tools as tools
import index_tools
from muniment.export.ocsf import OCSF
from muniment.records.api import Decision, parse_record

BASE = {
    "activity_id",
    "category_uid",
    "class_uid",
    "metadata",
    "severity_id",
    "time",
    "type_uid",
}
API_ACTIVITY = BASE | {"actor", "api", "src_endpoint"}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("ocsf") / "replica.db"
    tools.follow(path, index_tools.MemorySource(tools.telling_entries()))
    return [json.loads(OCSF.event(one)) for one in tools.exported(path)]


def test_required_attributes_are_there(events: list[dict[str, Any]]) -> None:
    for event in events:
        required = API_ACTIVITY if event["class_uid"] == 6003 else BASE
        assert required <= event.keys()
        assert event["metadata"].keys() >= {"version", "product"}
        assert event["metadata"]["version"] == "1.8.0"


def test_the_type_is_the_class_and_the_activity(events: list[dict[str, Any]]) -> None:
    """`type_uid` = `class_uid` * 100 + `activity_id`; 99 needs the source's own name."""
    for event in events:
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["category_uid"] == event["class_uid"] // 1000
        assert event["activity_id"] == 99
        assert event["activity_name"]


def test_decisions_are_api_activity_and_nothing_else_is(events: list[dict[str, Any]]) -> None:
    for event in events:
        record = parse_record(event["raw_data"].encode())
        assert (event["class_uid"] == 6003) is isinstance(record, Decision)
        assert event["time"] == record.time  # milliseconds
        assert event["metadata"]["logged_time"] == index_tools.NOW * 1000


def test_what_a_decision_says(events: list[dict[str, Any]]) -> None:
    allowed, denied, artifact, *_ = events
    assert (allowed["action_id"], allowed["disposition_id"]) == (1, 1)
    assert (denied["action_id"], denied["disposition_id"]) == (2, 2)
    assert (denied["action"], denied["disposition"]) == ("Denied", "Blocked")
    assert denied["status_detail"] == "denied_by_policy, policy_mismatch"
    assert allowed["actor"]["user"] == {"uid": "ada ü\u202e", "type": "User", "type_id": 1}
    assert denied["actor"]["user"] == {"uid": "agent-1", "type": "agent", "type_id": 99}
    assert denied["actor"]["authorizations"] == [{"decision": "denied"}]
    assert artifact["actor"]["authorizations"] == [
        {"decision": "allowed", "policy": {"uid": "p", "version": "7"}}
    ]
    assert allowed["api"] == {"operation": "call", "request": {"uid": "c-1"}}
    assert allowed["resources"] == [{"uid": "tool-0", "type": "tool"}]
    assert allowed["trace"] == {"uid": "0af7651916cd43dd8448eb211c80319c"}
    assert allowed["metadata"]["profiles"] == ["security_control", "trace"]
    assert allowed["unmapped"]["muniment"]["erased"] == {"/request/context/arguments": 3}


def test_how_runs_ended(events: list[dict[str, Any]]) -> None:
    found = {
        event["status"]: event["status_id"]
        for event in events
        if event["activity_name"] == "outcome"
    }
    assert found == {"Success": 1, "Failure": 2, "aborted": 99, "not_run": 99, "unknown": 99}


def test_uids_are_unique_and_the_sequence_is_the_index(events: list[dict[str, Any]]) -> None:
    assert len({event["metadata"]["uid"] for event in events}) == len(events)
    indices = [event["metadata"]["sequence"] for event in events]
    assert indices == sorted(indices)
    for event in events:
        sequence = event["metadata"]["sequence"]
        assert event["metadata"]["uid"] == f"{index_tools.ORIGIN}#{sequence}"


def test_a_request_is_an_array(tmp_path: Path) -> None:
    assert json.loads(OCSF.body([b'{"a":1}'])) == [{"a": 1}]
    assert OCSF.media_type(1) == "application/json"
    assert OCSF.lines([b"{}", b"{}"]) == b"{}\n{}\n"
