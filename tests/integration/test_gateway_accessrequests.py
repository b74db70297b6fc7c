"""Access requests to a gateway as clients make them: one or several, called back, and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import approving
import gateway_service
import processes
from approving import WRITES, Person, requested, submit, write
from gateway_service import Service
from log_deployment import Deployment, ask, run
from stand import Answer as Heard
from stand import Stand
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")


def test_a_client_is_called_back_when_its_task_is_over(asking: Service, carol: Person) -> None:
    with Stand(lambda _: Heard(204)).serve() as hook:
        token, shown = asking.folder / "shop.token", asking.folder / "shown.token"
        for file in (token, shown):
            file.write_text(f"{file.stem}-0123456789abcdef0123456789")
            file.chmod(0o600)
        with asking.config.open("a") as config:
            config.write(
                '\n[[client]]\nname = "shop"\ntoken_file = "shop.token"\n'
                f'callbacks = ["{hook.url(path="/cb")}"]\ncallback_token_file = "shown.token"\n'
            )
        run(processes.muniment_gateway("reload", "--config", asking.config))
        headers = {"Authorization": f"Bearer {token.read_text()}"}
        denied = asking.evaluate(write(), **headers)
        asked: dict[str, Any] = {**write(), "denial": approving.denial_of(denied)}
        other = {**asked, "callback": {"endpoint": hook.url(path="/other")}}
        refused = asking.post("/access/v1/requests", other, headers)
        assert (refused.status, "registered" in refused.json["detail"]) == (400, True)
        asked["callback"] = {"endpoint": hook.url(path="/cb"), "state": "s-1"}
        answer = asking.post("/access/v1/requests", asked, headers)
        assert answer.status == 202, answer.body
        carol.approve(asking, "allow", answer.json["task"]["id"])
        eventually(lambda: bool(hook.asked))
        [told] = hook.asked
    said = json.loads(told.body)
    task = {"id": answer.json["task"]["id"], "status": "approved"}
    assert said == {
        "state": "s-1",
        "task": {**task, "status_endpoint": answer.json["task"]["status_endpoint"]},
    }
    assert told.headers["Authorization"] == f"Bearer {shown.read_text()}"
    again = ask(said["task"]["status_endpoint"], headers=headers).json
    assert again["result"]["mode"] == "reevaluate"


def test_what_was_approved_is_this_call_by_this_client(asking: Service, carol: Person) -> None:
    task = requested(asking, write("record-4"))
    carol.approve(asking, "allow", task)
    approval = ask(f"{asking.url}/access/v1/requests/{task}").json["result"]["approval"]
    other = write("record-4", approval=approval)
    other["context"]["arguments"] = {"text": "something else"}
    denied = asking.evaluate(other)
    assert denied["decision"] is False
    swapped = asking.evaluate(write("record-4", approval={"id": "apr-" + "0" * 32}))
    assert (swapped["decision"], swapped["context"]["reason"]) == (False, "approval_unverifiable")
    assert asking.evaluate(write("record-4", approval=approval))["decision"] is True


def test_people_are_shown_the_numbers_that_are_recorded(asking: Service, carol: Person) -> None:
    task = requested(asking, write("record-6", amount=10.0, parts=[-0.0, 2.0]))
    shown = carol.approve(asking, "show", task)
    assert repr(shown["context"]["amount"]) == "10"
    assert repr(shown["context"]["parts"]) == "[0, 2]"
    carol.approve(asking, "allow", task, "--call", shown["call"])
    approval = ask(f"{asking.url}/access/v1/requests/{task}").json["result"]["approval"]
    # Cedar is asked again, about another spelling of the same call.
    again = write("record-6", amount=10, parts=[0.0, 2], approval=approval)
    assert asking.evaluate(again)["decision"] is True


def test_what_the_profile_refuses(asking: Service) -> None:
    asked = write("record-5")
    denial = approving.denial_of(asking.evaluate(asked))

    def refused(value: dict[str, Any], **headers: str) -> tuple[int, str]:
        answer = asking.post("/access/v1/requests", value, headers)
        assert answer.headers["Content-Type"] == "application/problem+json", answer.body
        return answer.status, answer.json["type"].rpartition(":")[2]

    binding = (400, "invalid_denial_binding")
    assert refused({**asked, "denial": {**denial, "evaluation_id": "e-1"}}) == binding
    assert refused({**asked, "denial": {"evaluation_id": denial["evaluation_id"]}}) == binding
    assert refused({**write("record-6"), "denial": denial}) == binding
    assert refused({**asked, "context": {"arguments": {"text": "x"}}, "denial": denial}) == binding
    assert refused({**asked, "context": {}, "denial": denial}) == binding
    assert refused({"subject": asked["subject"], "items": [], "denial": denial}) == binding
    long = {**asked["context"], "why": "x" * 20_000}
    assert refused({**asked, "context": long, "denial": denial}) == binding
    headers = {"Idempotency-Key": "k-1"}
    first = asking.post("/access/v1/requests", {**asked, "denial": denial}, headers)
    again = asking.post("/access/v1/requests", {**asked, "denial": denial}, headers)
    assert first.json == again.json
    assert first.headers["Location"] == first.json["task"]["status_endpoint"]
    more = {**asked, "denial": denial, "requested_access": {}}
    assert refused(more, **headers) == (409, "duplicate_request")
    unknown = ask(f"{asking.url}/access/v1/requests/arq-0")
    assert (unknown.status, unknown.json["type"].rpartition(":")[2]) == (404, "unknown_task")


def test_a_flood_is_bounded_and_told(deployment: Deployment, tmp_path: Path, carol: Person) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/flooded")
    approving.ask_people(service, [carol], *WRITES, "most_waiting = 2")
    with service.running():
        for n in range(2):
            requested(service, write(f"many-{n}"))
        asked = write("many-2")
        answer = submit(service, service.evaluate(asked), asked)
        assert answer.status == 429
        assert "2 calls of this client wait for people already" in answer.json["detail"]
        assert len(carol.approve(service, "list")["approvals"]) == 2


def test_several_denials_are_submitted_at_once_and_decided_on_one_by_one(
    asking: Service, carol: Person
) -> None:
    wanted = [write(f"record-{number}") for number in (11, 12, 13)]

    def item(asked: dict[str, Any]) -> dict[str, Any]:
        context = asking.evaluate(asked)["context"]
        expires = context["access_request"]["expires_at"]
        denial = {"evaluation_id": context["evaluation_id"], "expires_at": expires}
        return {"resource": asked["resource"], "action": asked["action"], "denial": denial}

    items = [item(asked) for asked in wanted]
    whole = {"subject": wanted[0]["subject"], "context": wanted[0]["context"], "items": items}
    answer = asking.post("/access/v1/requests", whole)
    assert answer.status == 202, answer.body
    task = answer.json["task"]
    assert [one["status"] for one in task["items"]] == ["pending"] * 3
    assert answer.headers["Location"] == task["status_endpoint"]
    first, second, _ = (one["request"] for one in carol.approve(asking, "list")["approvals"])
    carol.approve(asking, "allow", first)
    carol.approve(asking, "deny", second)
    now = ask(task["status_endpoint"]).json
    assert now["task"]["status"] == "pending"
    assert [one["status"] for one in now["task"]["items"]] == ["approved", "denied", "pending"]
    assert "result" not in now
    over = ask(task["links"]["cancel"], b"")
    assert (over.status, over.json["task"]["status"]) == (200, "partial")
    assert ask(task["links"]["cancel"], b"").status == 409
    approval = now["task"]["items"][0]["result"]["approval"]
    again = {**wanted[0], "context": {**wanted[0]["context"], "approval": {"id": approval["id"]}}}
    assert asking.evaluate(again)["decision"] is True
    assert asking.evaluate(wanted[1])["decision"] is False
    for bad in (
        {**whole, "resource": items[0]["resource"]},
        {**whole, "items": []},
        {**whole, "items": [items[0], items[0]]},
        {**whole, "items": items * 9},
        {**whole, "items": [{**items[0], "resource": items[1]["resource"]}]},
        {**whole, "items": [{**items[0], "denial": {}}]},
        {**whole, "items": [7]},
        {**whole, "context": {}},
    ):
        refused = asking.post("/access/v1/requests", bad)
        assert refused.status == 400, refused.body
        assert refused.json["type"].endswith(":invalid_denial_binding")
    # Whoever has a part of a task's name has no task.
    assert ask(task["status_endpoint"] + ".arq-0").status == 404
    single = asking.post("/access/v1/requests", {**whole, "items": [item(write("record-14"))]})
    [alone] = ask(single.json["task"]["status_endpoint"]).json["task"]["items"]
    assert alone["resource"]["id"] == "record-14"
