"""The story with real processes: delegate, govern, trace, revoke, and fail closed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import processes
from waiting import SECONDS, eventually

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from deployment import BIN, WITNESSES, Deployment  # noqa: E402

AGENTS = ROOT / "docs" / "examples" / "agents.py"


class Story(Deployment):
    """The deployment, with three agents on two gateways and a replica."""

    def make(self) -> None:
        log_keys = self.make_log()
        witnesses = {
            name: self.make_witness(name, kind, log_keys) for name, kind in WITNESSES.items()
        }
        for name in WITNESSES:
            self.start_witness(name)
        self.write_policy(log_keys, witnesses, 2)
        gateways = [
            self.make_gateway(f"gw.example/{one}", f"{one}.pem") for one in ("east", "west")
        ]
        self.configure_log(gateways=gateways)
        self.start_log()
        self.follow()
        self.agent("researcher", "east", delegator="orchestrator")
        self.agent("writer", "west", delegator="orchestrator", allowed=["search"])
        self.agent("orchestrator", "east", peers=[self.urls["researcher"], self.urls["writer"]])

    def follow(self) -> None:
        argv = ["follow", self.urls["log"], "--policy", "trust.policy", "--replica", "replica.db"]
        with (self.place / "follow.out").open("wb") as out:
            self.processes["follow"] = subprocess.Popen(
                [BIN / "muniment", *argv, "--interval", "0.1"],
                cwd=self.place, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def agent(self, name: str, gateway: str, **more: Any) -> None:
        config = {
            "agent": name,
            "spiffe_id": f"spiffe://example.org/{name}",
            "log": self.urls["log"],
            "policy": "trust.policy",
            "key": f"{gateway}.pem",
            "spool": f"{name}.spool",
            "replica": "replica.db",
            "permits": "permits",
            "listen": "127.0.0.1:0",
            "deadline": 2.0,
            "allowed": ["search", "plan"],
            **more,
        }
        (self.place / f"{name}.json").write_text(json.dumps(config))
        self.start(name, "python", str(AGENTS), "serve", "--config", f"{name}.json")

    def call(self, agent: str, tool: str, argument: str, run: str | None = None) -> dict[str, Any]:
        argv = [sys.executable, str(AGENTS), "call", self.urls[agent], tool, argument]
        argv += [] if run is None else ["--run", run]
        done = subprocess.run(
            argv, cwd=self.place, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def muniment(self, *argv: str, code: int = 0) -> str:
        return processes.run(processes.muniment(*argv), cwd=self.place, code=code).stdout

    def permits(self) -> list[dict[str, Any]]:
        """The decisions of the permits that were handed out, in the order of the log."""
        from muniment.permit import parse_permit

        found = [
            parse_permit(one.read_bytes()) for one in (self.place / "permits").glob("*.permit")
        ]
        return [json.loads(one.entry) for one in sorted(found, key=lambda one: one.index)]


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    before = os.umask(0o077)
    story = Story(tmp_path)
    try:
        story.make()
        yield story
    finally:
        story.stop()
        os.umask(before)


def test_delegate_govern_trace_revoke_and_fail_closed(story: Story) -> None:
    # An orchestrator delegates to two sub-agents on two gateways; each call is authorised first.
    answer = story.call("orchestrator", "plan", "quarter")
    assert "result" in answer, answer
    assert json.loads(answer["result"]) == [
        {"result": "researcher found quarter"},
        {"result": "writer found quarter"},
    ]
    plan, research, write = story.permits()
    assert [one["producer"] for one in (plan, research, write)] == [
        "gw.example/east", "gw.example/east", "gw.example/west",
    ]  # fmt: skip
    # A call that the policy does not allow is logged and denied.
    refused = story.call("writer", "plan", "all of it")
    assert refused["denied"] == ["denied_by_policy"]
    assert isinstance(refused["leaf"], int)

    # Outcomes and edges are logged; an auditor with the policy file alone traces a call offline.
    run, origin = write["execution"], plan["execution"]
    log = ("--log", story.urls["log"], "--policy", "trust.policy")
    wait_for(story, run, "completed")
    tree = story.muniment("lineage", "trace", run, *log, "--verify", "--bundle", "call.lineage")
    assert "continuous" in tree
    assert f"triggered_by run {origin}" in tree
    auditor = story.place / "auditor"
    auditor.mkdir()
    for name in ("call.lineage", "trust.policy"):
        (auditor / name).write_bytes((story.place / name).read_bytes())
    shown = json.loads(
        story.muniment(
            *("lineage", "verify", "auditor/call.lineage", "--policy", "auditor/trust.policy"),
            "--json",
        )
    )
    assert shown["verified"]
    assert shown["trace"]["continuous"]
    assert shown["trace"]["origins"] == [origin]
    context = (story.place / "permits" / "writer.context.json").read_bytes()
    (story.place / "context.json").write_bytes(context)
    assert json.loads(context)["parent"] == origin
    judge = ("permit", "verify", f"permits/{run}.permit", "--policy", "trust.policy")
    judge += ("--context", "context.json", "--replica", "replica.db")
    assert "PERMITTED" in story.muniment(*judge)

    # The delegation is revoked: the next call is denied although its own decision is untouched.
    assert story.call("writer", "search", "more", run=origin)["result"] == "writer found more"
    story.muniment(
        *("revoke", *log, "--key", "east.pem", "--execution", origin, "--reason", "taken back")
    )
    denied = story.call("writer", "search", "more", run=origin)
    assert denied["denied"] == ["revoked_authorization"]
    last = story.permits()[-1]
    assert last["response"] == {"decision": True}
    assert origin in " ".join(denied["reasons"])
    verdict = json.loads(story.muniment(*judge, "--json", code=4))
    assert verdict["codes"] == ["revoked_authorization"]
    broken = story.muniment("lineage", "trace", run, "--replica", "replica.db", code=4)
    assert "revoked_execution" in broken
    # Runs that do not descend from it go on.
    assert "result" in story.call("researcher", "search", "something else")

    # The log is stopped: every call is denied.
    story.processes["log"].terminate()
    story.processes["log"].wait(timeout=SECONDS)
    for agent in ("researcher", "writer"):
        gone = story.call(agent, "search", "anything")
        assert gone["denied"] == ["governance_mesh_discontinuity"]
    gone = story.call("orchestrator", "plan", "anything")
    assert gone["denied"] == ["governance_mesh_discontinuity"]


def wait_for(story: Story, run: str, text: str) -> None:
    """Until the log's outcome of a run is in the replica."""
    from muniment.index.reader import IndexReader
    from muniment.index.replicafacts import ReplicaFacts

    def is_there() -> bool:
        with IndexReader(story.place / "replica.db") as reader:
            [page] = ReplicaFacts(reader).outcomes([run])
        return any(found.record.status == text for found in page.entries)

    eventually(is_there, lambda: f"no outcome of {run}")
