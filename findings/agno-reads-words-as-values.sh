#!/usr/bin/env bash
# Agno: an argument that is the word "none" or "true" reaches the tool as null or true.
#
# Packages: agno 3.1.10, fastmcp 4.1.6, mcp 2.3.0 (PyPI).
# Seen: the model calls a tool of an MCP server with {"name": "None", "answer": "TRUE", "tags": ["none"]}, all of them
#   texts in the tool's schema. The hook and the server have {"name": null, "answer": true, "tags": ["none"]},
#   and so has the run's list of tools; the model's message in the session keeps the texts. A Python function
#   with `name: str` fails on it ("Input should be a valid string"), one with `str | None` gets None.
# Not expected because: the arguments are JSON, whose null and true need no help, and the tool's schema, which
#   Agno hands to the model, says that they are texts.
# For users: "forward to: None" is carried out as "forward to nobody", and a digest of the model's call is not that
#   of the call that runs. Take such words inside of an object or a list, which are left alone; decide and
#   log in a hook or behind it, at the tool, not on the model's message.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check agno==3.1.10 fastmcp==4.1.6 mcp==2.3.0
cat >"$folder/server.py" <<'PY'
import asyncio
import json
import sys

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

text = {"type": "string"}
schema = {"type": "object", "properties": {"name": text, "answer": text, "tags": {"type": "array", "items": text}}}


async def list_tools(context, params):
    return types.ListToolsResult(tools=[types.Tool(name="rename", description="give a name", input_schema=schema)])


async def call_tool(context, params):
    with open(sys.argv[1], "w") as file:
        json.dump(params.arguments, file)
    return types.CallToolResult(content=[types.TextContent(type="text", text="renamed")])


server = Server("names", on_list_tools=list_tools, on_call_tool=call_tool)


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
cat >"$folder/run.py" <<'PY'
import asyncio
import json
import logging
import sys

from agno.agent import Agent
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.tools.mcp import MCPTools
from mcp import StdioServerParameters

logging.disable()
ASKED = {"name": "None", "answer": "TRUE", "tags": ["none"]}
GOT = {"name": None, "answer": True, "tags": ["none"]}
hooked, ran = [], []


class Scripted(Model):
    """Calls the tool once, and is done."""

    asked: dict

    def invoke(self, *args, **kwargs):
        if any(message.role == "tool" for message in kwargs["messages"]):
            return ModelResponse(role="assistant", content="done")
        function = {"name": "rename", "arguments": json.dumps(self.asked)}
        return ModelResponse(role="assistant", tool_calls=[{"id": "one", "type": "function", "function": function}])

    async def ainvoke(self, *args, **kwargs):
        return self.invoke(*args, **kwargs)

    def invoke_stream(self, *args, **kwargs):
        yield self.invoke(*args, **kwargs)

    async def ainvoke_stream(self, *args, **kwargs):
        yield self.invoke(*args, **kwargs)

    def _parse_provider_response(self, response, **kwargs):
        return response

    def _parse_provider_response_delta(self, response):
        return response


async def hook(function_name, function_call, arguments):
    hooked.append(dict(arguments))
    return await function_call(**arguments)


def strict(name: str) -> str:
    """Give a new name."""
    ran.append(name)
    return "renamed"


def lenient(name: str | None) -> str:
    """Give a new name."""
    ran.append(name)
    return "renamed"


def agent(asked, tool, **options):
    model = Scripted(id="scripted")
    model.asked = asked
    return Agent(model=model, tools=[tool], telemetry=False, **options)


async def main():
    parameters = StdioServerParameters(command=sys.executable, args=sys.argv[1:])
    async with MCPTools(server_params=parameters) as tools:
        run = await agent(ASKED, tools, tool_hooks=[hook]).arun("go")
    message = next(message for message in run.messages if message.tool_calls)
    written = json.loads(message.tool_calls[0]["function"]["arguments"])
    with open(sys.argv[2]) as file:
        got = json.load(file)
    print("the model asks for", written, "the hook sees", *hooked, "the server gets", got, sep="\n  ")
    if written != ASKED or hooked != [GOT] or got != GOT or run.tools[0].tool_args != GOT:
        sys.exit("changed: other arguments")
    for tool, expected in (strict, []), (lenient, [None]):
        ran.clear()
        tool.__name__ = "rename"
        run = await agent({"name": "None"}, tool).arun("go")
        result = " ".join(run.tools[0].result.split())
        print(f"a function gets {ran} for the name 'None': {result[:90]}")
        if ran != expected or ("valid string" in result) == bool(expected):
            sys.exit("changed: a function gets another name")


asyncio.run(main())
PY
timeout 120 "$folder/venv/bin/python" "$folder/run.py" "$folder/server.py" "$folder/arguments" 2>"$folder/errors" || {
  status=$?; tail -n 3 "$folder/errors"; exit "$status"; }
