"""OTLP logs in JSON: the encoding's own rules, the fields of an event, and OTLP/HTTP's answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import export_tools as tools
import index_tools
from commands import muniment
from muniment.errors import BadAnswer, Refused
from muniment.export.destination import Event
from muniment.export.endpoint import Endpoint, RefusedFile
from muniment.export.forms import Rejected
from muniment.export.otlp import OTLP
from muniment.records.api import parse_record
from stand import Answer, Stand

LOWER_CAMEL = re.compile(r"[a-z]+([A-Z][a-z]+)*")
EVENTS = [Event(number, b'{"n":%d}' % number) for number in range(4)]


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("otlp") / "replica.db"
    tools.follow(path, index_tools.MemorySource(tools.telling_entries()))
    body = OTLP.body([OTLP.event(one) for one in tools.exported(path)])
    return json.loads(body)


@pytest.fixture(scope="module")
def records(request_: dict[str, Any]) -> list[dict[str, Any]]:
    [resource] = request_["resourceLogs"]
    [scope] = resource["scopeLogs"]
    return scope["logRecords"]


def attributes(record: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in record["attributes"]}


def test_names_are_lower_camel_case(request_: dict[str, Any]) -> None:
    """`The keys of JSON objects are field names converted to lowerCamelCase`."""

    def check(value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                assert LOWER_CAMEL.fullmatch(name)
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(request_)


def test_numbers_of_64_bits_are_decimal_strings(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert record["timeUnixNano"].isdecimal()
        assert record["observedTimeUnixNano"] == str(index_tools.NOW * 1_000_000_000)
        assert attributes(record)["muniment.index"]["intValue"].isdecimal()


def test_enums_are_numbers(records: list[dict[str, Any]]) -> None:
    """`Values of enum fields MUST be encoded as integer values`."""
    for record in records:
        assert (record["severityNumber"], record["severityText"]) in ((9, "INFO"), (13, "WARN"))
    assert records[1]["severityNumber"] == 13


def test_ids_are_hexadecimal_digits(records: list[dict[str, Any]]) -> None:
    """And not base64, as protobuf's JSON has bytes."""
    assert records[0]["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert records[0]["spanId"] == "b7ad6b7169203331"
    assert records[0]["flags"] == 1
    assert not {"traceId", "spanId", "flags"} & records[1].keys()


def test_every_value_has_one_type(records: list[dict[str, Any]]) -> None:
    for record in records:
        names = [one["key"] for one in record["attributes"]]
        assert len({*names}) == len(names)  # "Attribute keys MUST be unique"
        for value in attributes(record).values():
            assert len(value) == 1


def test_the_body_is_the_leaf_and_the_uid_names_it(records: list[dict[str, Any]]) -> None:
    uids = set()
    for record in records:
        leaf = parse_record(record["body"]["stringValue"].encode())
        found = attributes(record)
        assert record["eventName"] == f"muniment.{type(leaf).__name__.lower()}"
        assert found["muniment.id"] == {"stringValue": leaf.id}
        uids.add(found["log.record.uid"]["stringValue"])
    assert len(uids) == len(records)


def test_a_decision_about_a_tool_can_be_joined_with_its_telemetry(
    records: list[dict[str, Any]],
) -> None:
    call, denied, artifact, *_ = map(attributes, records)
    assert {
        name: value for name, value in call.items() if name.startswith(("gen_ai.", "user."))
    } == {
        "gen_ai.operation.name": {"stringValue": "execute_tool"},
        "gen_ai.tool.name": {"stringValue": "tool-0"},
        "gen_ai.tool.call.id": {"stringValue": "c-1"},
        "gen_ai.conversation.id": {"stringValue": "s-1"},
        "user.id": {"stringValue": "ada"},
    }
    assert call["muniment.run"] == {"stringValue": "run-1"}
    assert call["muniment.decision.allowed"] == {"boolValue": True}
    assert call["muniment.erased"] == {
        "arrayValue": {"values": [{"stringValue": "/request/context/arguments"}]}
    }
    assert "muniment.withheld" not in call
    assert denied["gen_ai.agent.id"] == {"stringValue": "agent-1"}
    assert denied["muniment.decision.allowed"] == {"boolValue": False}
    assert denied["muniment.denial.codes"] == {
        "arrayValue": {
            "values": [{"stringValue": "denied_by_policy"}, {"stringValue": "policy_mismatch"}]
        }
    }
    assert artifact["muniment.policy.revision"] == {"stringValue": "7"}


@pytest.mark.parametrize(
    ("body", "rejected"),
    [
        (b"", Rejected()),
        (b"{}", Rejected()),
        (b'{"partialSuccess":{}}', Rejected()),
        (b'{"partialSuccess":null,"more":1}', Rejected()),
        (b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"no"}}', Rejected(3, "no")),
        (b'{"partialSuccess":{"rejectedLogRecords":3}}', Rejected(3)),
        (b'{"partialSuccess":{"errorMessage":"slow"}}', Rejected(0, "slow")),
    ],
)
def test_what_a_success_says(body: bytes, rejected: Rejected) -> None:
    assert OTLP.rejected is not None
    assert OTLP.rejected(body) == rejected


async def put(*answers: Answer, **more: Any) -> tuple[Stand, list[str]]:
    told: list[str] = []
    script = iter(answers)
    with Stand(lambda _: next(script)).serve() as stand:
        async with Endpoint(OTLP, stand.url(), headers={}, tell=told.append, **more) as endpoint:
            await endpoint.put(EVENTS)
    return stand, told


async def test_it_is_posted_to_the_path_of_logs() -> None:
    stand, _ = await put(Answer(body=b"{}"))
    [asked] = stand.asked
    assert asked.path == "/v1/logs"
    assert asked.headers["Content-Type"] == "application/json"
    records = json.loads(asked.body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert records == [{"n": number} for number in range(4)]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"partialSuccess":7}', b"\xff"])
async def test_a_success_that_is_none_acknowledges_nothing(body: bytes) -> None:
    with pytest.raises(BadAnswer, match="no ExportLogsServiceResponse"):
        await put(Answer(body=body))


PARTIAL = Answer(body=b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}')


async def test_a_partial_success_is_not_sent_again_and_ends_it() -> None:
    with pytest.raises(Refused, match="records 0 to 3: 1 of 4 rejected: too old"):
        await put(PARTIAL)


async def test_a_partial_success_is_set_aside(tmp_path: Path) -> None:
    refused = RefusedFile(tmp_path / "refused")
    stand, told = await put(PARTIAL, refused=refused)
    assert len(stand.asked) == 1
    assert refused.count == 4
    assert "1 of 4 rejected: too old" in (tmp_path / "refused").read_text()
    assert told


async def test_a_warning_is_told() -> None:
    _, told = await put(Answer(body=b'{"partialSuccess":{"errorMessage":"slow down"}}'))
    assert told
    assert told[0].endswith("says: slow down")


@pytest.mark.parametrize("status", [408, 500, 501, 505])
async def test_what_must_not_be_sent_again_is_not(status: int) -> None:
    """`All other 4xx or 5xx response status codes MUST NOT be retried`."""
    with pytest.raises(Refused):
        await put(Answer(status))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_be_sent_again_is(status: int) -> None:
    async def no_time(_seconds: float) -> None:
        return

    stand, _ = await put(Answer(status), Answer(body=b"{}"), sleep=no_time)
    assert len({asked.body for asked in stand.asked}) == 1
    assert len(stand.asked) == 2


def test_a_line_of_a_file_is_a_request(tmp_path: Path) -> None:
    """OTLP file exporter: JSON Lines, each line of one request."""
    replica, out = tmp_path / "replica.db", tmp_path / "out.jsonl"
    tools.follow(replica, index_tools.MemorySource(tools.telling_entries()))
    muniment(
        *("export", "--replica", str(replica), "--format", "otlp", "--batch", "100"),
        *("--to", str(out)),
    )
    lines = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]]
    assert len(lines) > 2
    assert all(line.keys() == {"resourceLogs"} for line in lines)
