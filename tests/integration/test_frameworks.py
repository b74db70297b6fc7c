"""The conformance kit: every adapter, with its real framework, a real log and its witnesses.

One process plays all cases of a framework, in the environment that scripts/frameworks makes; here
is what must hold of what was seen there and of what the log holds.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import processes
from commands import online
from log_deployment import GATEWAY, Deployment, ask, deployed, leaves_of
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Edge, Outcome

ROOT = Path(__file__).parent.parent.parent
SIDE = ROOT / "tests" / "frameworkside"

PLAY_SECONDS = 400.0  # only a failure takes a framework so long

CASES = (
    "allowed", "denied", "failing_policy", "failing_check", "failing_gate", "away",
    "cancelled_gate", "cancelled_tool", "edited", "edited_to_denied", "edited_late", "cut_off",
    "asked_again", "same_id", "retried", "resumed", "parallel", "threads", "from_mcp",
    "failing_tool", "helped", "handed_over",
)  # fmt: skip

_NO_ENDS = "its model here says nothing of how an answer ended"

LACKING: dict[str, dict[str, str]] = {
    "langchain": {},
    "openai_agents": {
        "cut_off": _NO_ENDS,
        "edited": "nothing edits a call's arguments",
        "edited_to_denied": "nothing edits a call's arguments",
        "edited_late": "nothing edits a call's arguments",
        "retried": "it calls no tool again by itself",
        "threads": "all of it runs in event loops",
    },
    "pydantic_ai": {
        "cut_off": _NO_ENDS,
        "retried": "it calls no tool again by itself",
        "threads": "all of it runs in event loops",
    },
    "google_adk": {
        "cut_off": _NO_ENDS,
        "retried": "it calls no tool again by itself",
        "threads": "all of it runs in event loops",
    },
    "agent_framework": {"cut_off": _NO_ENDS, "threads": "all of it runs in event loops"},
    "claude_agent": {
        "cut_off": _NO_ENDS,
        "from_mcp": "all its tools here are those of an MCP server",
        "edited": "what could edit is refused",
        "edited_to_denied": "what could edit is refused",
        "retried": "it calls no tool again by itself",
        "resumed": "a hook decides at once",
        "threads": "all of it runs in event loops",
        "handed_over": "its agents hand over to nobody",
    },
    "crewai": {
        "cut_off": _NO_ENDS,
        "cancelled_gate": "it runs in threads, which are not cancelled",
        "cancelled_tool": "it runs in threads, which are not cancelled",
        "retried": "it calls no tool again by itself",
        "resumed": "a hook decides at once",
    },
}
"""What a framework has not got, and so cannot be asked to do."""

APART = {"crewai": "crewai", "langchain": "langchain"}
"""Frameworks with an environment of their own; the others share "frameworks"."""

WITHOUT_IDS = {"crewai"}
"""Frameworks that do not tell the ids of calls."""

OUTSIDE = {"claude_agent"}
"""Frameworks whose tools run where the hook's run is not going on: what they call has no parent."""

TOOLS = {"send", "broken", "hang"}

PLAYED = [
    (framework, case) for framework, lacking in LACKING.items() for case in CASES
    if case not in lacking
]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What one case showed: on the framework's side, and on the log."""

    framework: str
    ran: list[Any]
    asked: list[Any]
    runs: list[str | None]
    heard: list[str]
    error: str | None
    decisions: list[Decision]
    outcomes: dict[str, Outcome]
    parents: dict[str, str]

    @property
    def recipients(self) -> list[str]:
        return [arguments["to"] for _, arguments in self.ran]

    @property
    def statuses(self) -> list[str]:
        """How the runs of the decisions ended; every allowed one has an outcome."""
        found = [self.outcomes[one.execution or ""] for one in self.decisions if one.allowed]
        return [one.status for one in found]

    def agent_of(self, to: str) -> Any:
        """Who was allowed what was sent to somebody."""
        run = self.runs[self.recipients.index(to)]
        [found] = [one for one in self.decisions if one.execution == run]
        return found.request["subject"]["id"]


def python_of(framework: str) -> Path:
    """The interpreter of a framework's environment; skips the test if there is none."""
    python = ROOT / ".venv" / APART.get(framework, "frameworks") / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{framework} is not installed: scripts/frameworks does it")
    return python


class Stage:
    """One log for all frameworks; each is played once, when it is first asked for."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.play = cache(self._play)

    def _play(self, framework: str) -> dict[str, Seen]:
        python = python_of(framework)
        folder = self.deployment.folder / framework
        folder.mkdir()
        place = folder / "place.json"
        place.write_text(
            json.dumps(
                {
                    "url": self.deployment.url,
                    "policy": str(self.deployment.folder / "log" / "witnesses.policy"),
                    "gateway": GATEWAY,
                    "seed": sha256(GATEWAY.encode()).hexdigest(),  # that of `signing`
                    "folder": str(folder / "gateway"),
                }
            )
        )
        cases = [case for case in CASES if case not in LACKING[framework]]
        argv = [str(python), str(SIDE / "play.py"), framework, str(place), *cases]
        done = processes.run(argv, timeout=PLAY_SECONDS)
        assert done.returncode == 0, done.stderr  # tracebacks of tools that broke are among it
        sys.stderr.write(done.stderr)
        return self._joined(framework, json.loads(done.stdout))

    def _joined(self, framework: str, said: dict[str, Any]) -> dict[str, Seen]:
        size = int(ask(f"{self.deployment.url}/checkpoint").body.split(b"\n")[1])
        leaves = leaves_of(self.deployment.url, size)
        records = [parse_record(leaf) for leaf in leaves if leaf.startswith(b"{")]
        outcomes = {one.execution: one for one in records if isinstance(one, Outcome)}
        parents = {
            one.from_.id: one.to.id
            for one in records
            if isinstance(one, Edge) and one.relation == "triggered_by"
        }
        found: dict[str, Seen] = {}
        for case, members in said.items():
            user = f"{framework}/{case}"
            decisions = [one for one in records if isinstance(one, Decision) and _user(one) == user]
            if framework in OUTSIDE or case == "from_mcp":
                tools = TOOLS if framework in OUTSIDE else {_tool(one) for one in decisions}
                members["runs"] = [
                    one.execution for one in decisions if one.allowed and _tool(one) in tools
                ]
            found[case] = Seen(
                framework, **members, decisions=decisions, outcomes=outcomes, parents=parents
            )
        return found


def _tool(decision: Decision) -> str:
    """The name of a tool, without that of an MCP server before it."""
    return str(decision.request["resource"]["id"]).rpartition("_")[2]


def _user(decision: Decision) -> str | None:
    ids = decision.request.get("context", {}).get("ids", {})
    return ids.get("user")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with deployed(tmp_path_factory.mktemp("frameworks")) as made:
        yield Stage(made)


@pytest.mark.timeout(2 * PLAY_SECONDS)  # the first one plays all cases of its framework
@pytest.mark.parametrize(("framework", "case"), PLAYED)
def test_conformance(stage: Stage, framework: str, case: str) -> None:
    seen = stage.play(framework)[case]
    globals()[f"_{case}"](seen)
    # Of whatever ran there is one decision, which was about these arguments, and its outcome.
    runs = [run for run in seen.runs if run is not None]
    assert len(runs) >= len(seen.ran)
    for decision in seen.decisions:
        if decision.allowed and decision.execution in runs:
            outcome = seen.outcomes[decision.execution]
            digest = decision.addenda["/request/context/arguments"]
            assert (outcome.inputs or {})["arguments"] == f"sha256:{digest}"


def _allowed(seen: Seen) -> None:
    assert seen.ran == [["send", {"to": "ada", "copies": 2}]]
    assert seen.error is None
    assert seen.heard == ["sent to ada"]
    assert seen.statuses == ["completed"]
    [decision] = seen.decisions
    assert decision.execution == seen.runs[0]
    assert decision.request["subject"] == {"type": "agent", "id": "planner"}
    assert (decision.request["resource"]["type"], _tool(decision)) == ("tool", "send")
    if seen.framework not in WITHOUT_IDS:
        assert decision.request["context"]["ids"]["call"] == "c-1"


def _denied(seen: Seen) -> None:
    assert seen.ran == []
    assert [one.allowed for one in seen.decisions] == [False]
    [heard] = seen.heard
    assert "denied_by_policy" in heard
    assert "eve is not on the list" in heard


def _failing_policy(seen: Seen) -> None:
    _refused(seen, "could_not_evaluate")
    assert [one.allowed for one in seen.decisions] == [False]


def _failing_check(seen: Seen) -> None:
    _refused(seen, "the check broke")
    assert seen.statuses == ["aborted"]


def _failing_gate(seen: Seen) -> None:
    _refused(seen, "nonsense")
    assert seen.decisions == []


def _away(seen: Seen) -> None:
    _refused(seen, "governance_mesh_discontinuity")


def _refused(seen: Seen, word: str) -> None:
    assert seen.ran == []
    [heard] = seen.heard
    assert "Denied" in heard
    assert word in heard


def _cancelled_gate(seen: Seen) -> None:
    assert seen.ran == []
    assert not any("sent" in one for one in seen.heard)
    assert seen.asked == [{**seen.asked[0], "to": "ada"}]
    assert not any(one.allowed for one in seen.decisions)


def _cancelled_tool(seen: Seen) -> None:
    assert seen.recipients == ["ada"]
    assert seen.statuses == ["aborted"]


def _edited(seen: Seen) -> None:
    assert [one["to"] for one in seen.asked] == seen.recipients == ["bob"]


def _edited_to_denied(seen: Seen) -> None:
    assert [one["to"] for one in seen.asked] == ["eve"]
    assert seen.ran == []


def _edited_late(seen: Seen) -> None:
    """What comes behind the gate is decided as well, or stopped by the framework."""
    assert seen.ran == []
    if [one["to"] for one in seen.asked] != ["eve"]:
        assert set(seen.statuses) <= {"not_run"}
        said = f"{seen.error} {seen.heard}"
        assert "MiddlewareFailure" in said or "could change the arguments" in said


def _cut_off(seen: Seen) -> None:
    """What the model did not end is not asked about; the call before it was ended, and runs."""
    assert seen.recipients == ["ada"]
    assert [one["to"] for one in seen.asked] == ["ada"]
    assert any("limit of tokens" in heard for heard in seen.heard)


def _asked_again(seen: Seen) -> None:
    assert seen.recipients == ["ada", "ada"]
    assert len({one.execution for one in seen.decisions}) == 2
    assert seen.statuses == ["completed", "completed"]


def _same_id(seen: Seen) -> None:
    assert {one.execution for one in seen.decisions} == {*seen.runs}
    assert len({*seen.runs}) == len(seen.ran) == len(seen.statuses)


def _retried(seen: Seen) -> None:
    assert seen.recipients == ["ada", "ada"]
    assert len({one.execution for one in seen.decisions}) == 2
    assert seen.statuses == ["failed", "failed"]


def _resumed(seen: Seen) -> None:
    assert seen.recipients == ["ada"]
    [decision] = seen.decisions
    assert decision.execution == seen.runs[0]
    assert seen.statuses == ["completed"]


def _parallel(seen: Seen) -> None:
    assert sorted(seen.recipients) == ["ada", "bob", "cy"]
    assert len({*seen.runs}) == 3
    assert sorted(seen.statuses) == ["completed"] * 3
    assert [one.allowed for one in seen.decisions].count(False) == 1
    assert sum("eve is not on the list" in one for one in seen.heard) == 1
    assert sorted(one for one in seen.heard if one.startswith("sent")) == [
        "sent to ada", "sent to bob", "sent to cy",
    ]  # fmt: skip


def _threads(seen: Seen) -> None:
    _parallel(seen)


def _from_mcp(seen: Seen) -> None:
    assert seen.recipients == ["ada"]
    assert sorted(one["to"] for one in seen.asked) == ["ada", "eve"]
    assert seen.statuses == ["completed"]
    assert any("sent to ada" in one for one in seen.heard)
    assert any("eve is not on the list" in one for one in seen.heard)


def _failing_tool(seen: Seen) -> None:
    assert seen.recipients == ["ada"]
    assert seen.statuses == ["failed"]


def _helped(seen: Seen) -> None:
    """The call of the helper's is triggered by that of the helper."""
    [inner] = seen.runs
    assert inner is not None
    [outer] = [one for one in seen.decisions if _tool(one) not in TOOLS]
    assert seen.parents[inner] == outer.execution
    assert outer.request["subject"]["id"] == "planner"
    assert seen.agent_of("ada") == "helper"
    assert seen.statuses == ["completed", "completed"]


def _handed_over(seen: Seen) -> None:
    first, second, job = seen.runs
    assert first is not None
    assert second is not None
    assert seen.parents[first] == seen.parents[second] == job
    assert seen.agent_of("ada") == "planner"
    assert seen.agent_of("bob") == "clerk"


@pytest.mark.timeout(PLAY_SECONDS)
def test_google_adk_governs_no_agent_that_runs_what_nobody_decides() -> None:
    argv = [str(python_of("google_adk")), "-W", "ignore", str(SIDE / "adk_refusals.py")]
    done = processes.run(argv, timeout=PLAY_SECONDS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "local code": "ValueError",
        "code at the provider": "ValueError",
        "a sub-agent's code": "ValueError",
        "code of an agent as a tool": "ValueError",
        "a workflow": "TypeError",
    }


@pytest.mark.timeout(8 * PLAY_SECONDS)
async def test_the_audit_of_all_of_it_is_clean(stage: Stage, tmp_path: Path) -> None:
    for framework in LACKING:
        stage.play(framework)
    made = stage.deployment
    policy = made.folder / "log" / "witnesses.policy"
    where = ("--log", made.url, "--policy", str(policy), "--gateway", str(made.signer.vkey))
    result = await online("audit", *where, "--state", str(tmp_path / "state"))
    assert "Verdict: clean" in result.stdout
