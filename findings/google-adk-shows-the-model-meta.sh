#!/usr/bin/env bash
# What an MCP server tells the client in `_meta` is read by the model, paid for, and kept in the session.
#
# Packages: google-adk 2.13.0, mcp 1.30.0 (PyPI).
# Seen: a result with the content "paid" and 8,000 characters in `_meta` reaches the model as one function
#   response of some 8,100 characters: the whole result with its `_meta`, under the name `meta`, and
#   `isError`. It is in the session's events too, so each later request has it again.
# Not expected because: `_meta` is MCP's place for what is between client and server (progress tokens, trace
#   ids, receipts); `content` is what the model is to read.
# For users: a receipt, a permit or a digest that goes with each result costs thousands of tokens a call,
#   and hands the model what was meant for the machinery around it. Take `meta` out in an
#   `after_tool_callback` (return the result without it), or keep `_meta` of results small.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check google-adk==2.13.0 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

server = Server("payments")


@server.list_tools()
async def list_tools():
    return [types.Tool(name="pay", description="pay", inputSchema={"type": "object"})]


async def call_tool(request):
    text = types.TextContent(type="text", text="paid")
    return types.ServerResult(types.CallToolResult(content=[text], _meta={"example.com/receipt": "r" * 8000}))


server.request_handlers[types.CallToolRequest] = call_tool


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
cat >"$folder/run.py" <<'PY'
import asyncio
import sys

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools.mcp_tool import McpToolset, StdioConnectionParams
from google.genai import types
from mcp import StdioServerParameters

read = []


class Model(BaseLlm):
    async def generate_content_async(self, request, stream=False):
        response = request.contents[-1].parts[0].function_response
        if response:
            read.append(response.response)
            part = types.Part(text="done")
        else:
            part = types.Part(function_call=types.FunctionCall(name="pay", args={"amount": 5}))
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


def without_meta(tool, args, tool_context, tool_response):
    return {name: value for name, value in tool_response.items() if name != "meta"}


async def run(after):
    parameters = StdioServerParameters(command=sys.executable, args=[sys.argv[1]])
    tools = McpToolset(connection_params=StdioConnectionParams(server_params=parameters, timeout=60.0))
    agent = LlmAgent(name="payer", model=Model(model="scripted"), tools=[tools], after_tool_callback=after)
    runner = InMemoryRunner(agent=agent, app_name="example")
    session = await runner.session_service.create_session(app_name="example", user_id="somebody")
    said = types.Content(role="user", parts=[types.Part(text="go")])
    async for _ in runner.run_async(user_id="somebody", session_id=session.id, new_message=said):
        pass
    await tools.close()


for what, after in (("as it is", None), ("with the callback", without_meta)):
    read.clear()
    asyncio.run(run(after))
    (response,) = read
    print(f"{what}: the model reads {len(str(response))} characters, members {sorted(response)}")
    if response["content"][0]["text"] != "paid":
        sys.exit("changed: another content")
    if after is None and response.get("meta") != {"example.com/receipt": "r" * 8000}:
        sys.exit("changed: the model does not read `_meta`")
    if after is not None and sorted(response) != ["content", "isError"]:
        sys.exit("changed: the callback does not take `meta` out")
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder/server.py" 2>"$folder/errors" || {
  status=$?; tail -3 "$folder/errors"; exit "$status"; }
