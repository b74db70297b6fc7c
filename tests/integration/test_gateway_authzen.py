"""Every MUST of AuthZEN 1.0 that binds a PDP, and its certification scenario, at the real gateway.

Sections are those of openid/authzen, api/authorization-api-1_0.md and
certification/authorization-api-1_0-scenario.md (``c-…``). Behind it decides Cedar's own engine.
"""

import json
from typing import Any

import pytest

from gateway_service import Service, evaluation
from log_deployment import ask
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

SINGLE = "/access/v1/evaluation"
BATCH = "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"


def entity(kind: str, id_: str, **properties: Any) -> dict[str, Any]:
    return {"type": kind, "id": id_, **({"properties": properties} if properties else {})}


RULES = [
    (evaluation(), True),
    (evaluation("alice", "write"), True),
    (evaluation("bob"), True),
    (evaluation("bob", "write"), False),
    (
        {
            **evaluation("alice", "write"),
            "resource": entity("record", "record-2", status="archived"),
        },
        False,
    ),
    (
        {
            "subject": entity("user", "bob", role="admin"),
            "action": {"name": "write"},
            "resource": entity("record", "record-2", status="archived"),
        },
        True,
    ),
    (evaluation("alice", "delete", context={"soft": True}), True),
    (evaluation("alice", "delete", context={"soft": False}), False),
]


@pytest.mark.parametrize(("request_", "decision"), RULES)
def test_the_fixture_decides_as_the_scenario_wants(
    service: Service, request_: dict[str, Any], *, decision: bool
) -> None:
    """c-1-4."""
    assert service.evaluate(request_)["decision"] is decision


def test_context_and_unknown_members_change_nothing(service: Service) -> None:
    """c-2-2-3, c-2-2-9, and section "JSON Serialization": unknown fields MUST be ignored."""
    more = {"context": {"time": "2025-06-27T18:03-07:00"}, "foo": "bar", "future": {"nested": True}}
    answer = service.evaluate(evaluation(**more))
    assert answer["decision"] is True
    record = service.record(answer["context"]["muniment"]["index"])
    assert record.request == evaluation(**more)


def test_additional_properties_are_accepted(service: Service) -> None:
    """c-2-2-8."""
    request = {
        "subject": entity("user", "alice", department="Sales", role="manager"),
        "action": {"name": "read", "properties": {"method": "GET"}},
        "resource": entity("record", "record-1", status="active", owner="bob"),
    }
    assert service.evaluate(request)["decision"] is True


def without(*path: str) -> dict[str, Any]:
    request = evaluation()
    holder: Any = request
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    return request


MALFORMED: list[object] = [
    without("subject"),
    without("action"),
    without("resource"),
    without("subject", "type"),
    without("subject", "id"),
    without("action", "name"),
    without("resource", "type"),
    without("resource", "id"),
    {**evaluation(), "subject": "alice"},
    {**evaluation(), "action": {"name": 123}},
    {**evaluation(), "resource": None},
    {**evaluation(), "subject": {"type": "user", "id": "alice", "properties": []}},
    {**evaluation(), "context": "none"},
    [],
    "text",
    b"",
    b"{",
    b'{"subject":',
    b"\xff\xfe",
    b'{"subject":{"type":"a","id":"b"},"subject":{"type":"a","id":"c"}}',
    b"[" * 100_000,
    b'{"n":1e999}',
    b'{"n":NaN}',
]


@pytest.mark.parametrize("path", [SINGLE, BATCH])
@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_what_is_no_request_is_a_bad_one_with_a_message(
    service: Service, path: str, number: int
) -> None:
    """c-2-4, section "Error Responses": 400 with an error message string."""
    answer = service.post(path, MALFORMED[number], {"X-Request-ID": "of a bad one"})
    assert answer.status == 400, answer.body
    assert isinstance(json.loads(answer.body), str)
    assert answer.headers["X-Request-ID"] == "of a bad one"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_a_bad_request(service: Service, media_type: str) -> None:
    """c-2-4-3."""
    answer = service.post(SINGLE, evaluation(), {"Content-Type": media_type})
    assert answer.status == 400
    charset = {"Content-Type": "application/json; charset=utf-8"}
    assert service.post(SINGLE, evaluation(), charset).status == 200


def test_a_malformed_request_is_a_denial_on_record(service: Service) -> None:
    request = {**without("subject"), "resource": entity("record", "of the malformed one")}
    assert service.post(SINGLE, request).status == 400

    def is_recorded() -> bool:
        found = [one for one in service.logged() if one.resource.id == "of the malformed one"]
        return [one.denial and one.denial.codes for one in found] == [("could_not_evaluate",)]

    eventually(is_recorded)


@pytest.mark.parametrize("given", ["bfe9eb29-ab87-4ca3", "with spaces", "a,b", "ü"])
def test_the_id_of_a_request_comes_back(service: Service, given: str) -> None:
    """Section "Request Identification"."""
    for path in (SINGLE, BATCH):
        answer = service.post(
            path, evaluation(), {"X-Request-ID": given.encode().decode("latin-1")}
        )
        assert answer.status == 200
        assert answer.headers["X-Request-ID"].encode("latin-1").decode() == given
    assert "X-Request-ID" not in service.post(SINGLE, evaluation()).headers


def test_the_same_question_has_the_same_answer(service: Service) -> None:
    """c-2-6."""
    assert {service.evaluate(evaluation())["decision"] for _ in range(5)} == {True}


def batch(service: Service, request: dict[str, Any]) -> list[bool]:
    answer = service.post(BATCH, request)
    assert answer.status == 200, answer.body
    found = answer.json["evaluations"]
    assert all(isinstance(one["context"]["muniment"]["evaluation_id"], str) for one in found)
    return [one["decision"] for one in found]


def test_a_batch_keeps_count_and_order(service: Service) -> None:
    """c-3-2-1, c-3-2-2."""
    bob = {"subject": entity("user", "bob"), "resource": entity("record", "record-1")}
    actions = [{"action": {"name": name}} for name in ("read", "write")]
    assert batch(service, {**bob, "evaluations": actions}) == [True, False]
    assert batch(service, {**bob, "evaluations": actions * 40}) == [True, False] * 40


def test_an_entity_of_an_item_replaces_the_default_whole(service: Service) -> None:
    """c-3-2-7: no deep merge, so the default's role is gone."""
    request = {
        "subject": entity("user", "bob", role="admin"),
        "action": {"name": "write"},
        "resource": entity("record", "record-2", status="archived"),
        "evaluations": [{}, {"subject": entity("user", "bob")}],
    }
    assert batch(service, request) == [True, False]


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
        (None, [True, False, True]),
    ],
)
def test_the_semantics_of_a_batch(
    service: Service, semantic: str | None, decisions: list[bool]
) -> None:
    """Section "Evaluations semantics"; what is not answered is not logged."""
    request = {
        "subject": entity("user", "bob"),
        "resource": entity("record", "record-1"),
        "evaluations": [{"action": {"name": name}} for name in ("read", "write", "read")],
    }
    if semantic is not None:
        request["options"] = {"evaluations_semantic": semantic, "another_option": "value"}
    before = service.counted()
    assert batch(service, request) == decisions
    assert service.counted() - before == len(decisions)


@pytest.mark.parametrize("options", [{"evaluations_semantic": "any"}, "execute_all", []])
def test_an_unknown_semantic_is_a_bad_request(service: Service, options: object) -> None:
    request = {**evaluation(), "evaluations": [{}], "options": options}
    assert service.post(BATCH, request).status == 400


@pytest.mark.parametrize("more", [{}, {"evaluations": []}])
def test_without_evaluations_it_is_a_single_one(service: Service, more: dict[str, Any]) -> None:
    """c-3-4-3: absent or empty, the response is that of a single evaluation."""
    answer = service.post(BATCH, {**evaluation(), **more})
    assert answer.status == 200
    assert answer.json["decision"] is True
    assert "evaluations" not in answer.json


def test_what_is_wrong_with_an_item_is_its_own_answer(service: Service) -> None:
    """c-3-4-1: decision false with a context, in a 200."""
    request = {
        "subject": entity("user", "alice"),
        "action": {"name": "read"},
        "evaluations": [{"resource": entity("record", "record-1")}, {}, "no object"],
    }
    answer = service.post(BATCH, request).json["evaluations"]
    assert [one["decision"] for one in answer] == [True, False, False]
    assert answer[1]["context"]["muniment"]["codes"] == ["could_not_evaluate"]
    assert "resource: missing" in answer[1]["context"]["muniment"]["reasons"]


def test_the_metadata_name_the_gateway_and_what_it_serves(service: Service) -> None:
    """Section "Policy Decision Point Metadata": the identifier is the URL that was asked."""
    answer = ask(service.url + METADATA)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == {
        "policy_decision_point": service.url,
        "access_evaluation_endpoint": service.url + SINGLE,
        "access_evaluations_endpoint": service.url + BATCH,
    }


def test_a_number_that_no_record_can_hold_is_denied_before_an_engine_rounds_it(
    service: Service,
) -> None:
    request = evaluation()
    request["subject"]["properties"] = {"n": 2**53 + 1}
    own = service.evaluate(request)["context"]["muniment"]
    assert own["codes"] == ["authorization_discontinuity"]


def test_what_cedar_cannot_read_was_not_evaluated(service: Service) -> None:
    """cedarpy's third decision is no denial by policy."""
    for context in ({"n": 1.5}, {"n": None}, {"e": {"__entity": {"type": "user", "id": "bob"}}}):
        own = service.evaluate(evaluation(context=context))["context"]["muniment"]
        assert own["codes"] == ["could_not_evaluate"]
        record = service.record(own["index"])
        assert record.denial.codes == ("could_not_evaluate",)


def test_other_methods_and_paths_have_their_codes(service: Service) -> None:
    assert ask(service.url + SINGLE).status == 405
    assert ask(service.url + "/access/v1/search/tenant", b"{}").status == 404


def test_a_strange_request_does_not_make_the_gateway_unready(service: Service) -> None:
    strange = {**evaluation(), "subject": {"type": "", "id": ""}}
    assert service.evaluate(strange)["context"]["muniment"]["codes"] == ["could_not_evaluate"]
    assert service.is_ready()
