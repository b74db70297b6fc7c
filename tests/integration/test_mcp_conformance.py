"""MCP's own conformance suite: what a server passes without the gate, it passes behind it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mcp_tools
from log_deployment import deployed
from mcp_tools import NPM, SECONDS
from ports import free_port
from waiting import eventually, listens

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

SUITE = NPM / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

DIFFERENT: dict[str, str] = {}
"""Checks that a server passes without the gate and not behind it, each with the reason: none."""


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's URL, and that of a gate before it."""
    python, _ = mcp_tools.python(), mcp_tools.node()
    folder = tmp_path_factory.mktemp("conformance")
    port = free_port()
    with deployed(tmp_path_factory.mktemp("log")) as deployment:
        service = mcp_tools.made(deployment, folder / "gateway")
        service.folder.joinpath("authz.cedar").write_text("permit(principal, action, resource);\n")
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [python, mcp_tools.SIDE / "everything.py", str(port)], stdout=log, stderr=log
            )
        try:
            eventually(lambda: listens(port))
            bare = f"http://127.0.0.1:{port}/mcp"
            with mcp_tools.gated(service, bare, ("--subject", "alice", "--server", "all")) as url:
                yield bare, url
        finally:
            server.kill()
            server.wait(SECONDS)


def passed(url: str, revision: str, out: Path) -> set[str]:
    """The checks of the suite that a URL passes, each with its scenario."""
    subprocess.run(
        [mcp_tools.node(), SUITE, "server", "--url", url, "--suite", "all",
         "--spec-version", revision, "--output-dir", out],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
    )  # fmt: skip
    found: dict[str, set[str]] = {}
    for path in sorted(out.glob("server-*/checks.json")):
        # The folder of a scenario has its name, and the time.
        scenario = path.parent.name[: -len("-2026-11-29T14-39-06-430Z")]
        for one in json.loads(path.read_text()):
            found.setdefault(f"{scenario}: {one['id']}", set()).add(one["status"])
    return {name for name, statuses in found.items() if statuses == {"SUCCESS"}}


@pytest.mark.parametrize(("revision", "least"), [("2025-11-25", 60), ("2026-07-28", 100)])
def test_what_passes_without_the_gate_passes_behind_it(
    urls: tuple[str, str], tmp_path: Path, revision: str, least: int
) -> None:
    bare = passed(urls[0], revision, tmp_path / "bare")
    behind = passed(urls[1], revision, tmp_path / "behind")
    assert len(bare) >= least, sorted(bare)
    assert bare - behind == DIFFERENT.keys() & bare
