"""Microsoft Agent Framework: a middleware that decides each call of an agent's functions.

    agent = Agent(client, tools=[…], name="planner", middleware=[…, govern(gate, "planner")])

Pip installs what it needs with ``muniment[agent-framework]``.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from typing import Any

from muniment.adapters.core import FrameworkCall, Gate
from muniment.gateway.calls import Run


def govern(gate: Gate, agent: str) -> Any:
    """The middleware of the agent of this name, which the framework does not tell.

    Whatever changes the arguments after it has the framework abort the run (`MiddlewareFailure`).
    A call that is denied has the text of the denial for its result.
    """
    return _middleware()(gate, agent)


@cache
def _middleware() -> type[Any]:
    base: Any = import_module("agent_framework").FunctionMiddleware
    tools: Any = import_module("agent_framework._tools")

    class Governed(base):  # type: ignore[misc]  # its package need not be here
        """Runs what has a permit."""

        def __init__(self, gate: Gate, agent: str) -> None:
            self._gate = gate
            self._agent = agent

        async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
            """See `FunctionMiddleware`."""

            def ask() -> FrameworkCall:
                asked = _asked(context, self._agent)
                # The framework's own guard: what comes after may not change them.
                token = tools._argument_authority_token(  # noqa: SLF001
                    dict(asked.arguments), boundary="security policy"
                )
                context.metadata[tools._SECURITY_ARGUMENTS_SNAPSHOT_CONTEXT_KEY] = token  # noqa: SLF001
                return asked

            async def execute(run: Run) -> None:
                decided = dict(context.arguments)
                try:
                    await call_next()
                except BaseException:
                    if context.arguments != decided:
                        run.not_run()  # the framework has stopped it
                    raise
                run.result(_texts(context.result))

            def refuse(text: str) -> None:
                context.result = text

            await self._gate.run(ask, execute, refuse)

    return Governed


def _asked(context: Any, agent: str) -> FrameworkCall:
    function, metadata = context.function, context.metadata
    # As they will be validated once more right before the function runs.
    context.arguments = function._prepare_arguments(context.arguments)  # noqa: SLF001
    session = getattr(context.session, "session_id", None)
    return FrameworkCall(
        function.name,
        context.arguments,
        agent=agent,
        ids={"call": metadata.get("call_id"), "session": session},
    )


def _texts(result: Any) -> Any:
    """What a function gave, as the model reads it where it is text."""
    if isinstance(result, list):
        return [getattr(one, "text", None) or str(one) for one in result]
    return result
