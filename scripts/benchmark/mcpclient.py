"""A client of the Model Context Protocol that does nothing but wait for one answer at a time."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from deployment import tie_to_parent

from benchmark.rig import SCRIPTS, BenchError

PROTOCOL = "2025-11-25"


class Connection:
    """A server, or a gate before one, as a child process on pipes; close it."""

    def __init__(self, command: list[str], place: Path) -> None:
        self._id = 0
        self._errors = place / f"mcp-{time.monotonic_ns()}.err"
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=place,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=tie_to_parent,  # noqa: PLW1509  # no thread starts any
            )
        client = {"name": "bench", "version": "1"}
        self._ask(
            "initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client}
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self._ask("tools/list", {})

    def call(self, tool: str, arguments: dict[str, Any]) -> float:
        """Calls a tool; the seconds until its result. BenchError if it does not run."""
        began = time.perf_counter()
        result = self._ask("tools/call", {"name": tool, "arguments": arguments})
        took = time.perf_counter() - began
        if result.get("isError") or result["content"][0]["text"] != "5":
            raise BenchError(f"the call was not allowed: {result}")
        return took

    def cpu_seconds(self) -> float:
        """Processor time that the process, and not its children, has used."""
        status = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = status.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            message = json.loads(line)
            if message.get("id") == self._id and "method" not in message:
                if "result" not in message:
                    raise BenchError(f"{method}: {message}")
                result: dict[str, Any] = message["result"]
                return result
        raise BenchError(f"the server ended: {self._errors.read_text()[-500:]}")
