#!/usr/bin/env bash
# A LangChain tool of an MCP server is called with an argument that its schema does not have.
#
# Packages: langchain-mcp-adapters 0.3.2, langchain 1.5.2, mcp 1.30.0 (PyPI).
# Seen: the server's tool `send` has the parameter `to` and nothing else, and so says the tool's
#   `tool_call_schema`. The tool that LangChain calls gets `to` and `runtime`, which is the framework's
#   own ToolRuntime, with the agent's whole state in it. The MCP server gets `to`.
# Not expected because: for a tool with a pydantic schema, what is put in is a field of the tool's full
#   schema and not of its call's, so both together tell what is whose. The tools of MCP servers have a
#   JSON schema, which has no word of it: whoever wraps such a tool to log, hash or check its arguments
#   finds an object that is no JSON, and the conversation in it.
# For users: take out what the schema's `properties` do not name, or what `_injected_args_keys` of the
#   tool says, before arguments are compared, logged or sent anywhere.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  langchain-mcp-adapters==0.3.2 langchain==1.5.2 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
from mcp.server.fastmcp import FastMCP

server = FastMCP("mail")


@server.tool()
def send(to: str) -> str:
    """Send."""
    return f"sent to {to}"


server.run()
PY
"$folder/venv/bin/python" - "$folder/server.py" <<'PY'
import asyncio
import sys
from importlib.metadata import version

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

seen = {}


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools, **more):
        return self


class Wrapped:
    """The tool, and a look at what it is called with."""

    def __init__(self, tool):
        self.tool = tool

    def __getattr__(self, name):
        return getattr(self.tool, name)

    async def ainvoke(self, call, config=None, **more):
        seen["schema"] = sorted(self.tool.tool_call_schema["properties"])
        seen["called"] = {name: type(one).__name__ for name, one in call["args"].items()}
        return await self.tool.ainvoke(call, config, **more)


@wrap_tool_call
async def look(request, handler):
    seen["asked"] = sorted(request.tool_call["args"])
    return await handler(request.override(tool=Wrapped(request.tool)))


async def main():
    call = {"name": "send", "args": {"to": "ada"}, "id": "c-1"}
    turns = [AIMessage(content="", tool_calls=[call]), AIMessage(content="done")]
    stdio = {"transport": "stdio", "command": sys.executable, "args": sys.argv[1:]}
    async with MultiServerMCPClient({"mail": stdio}).session("mail") as session:
        tools = await load_mcp_tools(session)
        agent = create_agent(Scripted(messages=iter(turns)), tools, middleware=[look])
        said = await agent.ainvoke({"messages": [HumanMessage("go")]})
    seen["said"] = said["messages"][-2].text


asyncio.run(main())
for name in ("langchain-mcp-adapters", "langchain", "mcp"):
    print(name, version(name))
for name, one in seen.items():
    print(f"{name}: {one}")
as_said = seen["schema"] == seen["asked"] == ["to"] and seen["said"] == "sent to ada"
raise SystemExit(0 if as_said and seen["called"] == {"to": "str", "runtime": "ToolRuntime"} else 1)
PY
