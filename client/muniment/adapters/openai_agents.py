"""OpenAI Agents SDK: agents whose tools all ask the gate, those of MCP servers too.

    agent = govern(gate, Agent(name="planner", tools=[…], mcp_servers=[…], handoffs=[…]))

Pip installs what it needs with ``muniment[openai-agents]``.
"""

import copy
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from typing import Any

from muniment.adapters.core import FrameworkCall, Gate
from muniment.gateway.calls import Run

Invoke = Callable[[Any, str], Awaitable[Any]]


def govern(gate: Gate, agent: Any) -> Any:
    """An agent like `agent`, for `Runner`, `as_tool` and other agents' handoffs.

    The function of each tool is wrapped itself, behind guardrails and approvals, so that what is
    decided is what runs. Agents that it hands off to, or has as tools, are governed by themselves.
    While it has tools of other kinds its runs end with a `UserError`: hosted ones run at the
    provider, shells and computers without a function.
    """
    kind = _governed_agent()
    members = {one.name: getattr(agent, one.name) for one in fields(agent) if one.init}
    return kind(**members, muniment_gate=gate)


@cache
def _governed_agent() -> type[Any]:
    agents: Any = import_module("agents")
    base: Any = agents.Agent

    @dataclass
    class GovernedAgent(base):  # type: ignore[misc]  # its package need not be here
        """An agent whose tools are wrapped when they are listed, whatever they come from."""

        muniment_gate: Gate | None = None

        async def get_all_tools(self, run_context: Any) -> list[Any]:
            """See `Agent`; raises UserError if there is a tool that cannot be governed."""
            if self.muniment_gate is None:
                raise agents.UserError(f"agent {self.name}: it has no gate")
            tools = await super().get_all_tools(run_context)
            return [self._wrapped(self.muniment_gate, one) for one in tools]

        def _wrapped(self, gate: Gate, tool: Any) -> Any:
            if not isinstance(tool, agents.FunctionTool):
                raise agents.UserError(
                    f"agent {self.name}: {type(tool).__name__} runs without a function of this "
                    "program, where no decision can be asked for"
                )
            wrapped = copy.copy(tool)
            invoke = wrapped.on_invoke_tool
            if hasattr(invoke, "_invoke_tool_impl"):
                # Behind what makes texts of a tool's exceptions, so that these are outcomes.
                invoke = copy.copy(invoke)
                invoke._invoke_tool_impl = _Governed(gate, invoke._invoke_tool_impl)  # noqa: SLF001
                wrapped.on_invoke_tool = invoke
            else:
                wrapped.on_invoke_tool = _Governed(gate, invoke)
            return wrapped

    return GovernedAgent


class _Governed:
    """A tool's function that asks first."""

    def __init__(self, gate: Gate, invoke: Invoke) -> None:
        self._gate = gate
        self._invoke = invoke

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_invoke"], name)

    async def __call__(self, context: Any, arguments: str) -> Any:
        async def execute(run: Run) -> Any:
            return run.result(await self._invoke(context, arguments))

        return await self._gate.run(lambda: _asked(context, arguments), execute, str)


def _asked(context: Any, arguments: str) -> FrameworkCall:
    trace = import_module("agents").get_current_trace()
    return FrameworkCall(
        context.tool_name,
        json.loads(arguments or "{}", object_pairs_hook=_members),
        agent=context.agent.name if context.agent is not None else None,
        ids={
            "call": context.tool_call_id,
            "session": getattr(trace, "group_id", None),
            "turn": getattr(trace, "trace_id", None),
        },
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("arguments: a member is there twice")
    return members
