#!/usr/bin/env bash
# A tool call that was allowed and has run is reported as "denied": the client asked for more after it.
#
# Packages: mcp 1.30.0 and 2.3.0 (PyPI), each as client of the same server.
# Seen: a client that knows its tool and calls it without listing tools first sends tools/call, gets the
#   result, and then sends a tools/list of its own, to look for an output schema to check the result
#   with. Where that listing is refused ("denied by policy"), call_tool raises the refusal (McpError,
#   MCPError in 2.3.0): the result is thrown away, and nothing tells it from a refusal of the call.
# Not expected because: one call_tool is one request, a refusal comes before a tool runs, and whether
#   somebody may list tools is another question than whether he may call one.
# For users: a policy that allows a call and denies tools/list turns each first call of a session into
#   "denied" after its effect; who then tries again, in a new session, pays twice. Allow tools/list to
#   whoever may call anything (filter what it shows instead), and expect its decision in the log though
#   no agent asked for it.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 1.30.0 2.3.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q --disable-pip-version-check "mcp==$version"
done
cat >"$folder/server.py" <<'PY'
import asyncio
import sys

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import McpError

server = Server("payments")
pay = types.Tool(name="pay", description="pay", inputSchema={"type": "object"})


def note(what):
    with open(sys.argv[1], "a") as file:
        file.write(what + "\n")


async def list_tools(request):
    note("tools/list")
    if sys.argv[2] == "refused":
        raise McpError(types.ErrorData(code=-32001, message="denied by policy"))
    return types.ServerResult(types.ListToolsResult(tools=[pay]))


async def call_tool(request):
    note("pay")
    return types.ServerResult(types.CallToolResult(content=[types.TextContent(type="text", text="paid")]))


server.request_handlers[types.ListToolsRequest] = list_tools
server.request_handlers[types.CallToolRequest] = call_tool


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
cat >"$folder/client.py" <<'PY'
import asyncio
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

version, program, server, calls = sys.argv[1:]


async def call(listing):
    open(calls, "w").close()
    parameters = StdioServerParameters(command=program, args=[server, calls, listing])
    async with stdio_client(parameters) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        try:
            heard = (await session.call_tool("pay", {"amount": 5})).content[0].text
        except Exception as error:
            heard = f"{type(error).__name__}: {error}"
    with open(calls) as file:
        return heard, file.read().split()


for listing, wanted in (("allowed", "paid"), ("refused", "denied by policy")):
    heard, seen = asyncio.run(call(listing))
    print(f"mcp {version}, listing {listing}: the server saw {seen}, the caller hears {heard!r}")
    if not heard.endswith(wanted) or seen != ["pay", "tools/list"]:
        sys.exit("changed: another order, or another answer")
PY
for version in 1.30.0 2.3.0; do
  "$folder/$version/bin/python" "$folder/client.py" \
    "$version" "$folder/1.30.0/bin/python" "$folder/server.py" "$folder/calls"
done
