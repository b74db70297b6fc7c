#!/usr/bin/env bash
# One call of an agent reaches its MCP server three times: CrewAI repeats what was refused, and what ran.
#
# Packages: crewai 1.15.30, mcp 1.30.0 (PyPI).
# Seen: the hook before a tool is asked once. A call that the server refuses with a JSON-RPC error
#   ("denied by policy") is sent three times, within three seconds. A call of which no answer came in
#   time is sent three times too, each time with its effect: with a timeout of 2 s here, 30 s when
#   nothing is said. Each attempt has a JSON-RPC id of its own and nothing that ties them together.
# Not expected because: tools/call is not idempotent, MCP marks the tools that are (`idempotentHint`), and
#   this tool is not marked. That a request times out says nothing on whether it ran.
# For users: one decision of the hook, three of a gate before the server; a payment that takes 31 s is made
#   three times, and the model then hears that it failed. Let tools answer fast, give them a key that
#   they can tell a repeat by, and refuse with a result (`isError`): that is not repeated.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check crewai==1.15.30 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio
import sys

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import McpError

server = Server("payments")


@server.list_tools()
async def list_tools():
    return [types.Tool(name="pay", description="pay", inputSchema={"type": "object"})]


async def call_tool(request):
    with open(sys.argv[1], "a") as file:
        file.write("pay\n")
    if sys.argv[2] == "refused":
        raise McpError(types.ErrorData(code=-32001, message="denied by policy"))
    if sys.argv[2] == "slow":
        await asyncio.sleep(20)
    refused = sys.argv[2] == "refused by a result"
    text = types.TextContent(type="text", text="denied by policy" if refused else "paid")
    return types.ServerResult(types.CallToolResult(content=[text], isError=refused))


server.request_handlers[types.CallToolRequest] = call_tool


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
export CREWAI_DISABLE_TELEMETRY=true CREWAI_DISABLE_TRACKING=true CREWAI_STORAGE_DIR=$folder/crew
export CREWAI_TRACING_ENABLED=false OTEL_SDK_DISABLED=true
cat >"$folder/run.py" <<'PY'
import asyncio
import inspect
import json
import sys

from crewai import Agent, BaseLLM, Crew, Task
from crewai.hooks import before_tool_call
from crewai.mcp import MCPServerStdio
from crewai.mcp.client import MCPClient
from crewai.mcp.transports.stdio import StdioTransport

server, calls = sys.argv[1:]
asked = []
heard = []


@before_tool_call
def ask(context):
    asked.append(context.tool_name)


class Scripted(BaseLLM):
    def call(self, messages, tools=None, **ignored):
        if not asked:
            name = tools[0]["function"]["name"]
            return [{"id": "one", "type": "function", "function": {"name": name, "arguments": json.dumps({"amount": 5})}}]
        heard.append(str(messages[-1]["content"]))
        return "done"

    def supports_function_calling(self):
        return True


def count():
    with open(calls) as file:
        return len(file.read().split())


for what, wanted in (("paid", 1), ("refused by a result", 1), ("refused", 3)):
    open(calls, "w").close()
    asked.clear()
    tools = MCPServerStdio(command=sys.executable, args=[server, calls, what])
    agent = Agent(role="r", goal="g", backstory="b", llm=Scripted(model="scripted"), mcps=[tools])
    Crew(agents=[agent], tasks=[Task(description="go", expected_output="done", agent=agent)], verbose=False).kickoff()
    print(f"{what}: the hook was asked {len(asked)} time(s), the server {count()}")
    if len(asked) != 1 or count() != wanted:
        sys.exit(f"changed: expected {wanted} at the server")


async def call_slowly(timeout):
    client = MCPClient(StdioTransport(sys.executable, [server, calls, "slow"]), execution_timeout=timeout)
    await client.connect()
    try:
        await client.call_tool("pay", {"amount": 5})
    except ConnectionError as error:
        return str(error)
    finally:
        await client.disconnect()


open(calls, "w").close()
default = inspect.signature(MCPClient.__init__).parameters["execution_timeout"].default
print(f"no answer in time: {asyncio.run(call_slowly(2))!r}, the server ran it {count()} times; the default is {default} s")
if count() != 3 or default != 30:
    sys.exit("changed: it is not repeated, or waits otherwise")
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder/server.py" "$folder/calls" 2>"$folder/errors" || {
  status=$?; tail -3 "$folder/errors"; exit "$status"; }
