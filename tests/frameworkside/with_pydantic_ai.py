# pyright: reportMissingImports=false
"""Pydantic AI, for the kit."""

import sys
from typing import Any

from fastmcp.client.transports import StdioTransport
from kit import AGENT, Call, Script, Wanted, World
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
)
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.capabilities.abstract import CapabilityOrdering
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from muniment.adapters.core import Gate
from muniment.adapters.pydantic_ai import govern

PACKAGE = "pydantic-ai-slim"


def model_of(world: World, script: Script) -> FunctionModel:
    turns = iter(script)

    def answer(messages: Any, info: Any) -> ModelResponse:
        for part in messages[-1].parts:
            if part.part_kind in ("tool-return", "retry-prompt"):
                world.heard.append(str(part.content))
        calls = next(turns, ())
        return ModelResponse(
            parts=[ToolCallPart(one.tool, dict(one.arguments), one.id) for one in calls]
            or [TextPart("done")]
        )

    return FunctionModel(answer)


class Edits(AbstractCapability[Any]):
    """Edits as late as capabilities can: what the gate is said to be innermost of."""

    def __init__(self, edit: dict[str, Any]) -> None:
        self.edit = edit

    async def before_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
        return {**args, **self.edit}


class EditsInnermost(Edits):
    def get_ordering(self) -> Any:
        return CapabilityOrdering(position="innermost")

    async def wrap_tool_execute(
        self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any
    ) -> Any:
        return await handler({**args, **self.edit})


def agent_of(gate: Gate, world: World, script: Script, name: str, **more: Any) -> Any:
    capabilities = [govern(gate), *more.pop("capabilities", ())]
    tools = [world.send, world.broken, world.hang, *more.pop("tools", ())]
    if "toolsets" in more:
        tools = []
    model = model_of(world, script)
    return Agent(model, name=name, tools=tools, capabilities=capabilities, **more)


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    more: dict[str, Any] = {}
    if wanted.edit is not None:
        more["capabilities"] = [(EditsInnermost if wanted.late else Edits)(wanted.edit)]
    if wanted.helper is not None:
        inner = agent_of(gate, world, wanted.helper, "helper")

        async def help_(input: str) -> str:  # noqa: A002
            """Helps."""
            return str((await inner.run(input)).output)

        help_.__name__ = "helper"
        more["tools"] = [help_]
    if wanted.server is not None:
        more["toolsets"] = [MCPToolset(StdioTransport(sys.executable, wanted.server))]
    await agent_of(gate, world, script, AGENT, **more).run("go")
    if wanted.handoff is not None:
        await agent_of(gate, world, wanted.handoff, "clerk").run("go on")


async def resume(gate: Gate, world: World, call: Call) -> None:
    async def send(ctx: RunContext[Any], to: str) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        return world.send(to)

    agent: Any = Agent(
        model_of(world, [[call]]),
        name=AGENT,
        tools=[send],
        capabilities=[govern(gate)],
        output_type=[str, DeferredToolRequests],
    )
    waiting = await agent.run("go")
    assert world.ran == []
    await agent.run(
        message_history=waiting.all_messages(),
        deferred_tool_results=DeferredToolResults(approvals={call.id: True}),
    )
