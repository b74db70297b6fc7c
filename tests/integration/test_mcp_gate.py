"""The MCP gate between the SDK's own clients and servers, with a real log and its witnesses."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import mcp_tools
from log_deployment import Deployment, ask
from mcp_tools import Side
from muniment.permit.meta import META_KEY
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Outcome, Record
from muniment.tlog.encoding import FormatError
from waiting import eventually

pytestmark = pytest.mark.usefixtures("mcp_sdk")
pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

ADD = ["call", "add", {"a": 2, "b": 3}]
DENIED = ["call", "send", {"to": "eve"}]


@pytest.fixture
def side(deployment: Deployment, tmp_path: Path) -> Side:
    return Side(mcp_tools.made(deployment, tmp_path / "gateway"), tmp_path)


def records(deployment: Deployment) -> list[Record]:
    found: list[Record] = []
    index = 0
    while (answer := ask(f"{deployment.url}/v1/entries/{index}")).status == 200:
        index += 1
        with suppress(FormatError):  # a manifest
            found.append(parse_record(answer.body))
    return found


@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_call_runs_with_a_permit_and_a_denied_one_never(side: Side, kind: str, mode: str) -> None:
    side.kind = kind
    allowed, denied, read = side.ask(ADD, DENIED, ["read", "note://one"], mode=mode)
    assert (allowed["text"], allowed["isError"]) == ("5", False), allowed
    assert denied["isError"] is True
    assert denied["text"].startswith("Denied (denied_by_policy)")
    assert denied["meta"][META_KEY]["codes"] == ["denied_by_policy"]
    assert read == {"text": "a note"}
    assert side.ran == ["add 2 3", "note"]


@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
def test_going_round_the_gate_gets_nothing(side: Side, kind: str) -> None:
    side.kind = kind
    forged = {META_KEY: {"permits": [{"execution": "run-1", "permit": "none"}]}}
    plain, lying, read = side.ask(
        ADD, [*ADD, forged], ["read", "note://one"], command=side.server(), env=side.env()
    )
    assert plain["isError"] is True
    assert "no permit" in plain["text"]
    assert plain["meta"][META_KEY]["codes"]
    assert lying["isError"] is True
    assert "error" in read
    assert side.ran == []


def test_a_permit_is_good_for_one_call_and_for_what_was_decided(side: Side) -> None:
    """The gate's own words, said to the tool again, and for another call."""
    words = side.folder / "words"
    tee = [sys.executable, str(mcp_tools.SIDE / "tee.py"), str(words)]
    gate = side.gate()
    behind = gate.index("--") + 1
    [first] = side.ask(ADD, command=[*gate[:behind], *tee, *gate[behind:]], env=side.env())
    assert first["text"] == "5"
    [call] = [one for one in map(json.loads, words.read_text().splitlines())
              if one["method"] == "tools/call"]  # fmt: skip
    meta = {META_KEY: call["params"]["_meta"][META_KEY]}
    other, mine, again, send = side.ask(
        ["call", "add", {"a": 2, "b": 4}, meta], [*ADD, meta], [*ADD, meta],
        ["call", "send", {"to": "ada"}, meta],
        command=side.server(), env=side.env(),
    )  # fmt: skip
    assert (other["isError"], mine["isError"], again["isError"]) == (True, False, True)
    assert "used already" in again["text"]
    assert send["isError"] is True
    assert side.ran == ["add 2 3", "add 2 3"]


def test_what_ran_is_on_record_without_its_arguments(deployment: Deployment, side: Side) -> None:
    [sent] = side.ask(["call", "send", {"to": "ada", "secret": 2**70}])
    assert sent["text"] == "sent to ada"

    def found() -> tuple[Decision, Outcome] | None:
        known = records(deployment)
        runs = {one.execution: one for one in known if isinstance(one, Outcome)}
        for one in known:
            if isinstance(one, Decision) and one.allowed and one.resource == ("tool", "send"):
                outcome = runs.get(one.execution or "")
                return None if outcome is None else (one, outcome)
        return None

    eventually(lambda: found() is not None)
    decision, outcome = found() or pytest.fail("nothing")
    assert outcome.status == "completed"
    assert decision.subject.id == "alice"
    assert [*(decision.addenda or {})] == ["/request/context/arguments"]
    assert "arguments" not in decision.request["context"]
    assert decision.request["context"]["ids"] == {"call": "2"}
    assert (decision.artifact is not None, decision.kept) == (True, "log")


def test_an_agent_of_langchain_reads_the_reason_and_goes_on(side: Side) -> None:
    """With version 1 of the SDK, whose revision is an earlier one."""
    python = mcp_tools.ROOT / ".venv" / "langchain" / "bin" / "python"
    if not python.exists():
        pytest.skip("LangChain is not installed: scripts/frameworks does it")
    done = subprocess.run(
        [python, mcp_tools.SIDE / "langchain_agent.py", "env", f"RAN={side.folder / 'ran'}",
         *side.gate()],
        capture_output=True, text=True, timeout=mcp_tools.SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    added, denied, sent = json.loads(done.stdout)
    assert added == ["success", "5"]
    assert denied[0] == "error"
    assert denied[1].startswith("Denied (denied_by_policy)")
    assert sent == ["success", "sent to ada"]
    assert side.ran == ["add 2 3", "send ada"]


def test_without_the_log_everything_is_denied_and_nothing_runs(side: Side) -> None:
    text = side.service.config.read_text()
    side.service.config.write_text(text.replace(side.service.deployment.url, "http://127.0.0.1:9"))
    side.options = (*side.options, "--pass", "server/discover", "--pass", "tools/list")
    denied, listed = side.ask(ADD, ["list"])
    assert denied["isError"] is True
    assert "governance_mesh_discontinuity" in denied["text"]
    assert "add" in listed
    assert side.ran == []


def test_a_call_that_runs_when_the_gate_is_killed_has_the_outcome_unknown(
    deployment: Deployment, side: Side
) -> None:
    """The next gate in its place says so."""
    side.guarded = False
    call = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "killed", "arguments": {}},
    }  # fmt: skip
    noted = side.folder / "noted"
    argv = side.gate()
    argv[argv.index("--") + 1 :] = [
        sys.executable, str(mcp_tools.SIDE / "tee.py"), str(noted), "sleep", "60",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gate:
        gate.stdin.write(json.dumps(call).encode() + b"\n")
        gate.stdin.flush()
        eventually(lambda: noted.exists() and noted.stat().st_size > 0)
        gate.kill()
    [line] = noted.read_bytes().splitlines()
    [permit] = json.loads(line)["params"]["_meta"][META_KEY]["permits"]
    argv[argv.index("--") + 1 :] = ["true"]
    subprocess.run(argv, input=b"", stdout=subprocess.PIPE, timeout=60, check=True)

    def status() -> str | None:
        for one in records(deployment):
            if isinstance(one, Outcome) and one.execution == permit["execution"]:
                return one.status
        return None

    eventually(lambda: status() is not None)
    assert status() == "unknown"


def test_unknown_methods_and_listings_follow_the_policy(side: Side) -> None:
    side.options = (*side.options, "--filter")
    side.service.folder.joinpath("authz.cedar").write_text(
        'permit(principal, action, resource == mcp_server::"tests");\n'
        'permit(principal, action, resource == tool::"add");\n'
    )
    [listed] = side.ask(["list"])
    assert listed == ["add"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_on_http_a_call_runs_with_a_permit_and_what_lies_is_refused(side: Side, mode: str) -> None:
    with side.proxied() as url:
        allowed, denied, read, many = side.ask(
            ADD, DENIED, ["read", "note://one"], ["together", *[ADD] * 4], mode=mode, url=url
        )
        assert (allowed["text"], denied["isError"], read) == ("5", True, {"text": "a note"})
        assert [one["text"] for one in many] == ["5"] * 4
        _refuse_lies(url)
    assert side.ran == ["add 2 3", "note", *["add 2 3"] * 4]


def _refuse_lies(url: str) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    call = {
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "add", "arguments": {"a": 1, "b": 1}, "_meta": meta},
    }  # fmt: skip
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "other",
    }
    body = json.dumps(call).encode()
    for sent, more, status, code in (
        (body, {}, 400, -32020),
        (body, {"Mcp-Method": "tools/list"}, 400, -32020),
        (b"[]", {}, 400, -32600),
        (b"{", {}, 400, -32700),
        (b"x" * (5 << 20), {}, 400, -32600),
        (body, {"Content-Type": "text/plain"}, 400, -32600),
        (body, {"Origin": "http://evil.example"}, 403, -32600),
        (body, {"Host": "evil.example"}, 421, -32600),
        (body, {"Mcp-Session-Id": "another"}, 404, -32600),
    ):
        answer = ask(url, sent, {**headers, **more})
        assert (answer.status, answer.json["error"]["code"]) == (status, code), answer.body
    unknown = {**call, "method": "tools/explode"}
    answer = ask(url, json.dumps(unknown).encode(), {**headers, "Mcp-Method": "tools/explode"})
    assert answer.json["error"]["code"] == -32020  # it names no Mcp-Name
    del headers["Mcp-Name"]
    answer = ask(url, json.dumps(unknown).encode(), {**headers, "Mcp-Method": "tools/explode"})
    assert (answer.status, answer.json["id"], answer.json["error"]["code"]) == (404, 7, -32601)
