#!/usr/bin/env bash
# The MCP SDK's client gives a server that says "not yet, ask again" about two seconds.
#
# Packages: mcp 2.3.0 (PyPI).
# Seen: a tool answers `input_required` with a `requestState` alone, as revision 2026-07-28 lets a server
#   that is not ready do. The client asks again by itself, ten times, after pauses of 0.05 to 0.25 s,
#   and then raises InputRequiredRoundsExceededError, a RuntimeError. A tool that is ready after half a
#   second has its result; one that is ready after six has an exception, and the count is in no message
#   to the server.
# Not expected because: the result is the revision's way to wait for what takes its time, such as a
#   person's consent or a slow job, and neither the number of rounds nor the pauses follow from it; a
#   server cannot say when to ask again.
# For users: a server or gate that waits for a person has to hold each of the requests for a while
#   before it says "not yet"; ten of 20 s are more than three minutes. A client that talks to others
#   raises `input_required_max_rounds`.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mcp==2.3.0
"$folder/venv/bin/python" - <<'PY'
import asyncio
import logging
import time
from importlib.metadata import version

from mcp import Client
from mcp.server import MCPServer
from mcp.types import CallToolResult, InputRequiredResult

logging.disable(logging.CRITICAL)
server = MCPServer("slow")
state = {"asked": 0, "ready": 0.0}


@server.tool()
def deploy() -> CallToolResult | InputRequiredResult:
    """Deploy."""
    state["asked"] += 1
    if time.monotonic() < state["ready"]:
        return InputRequiredResult(request_state="not-yet")
    return CallToolResult(content=[])


async def ask(ready_in: float) -> tuple[str, int, float]:
    began = time.monotonic()
    state.update(asked=0, ready=began + ready_in)
    async with Client(server) as client:
        try:
            await client.call_tool("deploy", {})
            ended = "a result"
        except Exception as error:
            ended = type(error).__name__
    return ended, state["asked"], time.monotonic() - began


async def main() -> int:
    print(f"mcp {version('mcp')}")
    quick, slow = await ask(0.5), await ask(6.0)
    for ready, (ended, asked, took) in (("0.5 s", quick), ("6 s", slow)):
        print(f"ready after {ready}: {ended} after {asked} requests and {took:.1f} s")
    as_said = quick[0] == "a result" and slow[0] == "InputRequiredRoundsExceededError"
    return 0 if as_said and slow[1] == 11 and slow[2] < 6 else 1


raise SystemExit(asyncio.run(main()))
PY
