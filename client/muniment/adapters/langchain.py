"""LangChain: a middleware that decides each call of an agent's tools.

    agent = create_agent(model, tools, name="planner", middleware=[…, govern(gate)])

Pip installs what it needs with ``muniment[langchain]``.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any

from muniment.adapters.core import FrameworkCall, Gate
from muniment.gateway.calls import Run

_UNKNOWN = "The agent has no such tool"
_CUT_OFF = (
    "the model's answer ended at its limit of tokens, within this call perhaps: ask for it again"
)

_HOW_IT_ENDED = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
"""Members of a message's metadata that say why the model's answer ended, by provider."""

_AT_ITS_LIMIT = {
    "length", "model_length", "max_tokens", "model_context_window_exceeded", "incomplete",
}  # fmt: skip


def govern(gate: Gate) -> Any:
    """The middleware; as the last of its agent's, so that none puts another tool in.

    It puts the gate between the agent's tool node and the tool, behind what others edit. A call
    that is denied is answered by a `ToolMessage` with status "error". An `interrupt` in a tool
    waits, and its resume has the same decision, if the graph has a checkpointer.
    """
    base: Any = import_module("langchain.agents.middleware").AgentMiddleware

    class Governed(base):  # type: ignore[misc]  # its package need not be here
        """Has each call's tool ask for a permit."""

        def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            """See `AgentMiddleware`; for agents that are invoked in threads."""
            if request.tool is None:
                return _refusal(request.tool_call, _UNKNOWN)
            return handler(request.override(tool=_Tool(gate, request)))

        async def awrap_tool_call(
            self, request: Any, handler: Callable[[Any], Awaitable[Any]]
        ) -> Any:
            """See `AgentMiddleware`."""
            if request.tool is None:
                return _refusal(request.tool_call, _UNKNOWN)
            return await handler(request.override(tool=_Tool(gate, request)))

    return Governed()


class _Tool:
    """A tool for one call, which runs with a permit; and is the tool in all else."""

    def __init__(self, gate: Gate, request: Any) -> None:
        self._gate = gate
        self._tool = request.tool
        self._runtime = request.runtime
        self._state = request.state
        self._waits = (import_module("langgraph.errors").GraphInterrupt,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_tool"], name)

    def invoke(self, call: Any, config: Any = None, **more: Any) -> Any:
        """See `BaseTool`."""
        decided = dict(call)

        def execute(run: Run) -> Any:
            return _told(run, self._tool.invoke(decided, config, **more))

        refuse = partial(_refusal, call)
        return self._gate.run_blocking(partial(self._asked, decided), execute, refuse, self._waits)

    async def ainvoke(self, call: Any, config: Any = None, **more: Any) -> Any:
        """See `BaseTool`."""
        decided = dict(call)

        async def execute(run: Run) -> Any:
            return _told(run, await self._tool.ainvoke(decided, config, **more))

        refuse = partial(_refusal, call)
        return await self._gate.run(partial(self._asked, decided), execute, refuse, self._waits)

    def _asked(self, call: dict[str, Any]) -> FrameworkCall:
        """Validates a call's arguments, and puts them into it: the tool validates them again.

        Raises ValueError if the tool would get others still, or the model did not end the call.
        """
        if _was_cut_off(call["id"], self._state):
            raise ValueError(_CUT_OFF)
        schema: Any = self._tool.tool_call_schema
        arguments = dict(call["args"])
        injected = set(getattr(self._tool, "_injected_args_keys", ()))  # MCP tools: the runtime
        if is_model := hasattr(schema, "model_validate"):  # else a JSON schema, and no validation
            injected |= self._tool.get_input_schema().model_fields.keys() - schema.model_fields
        arguments = {name: one for name, one in arguments.items() if name not in injected}
        if is_model:
            arguments = schema.model_validate(arguments).model_dump(by_alias=True)
            if schema.model_validate(arguments).model_dump(by_alias=True) != arguments:
                raise ValueError("the schema of the tool's arguments changes them each time")
        call["args"] = {**call["args"], **arguments}
        info: Any = self._runtime.execution_info
        thread = getattr(info, "thread_id", None)
        return FrameworkCall(
            self._tool.name,
            arguments,
            agent=self._runtime.config.get("metadata", {}).get("lc_agent_name"),
            ids={"call": call["id"], "session": thread, "turn": getattr(info, "run_id", None)},
            place=(thread, info.checkpoint_ns, info.task_id, call["id"]) if thread else (),
        )


def _was_cut_off(call: str | None, state: Any) -> bool:
    """Whether a call is where the model's answer ended at its limit of tokens.

    LangChain closes the text of such a call's arguments if the model streams: a number is short of
    digits then, and valid. One that it could not close is among the invalid calls.
    """
    messages = state.get("messages", ()) if isinstance(state, dict) else ()
    for message in reversed(messages):
        calls: Any = getattr(message, "tool_calls", ())
        if any(one["id"] == call for one in calls):
            metadata = message.response_metadata
            ends = {str(metadata.get(name)).lower() for name in _HOW_IT_ENDED}
            is_last = calls[-1]["id"] == call and not message.invalid_tool_calls
            return is_last and bool(ends & _AT_ITS_LIMIT)
    return False


def _refusal(call: Any, text: str) -> Any:
    message: Any = import_module("langchain_core.messages").ToolMessage
    return message(text, name=call["name"], tool_call_id=call["id"], status="error")


def _told(run: Run, answer: Any) -> Any:
    """Tells a run how its call ended; an error that the tool made a message of is a failure."""
    if getattr(answer, "status", None) == "error":
        run.failed()
    elif (content := getattr(answer, "content", None)) is not None:
        run.result(content)
    return answer
