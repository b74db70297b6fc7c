#!/usr/bin/env bash
# "Remove all labels" arrives as "leave the labels alone": CrewAI edits the arguments of an MCP call.
#
# Packages: crewai 1.15.30, mcp 1.30.0 (PyPI).
# Seen: the model asks for {"id": "7", "labels": [], "due": null, "set": {"note": null}, "sources":
#   ["web"]}, and so does the hook before the tool see it. The server gets {"id": "7", "sources":
#   [{"type": "web"}]}: whatever is null or empty is left out, at any depth, and the texts of a list that
#   is called `sources` become objects.
# Not expected because: the tool's schema asks for these types, MCP hands arguments on as they are, and
#   in an update "empty", "null" and "not there" are three requests. The hook comes last, says CrewAI.
# For users: what was decided, hashed or approved is not what runs, and a call bound to a permit for its
#   arguments is refused by the tool. Have tools of CrewAI's agents take neither null nor empty values
#   (`"clear": true` instead of an empty list), and no parameter `sources`; decide at the server.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check crewai==1.15.30 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio
import json
import sys

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

server = Server("issues")
schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "labels": {"type": "array", "items": {"type": "string"}},
        "due": {"type": ["string", "null"]},
        "set": {"type": "object"},
        "sources": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["id"],
}


@server.list_tools()
async def list_tools():
    return [types.Tool(name="update", description="update an issue", inputSchema=schema)]


async def call_tool(request):
    with open(sys.argv[1], "w") as file:
        json.dump(request.params.arguments, file)
    return types.ServerResult(types.CallToolResult(content=[types.TextContent(type="text", text="updated")]))


server.request_handlers[types.CallToolRequest] = call_tool


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
export CREWAI_DISABLE_TELEMETRY=true CREWAI_DISABLE_TRACKING=true CREWAI_STORAGE_DIR=$folder/crew
export CREWAI_TRACING_ENABLED=false OTEL_SDK_DISABLED=true
cat >"$folder/run.py" <<'PY'
import copy
import json
import sys

from crewai import Agent, BaseLLM, Crew, Task
from crewai.hooks import before_tool_call
from crewai.mcp import MCPServerStdio

asked = {"id": "7", "labels": [], "due": None, "set": {"note": None}, "sources": ["web"]}
decided = []


@before_tool_call
def decide(context):
    decided.append(copy.deepcopy(context.tool_input))


class Scripted(BaseLLM):
    def call(self, messages, tools=None, **ignored):
        if decided:
            return "done"
        name = tools[0]["function"]["name"]
        return [{"id": "one", "type": "function", "function": {"name": name, "arguments": json.dumps(asked)}}]

    def supports_function_calling(self):
        return True


server = MCPServerStdio(command=sys.executable, args=sys.argv[1:])
agent = Agent(role="r", goal="g", backstory="b", llm=Scripted(model="scripted"), mcps=[server])
Crew(agents=[agent], tasks=[Task(description="go", expected_output="done", agent=agent)], verbose=False).kickoff()
with open(sys.argv[2]) as file:
    got = json.load(file)
print("the model asks for", asked, "the hook decides on", *decided, "the server gets", got, sep="\n  ")
if decided != [asked] or got != {"id": "7", "sources": [{"type": "web"}]}:
    sys.exit("changed: other arguments")
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder/server.py" "$folder/arguments" 2>"$folder/errors" || {
  status=$?; tail -3 "$folder/errors"; exit "$status"; }
