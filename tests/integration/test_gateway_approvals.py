"""Calls that wait for a person: a gateway with Cedar's engine, a real log, and the commands."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import approving
import gateway_service
import processes
from approving import WRITES, Person, requested, submit, write
from gateway_service import Service
from log_deployment import Deployment, ask
from muniment.permit import Context, Trust, verify_permit
from muniment.permit.permitfile import parse_permit
from muniment.records.api import Approval, parse_record
from muniment.records.kinds import Entity
from muniment.tlog.note import parse_vkey
from stand import Answer as Heard
from stand import Stand
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")


def published(service: Service, kind: type[Any]) -> list[Any]:
    """The records of a kind in the log."""
    size = int(ask(f"{service.deployment.url}/checkpoint").body.split(b"\n")[1])
    found = []
    for index in range(size):
        entry = service.entry(index)
        if entry.startswith(b"{") and isinstance(record := parse_record(entry), kind):
            found.append(record)
    return found


def test_a_call_waits_for_a_person_and_runs_once(asking: Service, carol: Person) -> None:
    metadata = ask(f"{asking.url}/.well-known/authzen-configuration").json
    assert metadata["access_request_endpoint"] == f"{asking.url}/access/v1/requests"
    assert metadata["capabilities"] == ["urn:openid:authzen:capability:access-request"]

    denied = asking.evaluate(write())
    assert denied["decision"] is False
    assert denied["context"]["reason"] == "approval_required"
    assert denied["context"]["muniment"]["codes"] == ["could_not_evaluate"]
    # Nobody is asked before that is asked for, and the reason does not say so either.
    assert "it waits until an access request" in denied["context"]["muniment"]["reasons"][0]
    assert carol.approve(asking, "list")["approvals"] == []

    answer = submit(asking, denied, write(ticket="T-17"), requested_access={"emergency": True})
    task = answer.json["task"]
    assert (answer.status, task["status"]) == (202, "pending")
    again = asking.evaluate(write())
    assert again["decision"] is False
    assert "it waits for a person: " in again["context"]["muniment"]["reasons"][0]

    [waiting] = carol.approve(asking, "list")["approvals"]
    assert (waiting["request"], waiting["subject"]["id"]) == (task["id"], "alice")
    shown = carol.approve(asking, "show", task["id"])
    assert shown["context"]["arguments"] == {"text": "new"}
    assert shown["asked"]["context"] == {"ticket": "T-17"}
    assert shown["asked"]["requested_access"] == {"emergency": True}

    done = carol.approve(
        asking, "allow", task["id"], "--reason", "T-17 says so", "--call", shown["call"]
    )
    assert done["status"] == "approved"
    record = parse_record(asking.entry(done["leaf"]))
    assert isinstance(record, Approval)
    assert (record.approval.approver, record.approval.reason) == ("carol", "T-17 says so")

    finished = ask(task["status_endpoint"]).json
    assert finished["task"]["status"] == "approved"
    assert finished["result"]["mode"] == "reevaluate"
    approval = finished["result"]["approval"]
    allowed = asking.evaluate(write(approval=approval))
    own = allowed["context"]["muniment"]
    assert allowed["decision"] is True, allowed
    assert allowed["context"]["approval"]["id"] == approval["id"] == record.id
    decision = parse_permit(own["permit"].encode()).decision
    assert decision.artifact.approval == record.approval
    assert decision.artifact.policy.id == "cedar"

    again = asking.evaluate(write(approval=approval))
    assert again["decision"] is False
    assert (again["context"]["reason"], again["context"]["next_action"]) == (
        "approval_expired", "request",
    )  # fmt: skip
    assert [one.id for one in published(asking, Approval)].count(record.id) == 1


def test_a_no_is_on_record_and_is_not_asked_about_again(asking: Service, carol: Person) -> None:
    task = requested(asking, write("record-2"))
    done = carol.approve(asking, "deny", task, "--reason", "not this one")
    assert done["status"] == "denied"
    denied = asking.evaluate(write("record-2"))
    own = denied["context"]["muniment"]
    assert own["codes"] == ["denied_by_policy"]
    assert "carol has denied it: not this one" in own["reasons"][0]
    assert denied["context"]["next_action"] == "none"
    assert "access_request" not in denied["context"]
    record = asking.record(own["index"])
    assert record.response["context"]["muniment"]["approval"]["request"] == task


def test_nobody_approves_their_own_call_nor_by_another_url(asking: Service, alice: Person) -> None:
    task = requested(asking, write("record-3"))
    own = alice.command(asking.url, "allow", task)
    assert (own.returncode, "cannot approve their own call" in own.stderr) == (6, True)
    assert alice.approve(asking, "show", task)["status"] == "pending"
    other = alice.command(asking.url.replace("127.0.0.1", "localhost"), "list")
    assert (other.returncode, "is that its URL?" in other.stderr) == (6, True)


def test_a_lost_log_denies_and_what_waits_survives_kill_9(
    deployment: Deployment, tmp_path: Path, carol: Person
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/killed")
    approving.ask_people(service, [carol], *WRITES)
    service.start()
    eventually(service.is_ready)
    first, second = (requested(service, write(f"kept-{n}")) for n in range(2))
    carol.approve(service, "allow", first)
    service.process.kill()
    with service.running():
        assert carol.only(service) == second
        deployment.log.pause()
        try:
            away = carol.command(service.url, "allow", second)
            assert away.returncode == 3, away.stdout + away.stderr
            assert "not logged, and so not taken" in away.stderr
            eventually(lambda: not service.is_ready())
            denied = service.evaluate(write("kept-0"))
            assert denied["decision"] is False
        finally:
            deployment.log.resume()
        eventually(service.is_ready)
        assert carol.approve(service, "show", second)["status"] == "pending"
        assert service.evaluate(write("kept-0"))["decision"] is True
        assert service.evaluate(write("kept-0"))["decision"] is False
        assert carol.approve(service, "allow", second)["status"] == "approved"
        assert service.evaluate(write("kept-1"))["decision"] is True


def test_two_people_have_to_approve_and_a_runtime_demands_both(
    deployment: Deployment, tmp_path: Path, carol: Person, alice: Person
) -> None:
    dave = approving.person(tmp_path, "dave")
    made = gateway_service.made(
        deployment, tmp_path / "gateway", name=f"gw.example/{tmp_path.name}"
    )
    approving.ask_people(made, [carol, alice, dave], *WRITES, "required = 2")
    with made.running() as service:
        asked = write("record-2")
        task = requested(service, asked)
        assert carol.approve(service, "allow", task)["status"] == "pending"
        # She is one person, however often she says so; who asks is none of them.
        assert carol.command(service.url, "allow", task).returncode == 6
        assert alice.command(service.url, "allow", task).returncode == 6
        waits = service.evaluate(asked)["context"]["muniment"]
        assert "1 of 2 have approved" in waits["reasons"][0]
        service.stop()  # what one has said survives
        service.start()
        eventually(service.is_ready)
        [listed] = dave.approve(service, "list")["approvals"]
        assert (listed["approved"], listed["required"]) == (1, 2)
        assert listed["earlier"][0]["approver"] == "carol"
        assert dave.approve(service, "allow", task)["status"] == "approved"
        answer = service.evaluate(asked)
        assert answer["decision"] is True
        permit = parse_permit(answer["context"]["muniment"]["permit"].encode())
        assert [one.approver for one in permit.decision.artifact.approvals] == ["carol", "dave"]
        keys = tuple(parse_vkey(one.vkey) for one in (carol, alice, dave))
        for count, codes in ((2, []), (3, ["authorization_discontinuity"])):
            trust = Trust(
                policy=deployment.policy, approvers=keys, approvals=count, require_approval=True,
                require_binding=False, require_facts=False, require_policy=False,
            )  # fmt: skip
            context = Context(
                now=int(time.time()), action="write", resource=Entity("record", "record-2"),
                execution=permit.decision.execution,
            )  # fmt: skip
            assert list(verify_permit(permit, context, trust).codes) == codes
        said = [one.approval for one in published(service, Approval)]
        assert sorted(one.approver for one in said if one.request == task) == ["carol", "dave"]
        # A single no is enough.
        other = requested(service, write("record-3"))
        assert carol.approve(service, "allow", other)["status"] == "pending"
        assert dave.approve(service, "deny", other)["status"] == "denied"
        assert service.evaluate(write("record-3"))["context"]["reason"] == "policy_denied"


def test_what_waits_is_told_of_and_may_be_taken_back(
    asking: Service, carol: Person, deployment: Deployment
) -> None:
    def seen(name: str) -> float:
        text = ask(f"{asking.url}/metrics").body.decode()
        found = re.search(rf"^muniment_gateway_{name} ([0-9.e+]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def status() -> dict[str, Any]:
        words = ("status", "--json", "--config", asking.config)
        done = processes.run(processes.muniment_gateway(*words))
        return json.loads(done.stdout)["approvals"]["people"]

    def doctor() -> str:
        done = processes.run(
            processes.muniment_gateway("doctor", "--config", asking.config), code=0
        )
        return next(one for one in done.stdout.splitlines() if "authority people" in one)

    assert status() == {"waiting": 0, "oldest_seconds": 0}
    assert doctor().endswith("1 of 2 people approve; nothing waits")
    asked = write("record-5")
    answer = submit(asking, asking.evaluate(asked), asked)
    cancel = answer.json["task"]["links"]["cancel"]
    assert status()["waiting"] == 1
    plain = processes.run(processes.muniment_gateway("status", "--config", asking.config))
    assert "people: 1 calls wait for them, the oldest for " in plain.stdout
    assert seen('approvals_waiting{authority="people"}') == 1
    assert "1 calls wait, the oldest for" in doctor()
    assert ask(f"{asking.url}/access/v1/requests/cancel/arq-0", b"").status == 404
    done = ask(cancel, b'{"reason":"no_longer_needed"}')
    assert (done.status, done.json["task"]["status"]) == (200, "cancelled")
    assert "links" not in done.json["task"]
    again = ask(cancel, b"")
    assert (again.status, again.json["type"].rpartition(":")[2]) == (409, "invalid_task_state")
    late = carol.command(asking.url, "allow", answer.json["task"]["id"])
    assert (late.returncode, "not wait for anybody: cancelled" in late.stderr) == (6, True)
    assert status()["waiting"] == 0
    assert seen('approvals_total{authority="people",status="cancelled"}') == 1
    # The same call may be asked about once more.
    assert requested(asking, asked) != answer.json["task"]["id"]


def test_of_two_people_at_once_one_decides_and_the_other_is_told(
    asking: Service, carol: Person, deployment: Deployment
) -> None:
    task = requested(asking, write("record-4"))
    commands = [
        lambda: carol.command(asking.url, "allow", task),
        lambda: carol.command(asking.url, "deny", task),
    ]
    with ThreadPoolExecutor(2) as pool:
        codes = sorted(one.returncode for one in pool.map(lambda run: run(), commands))
    assert codes == [0, 6]
    approvals = published(asking, Approval)
    assert len(approvals) == len({one.id for one in approvals})
    said = [one for one in approvals if one.approval.request == task]
    assert len(said) == 1  # who came second is not in the log


def test_an_approval_after_the_request_has_expired_is_refused(
    deployment: Deployment, tmp_path: Path, carol: Person
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/late")
    approving.ask_people(service, [carol], *WRITES, "request_seconds = 1")
    with service.running():
        # On a slow machine one is over before people can be asked about it.
        answers = (submit(service, service.evaluate(write()), write()) for _ in range(100))
        task = next(one for one in answers if one.status == 202).json["task"]["id"]
        eventually(lambda: carol.approve(service, "show", task)["status"] == "expired")
        late = carol.command(service.url, "allow", task)
        assert (late.returncode, "too late" in late.stderr) == (6, True)
        assert ask(f"{service.url}/access/v1/requests/{task}").json["task"]["status"] == "expired"


def test_people_are_told_by_a_webhook_and_never_the_arguments(
    deployment: Deployment, tmp_path: Path, carol: Person
) -> None:
    with Stand(lambda _: Heard(204)).serve() as hook:
        service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/hook")
        approving.ask_people(service, [carol], *WRITES, f'webhook = "{hook.url()}"')
        with service.running():
            task = requested(service, write("record-7"))
            eventually(lambda: len(hook.asked) == 1)
            carol.approve(service, "allow", task)
            eventually(lambda: len(hook.asked) == 2)
        heard = [asked.body for asked in hook.asked]
        waiting, approved = map(json.loads, heard)
        assert (waiting["status"], waiting["request"]) == ("waiting", task)
        assert waiting["resource"] == {"type": "record", "id": "record-7"}
        assert (approved["status"], approved["approver"]) == ("approved", "carol")
        assert b"new" not in b"".join(heard)
