"""MCP servers that others wrote, behind the gate: they say what they say without it."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import mcp_tools
from gateway_service import Service
from log_deployment import deployed
from mcp_tools import NPM, PYTHON, SECONDS, Side
from ports import free_port
from waiting import eventually, listens

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

POLICY = """\
permit(principal, action, resource);
forbid(principal, action, resource == tool::"write_file");
forbid(principal, action, resource == tool::"get-env");
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A gateway that allows all but two tools."""
    mcp_tools.python()
    with deployed(tmp_path_factory.mktemp("log")) as deployment:
        made = mcp_tools.made(deployment, tmp_path_factory.mktemp("made") / "gateway")
        made.folder.joinpath("authz.cedar").write_text(POLICY)
        yield made


@dataclass
class Server:
    """How a server is started, what it is asked, and what the gate denies it."""

    command: list[Any]
    steps: list[list[Any]]
    denied: list[list[Any]] = field(default_factory=list)


def of_python(name: str) -> Path:
    mcp_tools.python()
    return PYTHON.with_name(f"mcp-server-{name}")


def of_node(name: str) -> list[Any]:
    node = mcp_tools.node()
    return [node, NPM / "node_modules" / "@modelcontextprotocol" / f"server-{name}/dist/index.js"]


def time(folder: Path) -> Server:
    noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    lost = {**noon, "target_timezone": "Nowhere"}
    return Server(
        [of_python("time")], [["call", "convert_time", noon], ["call", "convert_time", lost]]
    )


def git(folder: Path) -> Server:
    repository = folder / "repository"
    for words in (["init", "-q", repository], ["-C", repository, "checkout", "-q", "-b", "one"]):
        subprocess.run(["git", *map(str, words)], check=True)
    (repository / "new").write_text("new\n")
    asked = {"repo_path": str(repository)}
    return Server(
        [of_python("git")],
        [["call", "git_status", asked], ["call", "git_branch", {**asked, "branch_type": "local"}]],
    )


def filesystem(folder: Path) -> Server:
    (folder / "files").mkdir()
    path = folder / "files" / "note.txt"
    path.write_text("a note\n")
    return Server(
        [*of_node("filesystem"), path.parent],
        [
            ["call", "read_text_file", {"path": str(path)}],
            ["call", "list_directory", {"path": str(path.parent)}],
            ["call", "read_text_file", {"path": "/etc/hostname"}],
        ],
        [["call", "write_file", {"path": str(path), "content": "denied"}]],
    )


def memory(folder: Path) -> Server:
    ada = {"name": "Ada", "entityType": "person", "observations": ["counts"]}
    return Server(
        ["env", f"MEMORY_FILE_PATH={folder / 'memory.jsonl'}", *of_node("memory")],
        [
            ["call", "create_entities", {"entities": [ada]}],
            ["call", "read_graph", {}],
            ["call", "delete_entities", {"entityNames": ["Ada"]}],
        ],
    )


def everything(folder: Path) -> Server:
    return Server(
        of_node("everything"),
        [
            ["call", "echo", {"message": "é\u2028 \\u0000"}],
            ["call", "get-sum", {"a": 2**40, "b": -2}],
            ["call", "get-structured-content", {"location": "Chicago"}],
            ["progress", "trigger-long-running-operation", {"duration": 1, "steps": 3}],
            ["call", "trigger-sampling-request", {"prompt": "why?", "maxTokens": 9}],
            ["call", "trigger-elicitation-request", {}],
            ["prompt", "args-prompt", {"city": "Oslo"}],
            ["read", "demo://resource/static/document/features.md"],
            ["read", "demo://nothing"],
        ],
        [["call", "get-env", {}]],
    )


def said(found: list[Any]) -> list[Any]:
    """What was found, but for what the server was told of the permit."""
    return [
        {name: one for name, one in each.items() if name != "meta"}
        if isinstance(each, dict)
        else each
        for each in found
    ]


def check(side: Side, server: Server, bare: dict[str, Any], behind: dict[str, Any]) -> None:
    steps = [["all"], *server.steps]
    without = side.ask(*steps, mode="auto", **bare)
    *within, refused = side.ask(*steps, ["together", *server.denied], mode="auto", **behind)
    assert said(within) == said(without)
    assert [one["isError"] for one in refused] == [True for _ in server.denied]
    assert all(one["text"].startswith("Denied (denied_by_policy)") for one in refused)


@pytest.mark.parametrize("made", [time, git, filesystem, memory, everything])
def test_on_stdio_a_server_says_what_it_says_without_the_gate(
    service: Service, tmp_path: Path, made: Any
) -> None:
    server = made(tmp_path)
    side = Side(service, tmp_path, command=[str(word) for word in server.command])
    check(
        side,
        server,
        {"command": side.command, "env": side.env()},
        {"command": side.gate(), "env": side.env()},
    )
    if made is filesystem:
        assert (tmp_path / "files" / "note.txt").read_text() == "a note\n"


def test_on_http_a_server_says_what_it_says_without_the_gate(
    service: Service, tmp_path: Path
) -> None:
    server = everything(tmp_path)
    side = Side(service, tmp_path)
    port = free_port()
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*server.command, "streamableHttp"], stdout=log, stderr=log,
            env={**os.environ, "PORT": str(port)},
        )  # fmt: skip
    try:
        eventually(lambda: listens(port))
        bare = f"http://127.0.0.1:{port}/mcp"
        with mcp_tools.gated(service, bare, side.options) as url:
            check(side, server, {"url": bare}, {"url": url})
    finally:
        process.kill()
        process.wait(SECONDS)
