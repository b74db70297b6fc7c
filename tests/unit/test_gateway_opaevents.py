"""OPA's uploads as records: those that a real OPA 1.22.4 has sent, and what none would send."""

import gzip
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decisions
from muniment.records.codec import RecordError, check_records, parse_record
from muniment.records.kinds import Decision
from muniment.records.preparation import Preparer
from muniment.tlog.contentcoding import decode_content
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import parse_any, read_any, recordable
from muniment_gateway.core.opaevents import (
    FILTER,
    MAX_INFLATED,
    TOLD,
    read_event,
    split_events,
    unreadable_upload,
)
from muniment_gateway.core.opaquick import compose_record, put_in_order
from muniment_gateway.core.opaupload import OpaUploadReader

NOW = 1_795_909_639_000
RULES = {"authz/allow": "", "authz/full": "/allow", "authz/decision": "/decision"}


def event(**more: Any) -> dict[str, Any]:
    return {
        "labels": {"id": "288eb15e-b291", "version": "1.22.4"},
        "decision_id": "7ea7768d-fd17",
        "bundles": {"pol": {"revision": "2026-11-28.1"}},
        "path": "authz/allow",
        "input": {"action": {"name": "read"}, "n": 1},
        "result": True,
        "requested_by": "127.0.0.1:36498",
        "timestamp": "2026-11-28T23:47:19.777539758Z",
        "metrics": {"timer_rego_query_eval_ns": 94267},
        "req_id": 2,
        **more,
    }


def recorded(value: object, client: str = "opa") -> tuple[Decision, bytes | None]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    made = read_event(data, client, RULES)
    preparer = Preparer("gw.example/x", now_ms=lambda: NOW, new_id=lambda: "x")
    [entry] = preparer.prepare([made.members])
    assert composed(data, client) in (None, entry)
    record = parse_record(entry)
    assert isinstance(record, Decision)
    assert record.response["context"]["muniment"]["after_the_fact"] is True
    return record, made.original


def composed(data: bytes, client: str = "opa") -> bytes | None:
    """The record that is made of an event without reading all of it, if that is one."""
    found = compose_record(data, "gw.example/x", client, RULES)
    if found is None:
        return None
    record = put_in_order(found[1])
    try:
        check_records([record], "gw.example/x", are_new=True)
    except RecordError:
        return None
    assert found[0] == read_event(data, client, RULES).name
    return record


def codes(record: Decision) -> tuple[str, ...]:
    return record.denial.codes if record.denial is not None else ()


def test_an_event_is_recorded_at_its_own_time() -> None:
    record, original = recorded(event())
    assert record.time == 1_795_909_639_777
    assert record.allowed
    assert original is None
    own = record.response["context"]["muniment"]
    assert own["event"]["bundles"] == {"pol": {"revision": "2026-11-28.1"}}
    assert (own["client"], own["source"]) == ("opa", "opa-decision-log")
    assert "requested_by" not in json.dumps(own)


def test_an_input_that_is_an_authzen_request_is_recorded_as_that() -> None:
    request = decisions.request("planner", "read", ("tool", "crm.search"))
    record, _ = recorded(event(input=request))
    assert record.request == request


@pytest.mark.parametrize(
    ("more", "decision", "code"),
    [
        ({}, True, None),
        ({"result": False}, False, "denied_by_policy"),
        ({"path": "/authz/allow"}, True, None),
        ({"result": "true"}, False, "could_not_evaluate"),
        ({"result": 1}, False, "could_not_evaluate"),
        ({"result": {"allow": True}}, False, "could_not_evaluate"),  # never guessed
        ({"result": {"allow": True}, "path": "authz/full"}, True, None),
        ({"result": {"allow": False}, "path": "authz/full"}, False, "denied_by_policy"),
        ({"result": {}, "path": "authz/full"}, False, "could_not_evaluate"),
        ({"path": "other/rule"}, False, "could_not_evaluate"),
        ({"path": None}, False, "could_not_evaluate"),
        ({"error": {"code": "eval"}, "result": True}, False, "could_not_evaluate"),
        ({"masked": ["/result"]}, False, "could_not_evaluate"),
        ({"erased": ["/result/x"]}, False, "could_not_evaluate"),
        ({"masked": ["/input/token"]}, True, None),
    ],
)
def test_only_a_configured_boolean_is_a_decision(
    more: dict[str, Any], *, decision: bool, code: str | None
) -> None:
    record, _ = recorded(event(**more))
    assert (record.allowed, codes(record)) == (decision, (code,) if code else ())


@pytest.mark.parametrize("client", ["", "opa"])
def test_a_usual_event_is_not_read_carefully(client: str) -> None:
    request = {"action": {"name": "read"}, "resource": {"id": "r", "type": "t"}}
    request["subject"] = {"id": "Zoë", "type": "user"}
    deny = event(result={"allow": False}, path="authz/full")
    masked = event(masked=["/input/token"], trace_id="1" * 32, span_id="2" * 16)
    undefined = event()
    del undefined["result"]
    for value in (event(input=request), event(path="other"), deny, masked, undefined, event()):
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        assert composed(text, client) is not None
        recorded(text, client)


def test_an_undefined_result_was_not_evaluated() -> None:
    value = event()
    del value["result"]
    record, _ = recorded(value)
    assert codes(record) == ("could_not_evaluate",)


@pytest.mark.parametrize("more", [{"result": {"query": "WHERE a"}}, {"result": {"query": ""}}, {}])
@pytest.mark.parametrize("decision_id", ["", "7ea7768d-fd17"])
def test_a_filter_is_no_decision(more: dict[str, Any], decision_id: str) -> None:
    """OPA 1.22.4 writes the empty id, and leaves the result of "no row" out."""
    value = event(decision_id=decision_id, custom={"type": FILTER, "unknowns": ["input.docs"]})
    del value["result"]
    record, _ = recorded(json.dumps(value | more, separators=(",", ":")).encode())
    assert codes(record) == ("could_not_evaluate",)
    told = record.response["context"]["muniment"]
    assert told["reason"] == "a filter was compiled, and nothing decided"


def test_filters_without_an_id_are_told_apart_by_their_bytes() -> None:
    filters = [json.dumps(event(decision_id="", req_id=number)).encode() for number in (2, 3, 3)]
    first, second, third = (read_event(data, "opa", RULES).name for data in filters)
    assert first != second == third


def test_what_was_erased_or_masked_is_kept_as_that() -> None:
    record, _ = recorded(event(erased=["/input/password"], masked=["/input/token"]))
    told = record.response["context"]["muniment"]["event"]
    assert (told["erased"], told["masked"]) == (["/input/password"], ["/input/token"])


@pytest.mark.parametrize(
    "more",
    [
        {"input": {"n": 2**53 + 1}},
        {"input": {"n": 12345678901234567890123}},
        {"input": json.loads("[" * 70 + "]" * 70)},
        {"input": {"doc": "lorem ipsum " * 6000}},
        {"result": {"allow": True, "at": 1795909660137383702}, "path": "authz/full"},
        {"nd_builtin_cache": {"time.now_ns": {"[]": 1795909660137383702}}},
    ],
)
def test_what_no_record_can_hold_has_its_digest_and_the_original_beside(
    more: dict[str, Any],
) -> None:
    data = json.dumps(event(**more)).encode()
    record, original = recorded(data)
    assert original == data
    assert "left_out" in json.dumps([record.request, record.response])
    assert record.allowed  # the result is a boolean all the same


def test_a_rule_that_is_too_strange_is_recorded_all_the_same() -> None:
    for data in (b"{}", b'{"decision_id":7}', b"7", b"{", b'{"a":1,"a":2}', b"\xff", b"[]"):
        record, _ = recorded(data)
        assert codes(record) == ("could_not_evaluate",)


def test_the_same_event_has_the_same_name_whoever_packs_it() -> None:
    one = read_event(json.dumps(event()).encode(), "opa", RULES)
    assert read_event(json.dumps(event(req_id=9)).encode(), "opa", RULES).name == one.name
    assert read_event(json.dumps(event()).encode(), "other", RULES).name != one.name
    assert read_event(json.dumps(event(decision_id="b")).encode(), "opa", RULES).name != one.name


def test_events_are_told_apart_by_brackets_when_one_is_too_deep() -> None:
    deep = b'{"decision_id":"deep","input":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    text = json.dumps(event(input={"quoted": '}],"[{'})).encode()
    parts = split_events(b" [" + text + b" ,\n" + deep + b"," + text + b"] ")
    assert parts == [text, deep, text]
    record, original = recorded(deep)
    assert codes(record) == ("could_not_evaluate",)
    assert original == deep


def test_an_upload_is_read_event_by_event() -> None:
    def prepare(members: Mapping[str, Any]) -> bytes:
        [entry] = Preparer("gw.example/x", now_ms=lambda: NOW, new_id=lambda: "x").prepare(
            [members]
        )
        return entry

    reader = OpaUploadReader("gw.example/x", RULES, prepare)
    events = [event(decision_id=f"d-{number}") for number in range(90)]
    events[7] = event(input={"n": 2**53 + 1})
    events[60]["input"] = {"z": 1, "a": 1.5, "b": "é"}
    texts = [json.dumps(one, separators=(",", ":")).encode() for one in events]
    texts[9] = b"7"
    expected = [read_event(text, "opa", RULES) for text in texts]
    for _ in range(2):  # the second time, the forms are known
        found = reader.read(b"[" + b",\n".join(texts) + b"]", "identity", "opa")
        assert [one.record for one in found] == [prepare(one.members) for one in expected]
        assert [one.name for one in found] == [one.name for one in expected]
        assert [one.original for one in found] == [one.original for one in expected]
    assert [one.original for one in reader.read(b"[{", "", "opa")] == [b"[{"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[{}", b"[{}] x", b"[{}] []", b"[,{}{"])
def test_what_is_no_array_is_one_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        split_events(data)


def test_inflation_is_bounded() -> None:
    assert decode_content(gzip.compress(b"[]"), "gzip", MAX_INFLATED) == b"[]"
    with pytest.raises(FormatError, match="more than"):
        decode_content(gzip.compress(bytes(MAX_INFLATED + 1)), "gzip", MAX_INFLATED)
    for body, coding in ((b"no gzip", "gzip"), (gzip.compress(b"[]")[:-4], "gzip"), (b"", "br")):
        with pytest.raises(FormatError):
            decode_content(body, coding, MAX_INFLATED)
    made = unreadable_upload(b"whatever", "opa", "no gzip")
    assert made.original == b"whatever"
    assert made.members["request"]["resource"]["type"] == "opa.upload"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_record(data: bytes) -> None:
    recorded(data)
    try:
        parts = split_events(data)
    except FormatError:
        return
    for part in parts:
        recorded(part)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(2**53 - 2, 2**53 + 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["1234567890123456", '":1.5', "a,12.5", "\x7f", "\\", "\ud800"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    members=st.dictionaries(st.sampled_from([*sorted(event()), *TOLD, "custom"]), JSON),
    compact=st.booleans(),
)
def test_an_event_whose_members_are_anything_has_a_record(
    members: dict[str, Any], *, compact: bool
) -> None:
    separators = (",", ":") if compact else None
    data = json.dumps({**event(), **members}, allow_nan=False, separators=separators).encode()
    try:
        recorded(data)
    except ValueError as error:
        pytest.fail(f"{data!r}: {error}")


UPLOADS = sorted((Path(__file__).parents[1] / "corpus" / "opa").glob("*.json.gz"))


@pytest.mark.parametrize("upload", UPLOADS, ids=lambda path: path.name)
def test_what_a_real_opa_has_uploaded_is_recorded(upload: Path) -> None:
    for text in split_events(decode_content(upload.read_bytes(), "gzip", MAX_INFLATED)):
        recorded(text)


@given(st.dictionaries(st.text(), JSON), st.booleans(), st.sampled_from([8, 64, 2048]))
def test_the_quick_reading_is_the_careful_one(
    event: dict[str, Any], compact: bool, most: int
) -> None:
    text = json.dumps(event, separators=(",", ":") if compact else None, ensure_ascii=compact)
    data = text.encode("utf-8", "surrogatepass")
    try:
        expected = parse_any(data, "it", deep=True)
    except FormatError:
        with pytest.raises(FormatError):
            read_any(data, "it")
        return
    value, kept = read_any(data, "it")
    assert json.dumps(value) == json.dumps(expected)  # 1 and 1.0 are two
    for one in (value, *value.values()):
        assert kept(one, most) == recordable(one, most)
    assert kept.is_cut == any(recordable(one, most) is not one for one in (value, *value.values()))


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"a":NaN}', '{"a":1e400}', '{"a":', '["\\ud800"', ""],
)
def test_what_is_no_json_is_none_for_both(text: str) -> None:
    for read in (read_any, partial(parse_any, deep=True)):
        with pytest.raises(FormatError):
            read(text.encode(), "it")


def test_what_is_too_deep_is_so_for_both() -> None:
    for levels in range(1, 70):
        data = b"[" * levels + b"]" * levels
        value, kept = read_any(data, "it")
        assert kept(value, 2048) == recordable(value, 2048)
