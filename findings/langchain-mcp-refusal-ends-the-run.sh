#!/usr/bin/env bash
# An MCP server's "denied" ends the whole LangChain run, or is heard by the model: it depends on the form.
#
# Packages: langchain-mcp-adapters 0.3.2, langchain 1.5.2, langchain-core 1.8.3, mcp 1.30.0 (PyPI).
# Seen: a tool call refused by a result with `isError: true` becomes a ToolMessage with status "error";
#   the model reads the reason and the run ends normally. The same refusal as a JSON-RPC error (code
#   -32001) is raised out of the agent as McpError: of two parallel calls the other one has run, and
#   its result and the model's last word are lost with the run.
# Not expected because: a refusal of one call is about that call, and JSON-RPC's error is the protocol's
#   own word for it; AuthZEN's MCP binding draft tells enforcement points to use it.
# For users: a gate that follows the draft takes down every LangChain agent behind it at the first
#   denial, after which a retry of the run repeats the calls that had succeeded. Answer a result with
#   isError and the reason as text.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  langchain-mcp-adapters==0.3.2 langchain==1.5.2 langchain-core==1.8.3 langgraph==1.2.24 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio
import sys

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import McpError

server = Server("gate")


@server.list_tools()
async def list_tools():
    names = ("read", "refused_by_result", "refused_by_error")
    return [types.Tool(name=name, description=name, inputSchema={"type": "object"}) for name in names]


async def call_tool(request):
    with open(sys.argv[1], "a") as file:
        file.write(request.params.name + "\n")
    if request.params.name == "refused_by_error":
        await asyncio.sleep(1)  # The other call of the same step is answered first.
        raise McpError(types.ErrorData(code=-32001, message="denied by policy"))
    refused = request.params.name == "refused_by_result"
    text = types.TextContent(type="text", text="denied by policy" if refused else "read it")
    return types.ServerResult(types.CallToolResult(content=[text], isError=refused))


server.request_handlers[types.CallToolRequest] = call_tool


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
"$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio
import sys

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient

folder = sys.argv[1]


class Model(GenericFakeChatModel):
    def bind_tools(self, tools, **ignored):
        return self


async def run(tools, names):
    calls = [{"name": name, "args": {}, "id": name, "type": "tool_call"} for name in names]
    answers = iter([AIMessage(content="", tool_calls=calls), AIMessage(content="done")])
    try:
        state = await create_agent(Model(messages=answers), tools).ainvoke({"messages": [HumanMessage("go")]})
    except Exception as error:
        return type(error).__name__
    heard = [(message.status, message.content[0]["text"]) for message in state["messages"] if isinstance(message, ToolMessage)]
    return [*heard, state["messages"][-1].content]


async def main():
    command = {"command": sys.executable, "args": [f"{folder}/server.py", f"{folder}/calls"], "transport": "stdio"}
    tools = await MultiServerMCPClient({"gate": command}).get_tools()
    expected = {
        ("read", "refused_by_result"): [("success", "read it"), ("error", "denied by policy"), "done"],
        ("read", "refused_by_error"): "McpError",
    }
    for names, wanted in expected.items():
        seen = await run(tools, names)
        print(names, "->", seen)
        if seen != wanted:
            sys.exit(f"changed: expected {wanted}")
    with open(f"{folder}/calls") as file:
        calls = file.read().split()
    print("calls that reached the server:", calls)
    if calls.count("read") != 2:
        sys.exit("changed: the other call of the step did not run")


asyncio.run(main())
PY
