# pyright: reportMissingImports=false
"""The OpenAI Agents SDK, for the kit."""

import contextlib
import json
import sys
from typing import Any

from agents import Agent, RunConfig, Runner, function_tool, set_trace_processors
from agents.mcp import MCPServerStdio
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from kit import AGENT, Call, Script, Wanted, World

from muniment.adapters.core import Gate
from muniment.adapters.openai_agents import govern

PACKAGE = "openai-agents"
set_trace_processors([])


def model_of(world: World, script: Script, handoff: str | None = None) -> ScriptedModel:
    """Says what the script has, and notes what it reads; at its end it hands over."""

    def responder(output: list[Any]) -> Any:
        def respond(call: Any) -> Any:
            for item in reversed(call.input if isinstance(call.input, list) else []):
                if item.get("type") != "function_call_output":
                    break
                world.heard.append(str(item["output"]))
            return output

        return respond

    turns = [
        [function_call(one.tool, json.dumps(one.arguments), call_id=one.id) for one in calls]
        for calls in script
    ]
    if handoff is not None:
        turns.append([function_call(f"transfer_to_{handoff}", "{}", call_id="handoff")])
    turns.append([assistant_message("done")])
    return ScriptedModel([ModelStep.respond(responder(output)) for output in turns])


def tools_of(world: World) -> list[Any]:
    return [function_tool(one) for one in (world.send, world.broken, world.hang)]


def agent_of(gate: Gate, world: World, script: Script, name: str, **more: Any) -> Any:
    handoff = more.pop("handoff", None)
    agent = Agent(
        name=name,
        model=model_of(world, script, handoff),
        tools=[] if "mcp_servers" in more else [*tools_of(world), *more.pop("tools", ())],
        **more,
    )
    return govern(gate, agent)


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    more: dict[str, Any] = {}
    if wanted.helper is not None:
        inner = agent_of(gate, world, wanted.helper, "helper")
        more["tools"] = [inner.as_tool("helper", "Helps.")]
    if wanted.handoff is not None:
        more["handoffs"] = [agent_of(gate, world, wanted.handoff, "clerk")]
        more["handoff"] = "clerk"
    async with contextlib.AsyncExitStack() as stack:
        if wanted.server is not None:
            params: Any = {"command": sys.executable, "args": wanted.server}
            more["mcp_servers"] = [await stack.enter_async_context(MCPServerStdio(params))]
        agent = agent_of(gate, world, script, AGENT, **more)
        await Runner.run(agent, "go", run_config=RunConfig(group_id="s-1"))


async def resume(gate: Gate, world: World, call: Call) -> None:
    @function_tool(needs_approval=True)
    def send(to: str) -> str:
        """Sends, once a person has said yes."""
        return world.send(to)

    agent = govern(gate, Agent(name=AGENT, model=model_of(world, [[call]]), tools=[send]))
    waiting = await Runner.run(agent, "go")
    assert world.ran == []
    state = waiting.to_state()
    for one in waiting.interruptions:
        state.approve(one)
    await Runner.run(agent, state)
