"""Pydantic AI: a capability that decides each call of an agent's tools.

    agent = Agent(model, toolsets=[…], capabilities=[govern(gate)])

Pip installs what it needs with ``muniment[pydantic-ai]``.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Never

from muniment.adapters.core import FrameworkCall, Gate
from muniment.gateway.calls import Run


def govern(gate: Gate) -> Any:
    """The capability; agents that an agent has as tools need one of their own.

    It wraps the assembled toolset, behind validation and all hooks, so that what is decided is what
    runs, and functions that an agent's output is handed to. A call that is denied is `ToolFailed`.
    A tool that raises `ApprovalRequired` or `CallDeferred` waits, and its resume in the same
    conversation has the same decision.
    """
    return _capability()(gate)


@cache
def _capability() -> type[Any]:
    capabilities: Any = import_module("pydantic_ai.capabilities")
    exceptions: Any = import_module("pydantic_ai.exceptions")
    toolsets: Any = import_module("pydantic_ai.toolsets")
    ordering: Any = import_module("pydantic_ai.capabilities.abstract").CapabilityOrdering
    waits = (exceptions.ApprovalRequired, exceptions.CallDeferred)

    def refuse(text: str) -> Never:
        raise exceptions.ToolFailed(text)

    @dataclass
    class GovernedToolset(toolsets.WrapperToolset):  # type: ignore[misc]  # it need not be here
        """Runs what has a permit."""

        gate: Gate

        async def call_tool(self, name: str, tool_args: Any, ctx: Any, tool: Any) -> Any:
            """See `AbstractToolset`."""

            async def execute(run: Run) -> Any:
                return run.result(await self.wrapped.call_tool(name, tool_args, ctx, tool))

            return await self.gate.run(
                lambda: _asked(name, tool_args, ctx, ctx.tool_call_id), execute, refuse, waits
            )

    class Governed(capabilities.AbstractCapability):  # type: ignore[misc]  # nor need this
        """Has all tools of an agent governed."""

        def __init__(self, gate: Gate) -> None:
            self._gate = gate

        def get_ordering(self) -> Any:
            """Says that nothing comes between this and the tools."""
            return ordering(position="innermost")

        def get_wrapper_toolset(self, toolset: Any) -> Any:
            """Wraps what has been assembled, MCP servers' tools included."""
            return GovernedToolset(toolset, self._gate)

        async def wrap_output_process(
            self, ctx: Any, *, output_context: Any, output: Any, handler: Any
        ) -> Any:
            """Decides on a function that gets the output; everything else is no action."""
            if not output_context.has_function:
                return await handler(output)
            call = output_context.tool_call
            name = output_context.function_name or (call.tool_name if call else "output")

            async def execute(run: Run) -> Any:
                return run.result(await handler(output))

            return await self._gate.run(
                lambda: _asked(name, output, ctx, call.tool_call_id if call else None),
                execute,
                refuse,
            )

    return Governed


def _asked(name: str, arguments: Any, ctx: Any, call: str | None) -> FrameworkCall:
    # In a conversation, a call's answer is the n-th: also in the process that resumes it.
    answers = sum(message.kind == "response" for message in ctx.messages)
    session = ctx.conversation_id
    return FrameworkCall(
        name,
        arguments,
        agent=getattr(ctx.agent, "name", None),
        ids={"call": call, "session": session, "turn": ctx.run_id},
        place=(session, answers, call) if session and call else (),
    )
