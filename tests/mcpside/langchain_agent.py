# pyright: reportMissingImports=false
"""A LangChain agent with the tools of an MCP server: COMMAND…; prints what its model reads.

It runs in the environment of `scripts/frameworks`, with version 1 of the MCP SDK.
"""

import asyncio
import json
import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

ASKED = [("add", {"a": 2, "b": 3}), ("send", {"to": "eve"}), ("send", {"to": "ada"})]


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **more: Any) -> "Scripted":
        return self


async def main() -> None:
    turns = [
        AIMessage(content="", tool_calls=[{"name": tool, "args": args, "id": f"c-{number}"}])
        for number, (tool, args) in enumerate(ASKED)
    ]
    model = Scripted(messages=iter([*turns, AIMessage(content="done")]))
    command, *args = sys.argv[1:]
    stdio: Any = {"transport": "stdio", "command": command, "args": args}
    async with MultiServerMCPClient({"t": stdio}).session("t") as session:
        agent = create_agent(model, await load_mcp_tools(session), name="planner")
        said = await agent.ainvoke({"messages": [HumanMessage("go")]})
    read = [one for one in said["messages"] if isinstance(one, ToolMessage)]
    json.dump([[one.status, one.text] for one in read], sys.stdout)


asyncio.run(main())
