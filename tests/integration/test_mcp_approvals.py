"""Calls of MCP that wait for a person: the SDK's own clients and servers, a gate, the commands."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import approving
import mcp_tools
from approving import Person
from log_deployment import Deployment, ask
from mcp_tools import Side
from muniment.permit.meta import META_KEY
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision
from waiting import eventually

pytestmark = pytest.mark.usefixtures("mcp_sdk")
pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

SEND = ["call", "send", {"to": "ada"}]
ASKED_ABOUT = '[{type = "tool", id = "send"}, {type = "tool", id = "greet"}]'
SENDS = ('actions = ["tools/call"]', f"resources = {ASKED_ABOUT}")


def side_of(deployment: Deployment, folder: Path, carol: Person, hold: float) -> Side:
    service = mcp_tools.made(deployment, folder / "gateway")
    approving.ask_people(service, [carol], *SENDS, f"hold_seconds = {hold}")
    return Side(service, folder, environment={"APPROVERS": carol.vkey})


def denials(deployment: Deployment) -> list[Decision]:
    """The decisions in the log that deny the call, for want of an approval."""
    found = []
    index = 0
    while (answer := ask(f"{deployment.url}/v1/entries/{index}")).status == 200:
        index += 1
        if answer.body.startswith(b"{"):
            record = parse_record(answer.body)
            if isinstance(record, Decision) and record.denial is not None:
                found.append(record)
    return [one for one in found if one.resource.id in ("send", "greet")]


@contextmanager
def approving_once(side: Side, carol: Person, after: int) -> Iterator[None]:
    """Approves the one call that waits, once it was denied so often: its client repeats it."""
    before = len(denials(side.service.deployment))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            eventually(lambda: len(denials(side.service.deployment)) >= before + after)
            carol.approve(side.service, "allow", carol.only(side.service))
        except BaseException as error:  # noqa: BLE001 - the test that waits tells of it
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert failed == []


def test_a_client_of_today_repeats_its_call_until_a_person_has_decided(
    deployment: Deployment, tmp_path: Path, carol: Person
) -> None:
    side = side_of(deployment, tmp_path, carol, 2.0)
    with side.service.running(), approving_once(side, carol, after=1):
        add, sent = side.ask(["call", "add", {"a": 2, "b": 3}], SEND)
        assert add["text"] == "5"
        assert (sent["text"], sent["isError"]) == ("sent to ada", False), sent
    assert side.ran == ["add 2 3", "send ada"]
    repeated = denials(deployment)[-1]
    assert repeated.denial.codes == ("could_not_evaluate",)
    assert [*(repeated.addenda or {})] == ["/request/context/arguments"]


def test_an_earlier_client_is_told_how_to_ask_again_and_each_approval_is_good_for_one_call(
    deployment: Deployment, tmp_path: Path, carol: Person
) -> None:
    side = side_of(deployment, tmp_path, carol, 0.2)
    with side.service.running():
        [first] = side.ask(SEND, mode="legacy")
        assert first["isError"] is True
        assert "a person has to approve this first" in first["text"]
        assert "exactly the same arguments" in first["text"]
        told = first["meta"][META_KEY]["approval"]
        assert (told["status"], told["request"]) == ("pending", carol.only(side.service))
        shown = carol.approve(side.service, "show", told["request"])
        assert shown["context"]["arguments"] == {"to": "ada"}
        carol.approve(side.service, "allow", told["request"])
        other, sent, again = side.ask(["call", "send", {"to": "bob"}], SEND, SEND, mode="legacy")
        assert (other["isError"], sent["text"], again["isError"]) == (True, "sent to ada", True)
    assert side.ran == ["send ada"]


def test_a_no_is_told_to_the_model(deployment: Deployment, tmp_path: Path, carol: Person) -> None:
    side = side_of(deployment, tmp_path, carol, 0.2)
    with side.service.running():
        side.ask(SEND, mode="legacy")
        request = carol.only(side.service)
        carol.approve(side.service, "deny", request, "--reason", "write to eve instead")
        [denied] = side.ask(SEND)
    assert denied["text"].startswith("Denied (denied_by_policy): carol has denied it: write to eve")
    assert side.ran == []


def test_the_proxy_holds_calls_as_well_and_one_approval_is_enough_for_a_tool_that_asks(
    deployment: Deployment, tmp_path: Path, carol: Person
) -> None:
    side = side_of(deployment, tmp_path, carol, 2.0)
    with side.service.running(), side.proxied() as url, approving_once(side, carol, after=1):
        [greeted] = side.ask(["call", "greet", {}], url=url)
        assert greeted["text"] == "hello Ada", greeted
    assert side.ran == ["greet asks", "greet"]
