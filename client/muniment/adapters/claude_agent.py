"""Claude Agent SDK: hooks that decide each call, also of built-in tools and in sub-agents.

async with governed(gate, ClaudeAgentOptions(…, setting_sources=[])) as options:
    async for message in query(prompt="…", options=options): ...   # muniment[claude-agent]
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Final

from muniment.adapters.core import FrameworkCall, Gate, GatedCall
from muniment.errors import InputError

_HARMLESS: Final = {
    "debug", "debug-file", "debug-to-stderr", "no-session-persistence", "replay-user-messages",
    "verbose",
}  # fmt: skip
"""Arguments of the command line that bring no hooks, and no other way to allow a call."""


@asynccontextmanager
async def governed(gate: Gate, options: Any, agent: str | None = None) -> AsyncIterator[Any]:
    """The options with the gate's hooks, for clients that are used within.

    A call that goes on at the end is `aborted` if the block is cancelled or raises, else `unknown`.
    A sub-agent's calls are triggered by the call that started it.

    Args:
        gate: What decides.
        options: `ClaudeAgentOptions`; what the gate allows is asked of nobody else.
        agent: The subject of the main agent's calls, if not the gate's.

    Raises InputError if something else in the options could change what was decided.
    """
    for is_there, what in (
        ((options.hooks or {}).get("PreToolUse"), "hooks: another PreToolUse hook"),
        (options.can_use_tool, "can_use_tool"),
        (options.permission_prompt_tool_name, "permission_prompt_tool_name"),
        (options.plugins, "plugins"),
        (options.settings, "settings"),
        (options.setting_sources != [], "setting_sources other than []"),
        (more := sorted(options.extra_args.keys() - _HARMLESS), f"extra_args: {', '.join(more)}"),
    ):
        if is_there:
            raise InputError(f"{what} could change the arguments of calls that were decided")
    matcher: Any = import_module("claude_agent_sdk").HookMatcher
    calls = _Calls(gate, agent)
    hooks = {name: list(found) for name, found in (options.hooks or {}).items()}
    for name, hook in (
        ("PreToolUse", calls.before),
        ("PostToolUse", calls.after),
        ("PostToolUseFailure", calls.after),
        ("SubagentStart", calls.sub_agent),
    ):
        # A hook that raises or does not answer blocks the call.
        hooks.setdefault(name, []).append(matcher(hooks=[hook], on_failure="block"))
    try:
        yield replace(options, hooks=hooks)
    except BaseException:
        await calls.end(asyncio.CancelledError())
        raise
    await calls.end(None)


@dataclass
class _Calls:
    """The calls of the clients of one block: those going on, and what sub-agents belong to."""

    gate: Gate
    agent: str | None
    open: dict[str, GatedCall] = field(default_factory=dict)
    starts: list[tuple[str, str]] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)

    async def before(self, said: Any, *_: Any) -> dict[str, Any]:
        """Decides; pins the arguments of what it allows."""
        passage = GatedCall(self.gate)
        refusal = await passage.begin(lambda: self._asked(said))
        answer: dict[str, Any] = {"hookEventName": "PreToolUse"}
        if refusal is not None:
            answer |= {"permissionDecision": "deny", "permissionDecisionReason": refusal}
        else:
            self.open[said["tool_use_id"]] = passage
            if kind := said["tool_input"].get("subagent_type"):
                self.starts.append((kind, passage.run.execution))
            answer |= {"permissionDecision": "allow", "updatedInput": said["tool_input"]}
        return {"hookSpecificOutput": answer}

    async def after(self, said: Any, *_: Any) -> dict[str, Any]:
        """Keeps how a call ended."""
        if (passage := self.open.pop(said["tool_use_id"], None)) is not None:
            passage.run.failed()
            if said["hook_event_name"] == "PostToolUse":
                passage.run.result(said["tool_response"])
            await passage.end()
        return {}

    async def sub_agent(self, said: Any, *_: Any) -> dict[str, Any]:
        """Notes what started a sub-agent: the first call for one of its kind that has none."""
        for start in self.starts:
            if start[0] == said["agent_type"]:
                self.starts.remove(start)
                self.parents[said["agent_id"]] = start[1]
                break
        return {}

    async def end(self, raised: BaseException | None) -> None:
        """Ends what is still going on."""
        for passage in [*self.open.values()]:
            if raised is None:
                passage.run.unknown()
            await passage.end(raised)

    def _asked(self, said: Any) -> FrameworkCall:
        if said["tool_use_id"] in self.open:
            raise InputError(f"a call with the id {said['tool_use_id']} is going on already")
        ids = {"call": said["tool_use_id"], "session": said["session_id"]}
        return FrameworkCall(
            said["tool_name"],
            said["tool_input"],
            agent=said.get("agent_type") or self.agent,
            ids={**ids, "turn": said.get("prompt_id")},
            parent=self.parents.get(said.get("agent_id", "")),
        )
