# pyright: reportMissingImports=false
"""Microsoft Agent Framework, for the kit."""

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationContext,
    FunctionInvocationLayer,
    MCPStdioTool,
    Message,
    function_middleware,
    tool,
)
from kit import AGENT, Call, Script, Wanted, World

from muniment.adapters.agent_framework import govern
from muniment.adapters.core import Gate

PACKAGE = "agent-framework-core"


class Scripted(FunctionInvocationLayer, BaseChatClient):
    """Says what the script has, and notes what it reads."""

    def __init__(self, world: World, script: Script) -> None:
        super().__init__()
        self.world = world
        self.turns = list(script)

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_: Any
    ) -> Any:
        async def answer() -> Any:
            for content in messages[-1].contents:
                if content.type == "function_result":
                    self.world.heard.append(str(content.result))
            calls = self.turns.pop(0) if self.turns else ()
            contents = [
                Content.from_function_call(one.id, one.tool, arguments=json.dumps(one.arguments))
                for one in calls
            ]
            said = contents or [Content.from_text("done")]
            return ChatResponse(messages=[Message("assistant", said)])

        async def updates() -> Any:
            said = (await answer()).messages[0].contents
            yield ChatResponseUpdate(contents=said, role="assistant")

        if stream:
            return self._build_response_stream(updates())
        return answer()


def agent_of(gate: Gate, world: World, script: Script, name: str, **more: Any) -> Agent:
    tools: list[Any] = [world.send, world.broken, world.hang, *more.pop("tools", ())]
    if "server" in more:
        tools = [more.pop("server")]
    middleware = [*more.pop("middleware", ()), govern(gate, name)]
    client = Scripted(world, script)
    return Agent(client, name=name, tools=tools, middleware=middleware, **more)


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    more: dict[str, Any] = {}
    behind: list[Any] = []
    if wanted.edit is not None:

        @function_middleware
        async def edits(context: FunctionInvocationContext, call_next: Any) -> None:
            context.arguments = {**context.arguments, **wanted.edit}
            await call_next()

        if wanted.late:
            behind.append(edits)
        else:
            more["middleware"] = [edits]
    if wanted.retry:

        @function_middleware
        async def again(context: FunctionInvocationContext, call_next: Any) -> None:
            try:
                await call_next()
            except RuntimeError:
                await call_next()

        more["middleware"] = [again]
    if wanted.helper is not None:
        inner = agent_of(gate, world, wanted.helper, "helper", description="Helps.")
        more["tools"] = [inner.as_tool(name="helper", arg_name="input")]
    async with contextlib.AsyncExitStack() as stack:
        if wanted.server is not None:
            found = MCPStdioTool("tests", sys.executable, args=wanted.server)
            more["server"] = await stack.enter_async_context(found)
        await agent_of(gate, world, script, AGENT, **more).run("go", middleware=behind)
    if wanted.handoff is not None:
        await agent_of(gate, world, wanted.handoff, "clerk").run("go on")


async def resume(gate: Gate, world: World, call: Call) -> None:
    @tool(approval_mode="always_require")
    def send(to: str) -> str:
        """Sends, once a person has said yes."""
        return world.send(to)

    client = Scripted(world, [[call]])
    agent = Agent(client, name=AGENT, tools=[send], middleware=[govern(gate, AGENT)])
    session = agent.create_session()
    waiting = await agent.run("go", session=session)
    assert world.ran == []
    [request] = waiting.user_input_requests
    answer = Message("user", [request.to_function_approval_response(True)])
    await agent.run([answer], session=session)
