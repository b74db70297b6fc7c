"""Google ADK: agents whose tools all ask the gate, those of toolsets too.

    agent = govern(gate, LlmAgent(name="planner", tools=[…], sub_agents=[…]))

Pip installs what it needs with ``muniment[google-adk]``.
"""

import copy
from importlib import import_module
from typing import Any

from muniment.adapters.core import FrameworkCall, Gate
from muniment.gateway.calls import Run

_GOVERNED = "_muniment_gate"


def govern(gate: Gate, agent: Any) -> Any:
    """Governs an agent and all agents below it or in its tools; gives it back.

    What runs a tool is wrapped itself, behind plugins, callbacks and confirmations, so that what is
    decided is what runs. Tools that an agent gets afterwards are not governed.

    Raises:
        TypeError: If there is a tool or agent of a kind that cannot be governed, as workflows.
        ValueError: If there is a tool that runs at the provider, or an agent with an executor of
            code, which runs what the model writes without a tool.
    """
    base: Any = import_module("google.adk.agents").BaseAgent
    if not isinstance(agent, base) or hasattr(agent, "graph"):
        raise TypeError(f"{type(agent).__name__} cannot be governed: govern the agents within")
    if getattr(agent, "code_executor", None) is not None:
        raise ValueError(
            f"{agent.name}: its code executor runs code without a tool, so that no decision can be "
            "asked for"
        )
    tools = getattr(agent, "tools", None)
    if tools:
        agent.tools = [_governed(gate, one) for one in tools]
    for one in getattr(agent, "sub_agents", ()):
        govern(gate, one)
    return agent


def _governed(gate: Gate, tool: Any, prefix: str = "") -> Any:
    kinds: Any = import_module("google.adk.tools")
    toolset: Any = import_module("google.adk.tools.base_toolset").BaseToolset
    if getattr(tool, _GOVERNED, None) is not None:
        return tool
    if isinstance(tool, toolset):
        return _governed_toolset(gate, tool)
    if not isinstance(tool, kinds.BaseTool):
        if not callable(tool) or isinstance(tool, import_module("google.adk.workflow").BaseNode):
            raise TypeError(f"{type(tool).__name__} cannot be governed")
        tool = kinds.FunctionTool(func=tool)
    if type(tool).run_async is kinds.BaseTool.run_async:
        raise ValueError(f"{tool.name} runs at the provider, where no decision can be asked for")
    if isinstance(tool, import_module("google.adk.tools.agent_tool").AgentTool):
        govern(gate, tool.agent)
    governed = copy.copy(tool)
    governed.run_async = _Runs(gate, tool, prefix + tool.name)
    setattr(governed, _GOVERNED, gate)
    return governed


def _governed_toolset(gate: Gate, toolset: Any) -> Any:
    governed = copy.copy(toolset)

    async def get_tools(readonly_context: Any = None) -> list[Any]:
        # The framework puts the prefix before the names of what this gives.
        prefix = f"{toolset.tool_name_prefix}_" if toolset.tool_name_prefix else ""
        return [_governed(gate, one, prefix) for one in await toolset.get_tools(readonly_context)]

    governed.get_tools = get_tools
    setattr(governed, _GOVERNED, gate)
    return governed


class _Runs:
    """What runs a tool, once it has a permit."""

    def __init__(self, gate: Gate, tool: Any, name: str) -> None:
        self._gate = gate
        self._tool = tool
        self._name = name

    async def __call__(self, *, args: dict[str, Any], tool_context: Any) -> Any:
        """See `BaseTool.run_async`."""
        decided: dict[str, Any] = {}

        def ask() -> FrameworkCall:
            # Once more in the tool itself, which then changes nothing any more.
            validate = getattr(self._tool, "_preprocess_args_with_validation", None)
            arguments, errors = validate(args) if validate is not None else (dict(args), [])
            if errors:
                raise ValueError("; ".join(map(str, errors)))
            decided.update(arguments)
            return FrameworkCall(
                self._name,
                decided,
                agent=tool_context.agent_name,
                ids={
                    "call": tool_context.function_call_id,
                    "session": tool_context.session.id,
                    "turn": tool_context.invocation_id,
                    "user": tool_context.user_id,
                },
            )

        async def execute(run: Run) -> Any:
            answer = await self._tool.run_async(args=decided, tool_context=tool_context)
            return run.result(answer)

        return await self._gate.run(ask, execute, lambda text: {"error": text})
