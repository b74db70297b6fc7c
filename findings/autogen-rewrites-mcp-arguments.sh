#!/usr/bin/env bash
# AutoGen rewrites addresses, times and durations of an MCP call, and leaves out what no schema names.
#
# Packages: autogen-ext 0.7.5, autogen-core 0.7.5, mcp 1.30.0 (PyPI).
# Seen: a tool of `mcp_server_tools` whose schema has texts with a format is called with {"hook":
#   "https://Shop.example", "at": "2026-11-30T10:00:00+00:00", "every": "PT36H", "filter": {"id": 7, "tenant": "a"}}.
#   The server gets "https://shop.example/", "2026-11-30T10:00:00Z", "P1DT12H" and {"id": 7}, though the schema
#   allows other members. An id of format uuid is refused unless it is of version 4. McpWorkbench, of the same
#   package, hands on the same arguments as they are.
# Not expected because: `format` describes a text and changes none, MCP hands arguments on, and the two ways to one
#   server are offered as the same.
# For users: what was approved, hashed or logged from the model's call is not what the server gets: a filter loses
#   the member that narrowed it, and a permit for these arguments is refused. Use McpWorkbench, and decide
#   at the server.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  "autogen-ext[mcp]==0.7.5" autogen-core==0.7.5 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio
import json

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

server = Server("jobs")
schema = {
    "type": "object",
    "properties": {
        "hook": {"type": "string", "format": "uri"},
        "at": {"type": "string", "format": "date-time"},
        "every": {"type": "string", "format": "duration"},
        "job": {"type": "string", "format": "uuid"},
        "filter": {"type": "object", "properties": {"id": {"type": "integer"}}},
    },
}


@server.list_tools()
async def list_tools():
    return [types.Tool(name="plan", description="plan a job", inputSchema=schema)]


async def call_tool(request):
    text = types.TextContent(type="text", text=json.dumps(request.params.arguments))
    return types.ServerResult(types.CallToolResult(content=[text]))


server.request_handlers[types.CallToolRequest] = call_tool


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
cat >"$folder/run.py" <<'PY'
import asyncio
import json
import sys

from autogen_core import CancellationToken
from autogen_ext.tools.mcp import McpWorkbench, StdioServerParams, mcp_server_tools

ASKED = {
    "hook": "https://Shop.example",
    "at": "2026-11-30T10:00:00+00:00",
    "every": "PT36H",
    "filter": {"id": 7, "tenant": "a"},
}
GOT = {"hook": "https://shop.example/", "at": "2026-11-30T10:00:00Z", "every": "P1DT12H", "filter": {"id": 7}}


async def main():
    server = StdioServerParams(command=sys.executable, args=[sys.argv[1]])
    [tool] = await mcp_server_tools(server)
    adapted = json.loads((await tool.run_json(ASKED, CancellationToken()))[0].text)
    async with McpWorkbench(server) as workbench:
        direct = json.loads((await workbench.call_tool("plan", ASKED)).result[0].content)
    print("asked for", ASKED, "mcp_server_tools sends", adapted, "McpWorkbench sends", direct, sep="\n  ")
    if adapted != GOT or direct != ASKED:
        sys.exit("changed: other arguments")
    try:
        await tool.run_json({"job": "0191b8a2-7d3e-7c40-9a51-3f6f3a0c2b11"}, CancellationToken())
        sys.exit("changed: an id of version 7 is taken")
    except ValueError as error:
        print("a UUID of version 7:", " ".join(str(error).split())[:120])
        if "UUID version 4 expected" not in str(error):
            sys.exit("changed: an id of version 7 is refused for another reason")


asyncio.run(main())
PY
timeout 120 "$folder/venv/bin/python" "$folder/run.py" "$folder/server.py" 2>"$folder/errors" || {
  status=$?; tail -n 3 "$folder/errors"; exit "$status"; }
