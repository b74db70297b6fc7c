# pyright: reportMissingImports=false
"""Google ADK, for the kit."""

import sys
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools import AgentTool, FunctionTool
from google.adk.tools.mcp_tool import McpToolset, StdioConnectionParams
from google.genai import types
from kit import AGENT, SECONDS, Call, Script, Wanted, World
from mcp import StdioServerParameters

from muniment.adapters.core import Gate
from muniment.adapters.google_adk import govern

PACKAGE = "google-adk"
CONFIRMATION = "adk_request_confirmation"


class Scripted(BaseLlm):
    """Says what the script has, and notes what it reads; at its end it hands over."""

    model: str = "scripted"
    world: Any = None
    turns: list[Any]
    handoff: str | None = None

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> Any:
        for part in llm_request.contents[-1].parts or ():
            if part.function_response is not None:
                found = dict(part.function_response.response)
                self.world.heard.append(str(found.get("result", found.get("error", found))))
        parts = [types.Part(text="done")]
        if self.turns:
            parts = [
                types.Part(
                    function_call=types.FunctionCall(
                        id=one.id, name=one.tool, args=dict(one.arguments)
                    )
                )
                for one in self.turns.pop(0)
            ]
        elif self.handoff is not None:
            transfer = {"agent_name": self.handoff}
            self.handoff = None
            call = types.FunctionCall(id="handoff", name="transfer_to_agent", args=transfer)
            parts = [types.Part(function_call=call)]
        yield LlmResponse(content=types.Content(role="model", parts=parts))


def agent_of(
    world: World, script: Script, name: str, tools: Any = (), toolset: Any = None, **more: Any
) -> LlmAgent:
    model = Scripted(world=world, turns=list(script), handoff=more.pop("handoff", None))
    tools = [toolset] if toolset else [world.send, world.broken, world.hang, *tools]
    return LlmAgent(name=name, model=model, tools=tools, **more)


async def run(runner: Any, session: Any, *parts: Any) -> list[Any]:
    message = types.Content(role="user", parts=list(parts))
    found = []
    async for event in runner.run_async(
        user_id=session.user_id, session_id=session.id, new_message=message
    ):
        found += event.get_function_calls()
    return found


async def start(agent: LlmAgent, user: str | None) -> tuple[Any, Any]:
    runner = InMemoryRunner(agent, app_name="kit")
    runner.auto_create_session = True
    session = await runner.session_service.create_session(app_name="kit", user_id=user or "u")
    return runner, session


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    more: dict[str, Any] = {}
    tools: list[Any] = []
    if wanted.edit is not None:

        def edits(tool: Any, args: dict[str, Any], tool_context: Any) -> None:
            args.update(wanted.edit)

        more["before_tool_callback"] = edits  # nothing comes later
    if wanted.helper is not None:
        inner = agent_of(world, wanted.helper, "helper", description="Helps.")
        tools.append(AgentTool(inner))
    if wanted.handoff is not None:
        more["sub_agents"] = [agent_of(world, wanted.handoff, "clerk")]
        more["handoff"] = "clerk"
    toolset = None
    if wanted.server is not None:
        params = StdioServerParameters(command=sys.executable, args=wanted.server)
        connection = StdioConnectionParams(server_params=params, timeout=SECONDS)
        toolset = McpToolset(connection_params=connection)
    agent = govern(gate, agent_of(world, script, AGENT, tools, toolset, **more))
    runner, session = await start(agent, gate.user)
    await run(runner, session, types.Part(text="go"))
    if toolset is not None:
        await toolset.close()


async def resume(gate: Gate, world: World, call: Call) -> None:
    def send(to: str) -> str:
        """Sends, once a person has said yes."""
        return world.send(to)

    model = Scripted(world=world, turns=[[call]])
    tool = FunctionTool(send, require_confirmation=True)
    agent = govern(gate, LlmAgent(name=AGENT, model=model, tools=[tool]))
    runner, session = await start(agent, gate.user)
    calls = await run(runner, session, types.Part(text="go"))
    assert world.ran == []
    [asked] = [one for one in calls if one.name == CONFIRMATION]
    world.heard.clear()
    answer = types.FunctionResponse(id=asked.id, name=CONFIRMATION, response={"confirmed": True})
    await run(runner, session, types.Part(function_response=answer))
