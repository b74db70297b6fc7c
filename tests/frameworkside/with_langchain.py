# pyright: reportMissingImports=false
"""LangChain, for the kit."""

import sys
from contextlib import AsyncExitStack
from typing import Any

from kit import AGENT, Call, Script, Wanted, World
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool, tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from muniment.adapters.core import Gate
from muniment.adapters.langchain import govern

PACKAGE = "langchain"


class Scripted(BaseChatModel):
    world: Any
    turns: list[Any]
    ends: str = "stop"
    at: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **more: Any) -> "Scripted":
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        for one in reversed(messages):
            if not isinstance(one, ToolMessage):
                break
            self.world.heard.append(str(one.content))
        calls = self.turns[self.at] if self.at < len(self.turns) else ()
        self.at += 1
        message = AIMessage(
            content="" if calls else "done",
            response_metadata={"finish_reason": self.ends if calls else "stop"},
            tool_calls=[
                {"name": one.tool, "args": dict(one.arguments), "id": one.id, "type": "tool_call"}
                for one in calls
            ],
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def tools_of(world: World) -> list[Any]:
    return [
        StructuredTool.from_function(world.send),
        StructuredTool.from_function(world.broken),
        StructuredTool.from_function(coroutine=world.hang),
    ]


class Edits(AgentMiddleware):
    def __init__(self, edit: dict[str, Any]) -> None:
        super().__init__()
        self.edit = edit

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        call = {**request.tool_call, "args": {**request.tool_call["args"], **self.edit}}
        return await handler(request.override(tool_call=call))


def agent_of(
    gate: Gate, world: World, script: Script, name: str, tools: Any = (), **more: Any
) -> Any:
    middleware = [*more.pop("middleware", ()), govern(gate), *more.pop("behind", ())]
    model = Scripted(world=world, turns=list(script), ends=more.pop("ends", "stop"))
    tools = [*(more.pop("own", None) or tools_of(world)), *tools]
    return create_agent(model, tools, name=name, middleware=middleware, **more)


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    middleware: list[Any] = []
    behind: list[Any] = []
    if wanted.edit is not None:
        (behind if wanted.late else middleware).append(Edits(wanted.edit))
    if wanted.retry:
        middleware.append(ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False))
    own: Any = None
    tools = []
    if wanted.helper is not None:
        inner = agent_of(gate, world, wanted.helper, "helper")

        @tool("helper")
        async def help_(input: str) -> str:  # noqa: A002
            """Helps."""
            said = await inner.ainvoke({"messages": [HumanMessage(input)]})
            return str(said["messages"][-1].content)

        tools.append(help_)
    async with AsyncExitStack() as stack:
        if wanted.server is not None:
            stdio = {"transport": "stdio", "command": sys.executable, "args": wanted.server}
            client = MultiServerMCPClient({"t": stdio})
            session = await stack.enter_async_context(client.session("t"))
            own = await load_mcp_tools(session)
        ends = "length" if wanted.cut_off else "stop"
        agent = agent_of(
            gate, world, script, AGENT, tools,
            middleware=middleware, behind=behind, own=own, ends=ends,
        )  # fmt: skip
        await agent.ainvoke({"messages": [HumanMessage("go")]})
    if wanted.handoff is not None:
        # A handoff is a step of a graph: the next agent goes on with the messages.
        clerk = agent_of(gate, world, wanted.handoff, "clerk")
        await clerk.ainvoke({"messages": [HumanMessage("go on")]})


def play_in_threads(gate: Gate, world: World, script: Script) -> None:
    agent_of(gate, world, script, AGENT).invoke({"messages": [HumanMessage("go")]})


async def resume(gate: Gate, world: World, call: Call) -> None:
    def asks(to: str) -> str:
        """Asks a person, then sends."""
        interrupt("may I?")
        return world.send(to)

    send = StructuredTool.from_function(asks, name="send")
    model = Scripted(world=world, turns=[[call]])
    agent = create_agent(
        model, [send], name=AGENT, middleware=[govern(gate)], checkpointer=InMemorySaver()
    )
    thread: Any = {"configurable": {"thread_id": "t-1"}}
    await agent.ainvoke({"messages": [HumanMessage("go")]}, thread)
    await agent.ainvoke(Command(resume="yes"), thread)
