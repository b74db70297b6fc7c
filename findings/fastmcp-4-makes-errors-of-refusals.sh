#!/usr/bin/env bash
# With FastMCP 4, the middleware that logs errors turns a tool's refusal from a result into a JSON-RPC error.
#
# Packages: fastmcp 4.2.3, 3.4.11 (PyPI).
# Seen: a guard, as a middleware or in a tool, refuses a call by ToolError. Version 3 and 4 answer with a result that is
#   an error, "denied: bob is not on the list". With ErrorHandlingMiddleware() in front of it, version 3 still answers
#   with a result, "Internal error: denied: …"; version 4 answers with the JSON-RPC error -32603, at which its own
#   client raises, though it was told not to (raise_on_error=False). A tool's PermissionError becomes -32000 in the
#   same way. A refusal that is returned, ToolResult(is_error=True), stays a result in both, and so does a ToolError
#   with transform_errors=False.
# Not expected because: ToolError is FastMCP's own way to tell the model something, the middleware is described as one
#   that logs and counts, and the server's code is the same in both versions.
# For users: after the upgrade clients end a run at a refusal, send the call again, or hide the reason, as they do with
#   JSON-RPC errors, and the model learns nothing. Return refusals, or set transform_errors=False.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/run.py" <<'PY'
import asyncio
import sys

from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import Middleware
from fastmcp.server.middleware.error_handling import ErrorHandlingMiddleware
from fastmcp.tools.base import ToolResult

version = int(sys.argv[1])
REASON = "denied: bob is not on the list"


class Guard(Middleware):
    async def on_call_tool(self, context, call_next):
        to = context.message.arguments["to"]
        if to == "bob":
            raise ToolError(REASON)
        if to == "eve":
            return ToolResult(content=REASON, is_error=True)
        return await call_next(context)


async def heard(middleware, to):
    """Returns how the server refuses to write to somebody, and its text."""
    server = FastMCP("letters", middleware=[*middleware, Guard()])

    @server.tool
    def write(to: str) -> str:
        raise PermissionError("carol may not")

    async with Client(server) as client:
        try:
            result = await client.call_tool("write", {"to": to}, raise_on_error=False)
        except Exception as error:
            return error.error.code, error.error.message
        return "result" if result.is_error else "done", result.content[0].text


async def main():
    plain, logging, kept = (), (ErrorHandlingMiddleware(),), (ErrorHandlingMiddleware(transform_errors=False),)
    of_carol = "Error calling tool 'write': carol may not"
    for middleware, to, before, now in (
        (plain, "bob", ("result", REASON), None),
        (plain, "carol", ("result", of_carol), None),
        (logging, "bob", ("result", f"Internal error: {REASON}"), (-32603, f"Internal error: {REASON}")),
        (logging, "carol", ("result", f"Permission denied: {of_carol}"), (-32000, f"Permission denied: {of_carol}")),
        (logging, "eve", ("result", REASON), None),
        (kept, "bob", ("result", REASON), None),
    ):
        expected, seen = now if now and version == 4 else before, await heard(middleware, to)
        name = "nothing" if not middleware else "error handling" if middleware is logging else "transform_errors=False"
        print(f"fastmcp {version}, {name} before the guard, {to}: {seen}")
        if seen != expected:
            sys.exit(f"changed: expected {expected}")


asyncio.run(main())
PY
for version in 3.4.11 4.2.3; do
  python3 -m venv "$folder/venv-$version"
  "$folder/venv-$version/bin/pip" install -q --disable-pip-version-check "fastmcp==$version"
  timeout 100 "$folder/venv-$version/bin/python" "$folder/run.py" "${version%%.*}" 2>"$folder/errors" || {
    status=$?
    tail -n 3 "$folder/errors"
    exit "$status"
  }
done
