"""Calls that wait for a person: a gateway with Cedar's engine, a real log, and the commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import approving
import gateway_service
from approving import Person
from gateway_service import Service, evaluation
from log_deployment import Deployment, ask, deployed
from muniment.permit.permitfile import parse_permit
from muniment.records.api import Approval, parse_record

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

WRITES = ('actions = ["write"]',)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("log")) as made:
        yield made


@pytest.fixture(scope="module")
def carol(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return approving.person(tmp_path_factory.mktemp("people"), "carol")


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return approving.person(tmp_path_factory.mktemp("people"), "alice")


@pytest.fixture
def service(
    deployment: Deployment, tmp_path: Path, carol: Person, alice: Person
) -> Iterator[Service]:
    made = gateway_service.made(
        deployment, tmp_path / "gateway", name=f"gw.example/{tmp_path.name}"
    )
    approving.ask_people(made, [carol, alice], *WRITES)
    with made.running():
        yield made


def write(resource: str = "record-1", **context: Any) -> dict[str, Any]:
    return evaluation("alice", "write", resource, context={"arguments": {"text": "new"}, **context})


def submit(service: Service, denied: dict[str, Any], asked: dict[str, Any], **more: Any) -> Any:
    """Submits the access request of a denial; the answer."""
    context = denied["context"]
    denial = {
        "evaluation_id": context["evaluation_id"],
        "expires_at": context["access_request"]["expires_at"],
        "reason": context["reason"],
    }
    return service.post("/access/v1/requests", {**asked, "denial": denial, **more})


def requested(service: Service, asked: dict[str, Any]) -> str:
    """Has a call denied, and people asked about it; the id of its task."""
    answer = submit(service, service.evaluate(asked), asked)
    assert answer.status == 202, answer.body
    return str(answer.json["task"]["id"])


def published(service: Service, kind: type[Any]) -> list[Any]:
    """The records of a kind in the log."""
    size = int(ask(f"{service.deployment.url}/checkpoint").body.split(b"\n")[1])
    found = []
    for index in range(size):
        entry = service.entry(index)
        if entry.startswith(b"{") and isinstance(record := parse_record(entry), kind):
            found.append(record)
    return found


def test_a_call_waits_for_a_person_and_runs_once(service: Service, carol: Person) -> None:
    metadata = ask(f"{service.url}/.well-known/authzen-configuration").json
    assert metadata["access_request_endpoint"] == f"{service.url}/access/v1/requests"
    assert metadata["capabilities"] == ["urn:openid:authzen:capability:access-request"]

    denied = service.evaluate(write())
    assert denied["decision"] is False
    assert denied["context"]["reason"] == "approval_required"
    assert denied["context"]["muniment"]["codes"] == ["could_not_evaluate"]
    assert carol.approve(service, "list")["approvals"] == []

    answer = submit(service, denied, write(ticket="T-17"), requested_access={"emergency": True})
    task = answer.json["task"]
    assert (answer.status, task["status"]) == (202, "pending")
    assert service.evaluate(write())["decision"] is False

    [waiting] = carol.approve(service, "list")["approvals"]
    assert (waiting["request"], waiting["subject"]["id"]) == (task["id"], "alice")
    shown = carol.approve(service, "show", task["id"])
    assert shown["context"]["arguments"] == {"text": "new"}
    assert shown["asked"]["context"] == {"ticket": "T-17"}
    assert shown["asked"]["requested_access"] == {"emergency": True}

    done = carol.approve(
        service, "allow", task["id"], "--reason", "T-17 says so", "--call", shown["call"]
    )
    assert done["status"] == "approved"
    record = parse_record(service.entry(done["leaf"]))
    assert isinstance(record, Approval)
    assert (record.approval.approver, record.approval.reason) == ("carol", "T-17 says so")

    finished = ask(task["status_endpoint"]).json
    assert finished["task"]["status"] == "approved"
    assert finished["result"]["mode"] == "reevaluate"
    approval = finished["result"]["approval"]
    allowed = service.evaluate(write(approval=approval))
    own = allowed["context"]["muniment"]
    assert allowed["decision"] is True, allowed
    assert allowed["context"]["approval"]["id"] == approval["id"] == record.id
    decision = parse_permit(own["permit"].encode()).decision
    assert decision is not None
    assert decision.artifact is not None
    assert decision.artifact.approval == record.approval
    assert decision.artifact.policy.id == "cedar"

    again = service.evaluate(write(approval=approval))
    assert again["decision"] is False
    assert (again["context"]["reason"], again["context"]["next_action"]) == (
        "approval_expired", "request",
    )  # fmt: skip
    assert [one.id for one in published(service, Approval)].count(record.id) == 1
