"""LangChain: a middleware that decides each call of an agent's tools.

    agent = create_agent(model, tools, middleware=[…, govern(gate)])  # last: nothing edits then

Pip installs what it needs with ``muniment[langchain]``.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from typing import Any

from muniment.adapters.core import Asked, Gate
from muniment.gateway.calls import Run


def govern(gate: Gate) -> Any:
    """The middleware; it has to be the last one of its agent's.

    A model's call that is denied is answered by a `ToolMessage` with status "error". An `interrupt`
    in a tool waits, and its resume has the same decision, if the graph has a checkpointer.
    """
    return _middleware()(gate)


@cache
def _middleware() -> type[Any]:
    base: Any = import_module("langchain.agents.middleware").AgentMiddleware
    message: Any = import_module("langchain_core.messages").ToolMessage
    waits = (import_module("langgraph.errors").GraphInterrupt,)

    class Governed(base):  # type: ignore[misc]  # its package need not be here
        """Runs what has a permit."""

        def __init__(self, gate: Gate) -> None:
            super().__init__()
            self._gate = gate

        def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            """See `AgentMiddleware`; for agents that are invoked in threads."""
            decided = _Decided(request)

            def execute(run: Run) -> Any:
                return _told(run, handler(decided.request))

            return self._gate.run_blocking(
                decided.ask, execute, lambda text: refuse(request, text), waits
            )

        async def awrap_tool_call(
            self, request: Any, handler: Callable[[Any], Awaitable[Any]]
        ) -> Any:
            """See `AgentMiddleware`."""
            decided = _Decided(request)

            async def execute(run: Run) -> Any:
                return _told(run, await handler(decided.request))

            return await self._gate.run(
                decided.ask, execute, lambda text: refuse(request, text), waits
            )

    def refuse(request: Any, text: str) -> Any:
        call = request.tool_call
        return message(text, name=call["name"], tool_call_id=call["id"], status="error")

    return Governed


def _told(run: Run, answer: Any) -> Any:
    """Tells a run how its call ended; an error that the agent's tool node caught is a failure."""
    if getattr(answer, "status", None) == "error":
        run.failed()
    elif (content := getattr(answer, "content", None)) is not None:
        run.result(content)
    return answer


class _Decided:
    """A request, with the arguments as the tool will get them once it is asked for."""

    def __init__(self, request: Any) -> None:
        self.request = request

    def ask(self) -> Asked:
        """Validates the arguments, which LangChain does only behind its middleware.

        Raises ValueError if the tool would get others still.
        """
        call, runtime = self.request.tool_call, self.request.runtime
        schema: Any = getattr(self.request.tool, "tool_call_schema", None)
        if hasattr(schema, "model_validate"):
            arguments = schema.model_validate(call["args"]).model_dump(by_alias=True)
            if schema.model_validate(arguments).model_dump(by_alias=True) != arguments:
                raise ValueError("the schema of the tool's arguments changes them each time")
            call = {**call, "args": arguments}
            self.request = self.request.override(tool_call=call)
        info: Any = runtime.execution_info
        thread = getattr(info, "thread_id", None)
        return Asked(
            call["name"],
            call["args"],
            agent=runtime.config.get("metadata", {}).get("lc_agent_name"),
            ids={"call": call["id"], "session": thread, "turn": getattr(info, "run_id", None)},
            place=(thread, info.checkpoint_ns, info.task_id, call["id"]) if thread else (),
        )
