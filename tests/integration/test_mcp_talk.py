"""What servers and clients of MCP have to say to each other besides calls, through the gate."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import mcp_tools
from gateway_service import Service
from log_deployment import ask, deployed
from mcp_tools import Side
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Outcome
from muniment.tlog.encoding import FormatError
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A gateway that allows everything."""
    mcp_tools.python()
    with deployed(tmp_path_factory.mktemp("log")) as deployment:
        made = mcp_tools.made(deployment, tmp_path_factory.mktemp("made") / "gateway")
        made.folder.joinpath("authz.cedar").write_text("permit(principal, action, resource);\n")
        yield made


@pytest.fixture
def side(service: Service, tmp_path: Path) -> Side:
    """A gate whose subject no other test has."""
    return Side(service, tmp_path, options=("--subject", tmp_path.name, "--server", "tests"))


def calls(side: Side) -> list[tuple[str, str | None]]:
    """The tools whose calls were decided, and how each run ended; None while it goes on."""
    found: list[Any] = []
    index = 0
    while (answer := ask(f"{side.service.deployment.url}/v1/entries/{index}")).status == 200:
        index += 1
        with suppress(FormatError):  # a manifest
            found.append(parse_record(answer.body))
    ends = {one.execution: one.status for one in found if isinstance(one, Outcome)}
    return [
        (one.resource.id, ends.get(one.execution or ""))
        for one in found
        if isinstance(one, Decision)
        and one.subject.id == side.options[1]
        and one.action == "tools/call"
    ]


STEPS: dict[str, list[list[Any]]] = {
    "auto": [["call", "greet", {}]],
    "legacy": [["call", "elicit", {}], ["call", "think", {}]],
    "resumed": [["call", "cut", {}]],
}
TOLD = {"greet": "hello Ada", "elicit": "hello Ada", "think": "because", "cut": "after the cut"}


@pytest.mark.parametrize(
    ("transport", "kind", "mode", "more"),
    [
        ("stdio", "mcp", "auto", []),
        ("stdio", "fastmcp", "legacy", []),
        ("http", "fastmcp", "auto", []),
        ("http", "mcp", "legacy", STEPS["resumed"]),
    ],
)
def test_progress_cancellation_questions_and_resumption_pass(
    side: Side, transport: str, kind: str, mode: str, more: list[list[Any]]
) -> None:
    side.kind = kind
    questions = [*STEPS[mode], *more]
    steps = [["progress", "steps", {}], ["cancel", "stay", {}], *questions, ["all"]]
    if transport == "stdio":
        progress, cancelled, *told, listed = side.ask(*steps, mode=mode)
    else:
        with side.proxied() as url:
            progress, cancelled, *told, listed = side.ask(*steps, mode=mode, url=url)
    assert progress["text"] == "all steps"
    assert progress["heard"] == [[step, 3.0, f"step {step}"] for step in (1, 2, 3)]
    assert cancelled == "cancelled"
    asked = [step[1] for step in questions]
    assert [one["text"] for one in told] == [TOLD[name] for name in asked]
    assert "note://one" in listed["resources"]
    eventually(lambda: "cancelled" in side.ran)
    eventually(lambda: all(end is not None for _, end in calls(side)))
    # One decision and one outcome of each, however often the tool has asked, and whichever stream
    # has brought the answer.
    expected = {"steps": "completed", "stay": "unknown"} | dict.fromkeys(asked, "completed")
    assert sorted(calls(side)) == sorted(expected.items())
