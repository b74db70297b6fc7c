# pyright: reportMissingImports=false
"""CrewAI, for the kit."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_STORAGE_DIR": tempfile.mkdtemp(),
    "OTEL_SDK_DISABLED": "true",
}

from crewai import Agent, BaseLLM, Crew, Task
from crewai.hooks.dispatch import InterceptionPoint, register, unregister
from crewai.mcp import MCPServerStdio
from crewai.tools import tool
from kit import AGENT, Call, Script, Wanted, World
from pydantic import Field

from muniment.adapters.core import Gate
from muniment.adapters.crewai import governed

PACKAGE = "crewai"


class Scripted(BaseLLM):
    """Says what the script has, and notes what it reads."""

    model: str = "scripted"
    world: Any = None
    turns: list[Any] = Field(default_factory=list)

    def call(self, messages: Any, tools: Any = None, **_: Any) -> Any:
        for one in messages:
            if isinstance(one, dict) and one.get("role") == "tool" and not one.get("seen"):
                one["seen"] = True
                self.world.heard.append(str(one["content"]))
        if not self.turns:
            return "done"
        names = [one["function"]["name"] for one in tools or ()]
        return [
            {
                "id": one.id,
                "type": "function",
                # Those of MCP servers are named after the server's command line.
                "function": {
                    "name": names[0] if len(names) == 1 else one.tool,
                    "arguments": json.dumps(one.arguments),
                },
            }
            for one in self.turns.pop(0)
        ]

    def supports_function_calling(self) -> bool:
        return True


def agent_of(world: World, script: Script, role: str, **more: Any) -> Agent:
    tools = [] if "mcps" in more else [tool(one) for one in (world.send, world.broken)]
    model = Scripted(model="scripted", world=world, turns=list(script))
    return Agent(role=role, goal="g", backstory="b", llm=model, tools=tools, **more)


@contextmanager
def editing(edit: dict[str, Any] | None) -> Iterator[None]:
    def edits(context: Any) -> None:
        context.tool_input.update(edit or {})

    if edit is None:
        yield
        return
    register(InterceptionPoint.PRE_TOOL_CALL, edits)
    try:
        yield
    finally:
        unregister(InterceptionPoint.PRE_TOOL_CALL, edits)


def run(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    more: dict[str, Any] = {}
    if wanted.server is not None:
        more["mcps"] = [MCPServerStdio(command=sys.executable, args=wanted.server)]
    if wanted.helper is not None:
        asked = {"task": "help", "context": "none", "coworker": "helper"}
        script = [[Call("delegate_work_to_coworker", asked, "c-1")]]
        more["allow_delegation"] = True
    agents = [agent_of(world, script, AGENT, **more)]
    tasks = [Task(description="go", expected_output="done", agent=agents[0])]
    if wanted.helper is not None:
        agents.append(agent_of(world, wanted.helper, "helper"))
    if wanted.handoff is not None:
        agents.append(agent_of(world, wanted.handoff, "clerk"))
        tasks.append(Task(description="go on", expected_output="done", agent=agents[1]))
    crew = Crew(agents=agents, tasks=tasks, verbose=False)
    before, behind = (None, wanted.edit) if wanted.late else (wanted.edit, None)
    with editing(before), governed(gate), editing(behind):
        crew.kickoff()


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    await asyncio.to_thread(run, gate, world, script, wanted)


def play_in_threads(gate: Gate, world: World, script: Script) -> None:
    run(gate, world, script, Wanted())
