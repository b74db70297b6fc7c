"""CrewAI: hooks around each call of every crew of the process.

    with governed(gate):
        crew.kickoff()

Pip installs what it needs with ``muniment[crewai]``.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from muniment.adapters.core import FrameworkCall, Gate, GatedCall

_FAILED = "Error executing tool: "  # what the framework makes of a tool's exception


@contextmanager
def governed(gate: Gate) -> Iterator[None]:
    """Governs the crews that run within, in any thread; they have to end within.

    The hooks have to be the last ones: while others come after them, which could change the
    arguments, every call is blocked. What is cached is decided, and has the outcome `not_run`.
    """
    hooks: Any = import_module("crewai.hooks.dispatch")
    before, after = hooks.InterceptionPoint.PRE_TOOL_CALL, hooks.InterceptionPoint.POST_TOOL_CALL
    calls = _Calls(gate, hooks)
    hooks.register(before, calls.before)
    hooks.register(after, calls.after)
    try:
        yield
    finally:
        hooks.unregister(before, calls.before)
        hooks.unregister(after, calls.after)


class _Calls:
    """The calls that are going on, by the dict of their arguments, which both hooks get."""

    def __init__(self, gate: Gate, hooks: Any) -> None:
        self._gate = gate
        self._hooks = hooks
        self._open: dict[int, tuple[GatedCall, bool, Any]] = {}
        self._refused: dict[int, tuple[str, Any]] = {}

    def before(self, context: Any) -> None:
        """Decides; the framework ignores any exception but `HookAborted`, and runs the call."""
        arguments = context.tool_input
        try:
            passage = GatedCall(self._gate)
            refusal = passage.begin_blocking(lambda: self._asked(context))
            if refusal is None:
                self._open[id(arguments)] = passage, _is_cached(context), arguments
        except BaseException as error:
            self._refused[id(arguments)] = str(error), arguments
            raise self._hooks.HookAborted(str(error), source="muniment") from error
        if refusal is not None:
            self._refused[id(arguments)] = refusal, arguments
            raise self._hooks.HookAborted(refusal, source="muniment")

    def after(self, context: Any) -> str | None:
        """Keeps how a call ended; what the model reads of one that is blocked."""
        refusal, _ = self._refused.pop(id(context.tool_input), (None, None))
        passage, is_cached, _ = self._open.pop(id(context.tool_input), (None, False, None))
        if passage is not None:
            result = context.raw_tool_result
            if is_cached or context.tool is None:  # the model made its name up
                passage.run.not_run()
            elif isinstance(result, str) and result.startswith(_FAILED):
                passage.run.failed()
            else:
                passage.run.result(result)
            passage.end_blocking()
        return refusal

    def _asked(self, context: Any) -> FrameworkCall:
        point = self._hooks.InterceptionPoint.PRE_TOOL_CALL
        others = [*self._hooks.get_hooks(point), *self._hooks.get_scoped_hooks(point)]
        if not others or others[-1] != self.before:
            raise ValueError(
                "hooks after the gate's could change the arguments: put them before it"
            )
        crew, task = getattr(context.crew, "id", None), getattr(context.task, "id", None)
        return FrameworkCall(
            context.tool_name,
            context.tool_input,
            agent=str(getattr(context.agent, "role", "")).strip() or None,
            ids={"session": crew and str(crew), "turn": task and str(task)},
        )


def _is_cached(context: Any) -> bool:
    """Whether the framework will answer from its cache, where the hook cannot tell afterwards."""
    cache = getattr(getattr(context.agent, "tools_handler", None), "cache", None)
    if cache is None:
        return False
    text = json.dumps(context.tool_input) if context.tool_input else ""
    return cache.read(tool=context.tool_name, input=text) is not None
