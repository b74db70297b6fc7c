"""Which options of the Claude Agent SDK its adapter takes; the kit plays it with the real one."""

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from muniment.adapters.claude_agent import governed
from muniment.adapters.core import Gate
from muniment.errors import InputError


@dataclass
class Given:
    """The options of the SDK that could bring something that changes arguments."""

    hooks: dict[str, list[Any]] | None = None
    can_use_tool: Any = None
    permission_prompt_tool_name: str | None = None
    plugins: list[Any] = field(default_factory=list)
    settings: str | None = None
    setting_sources: list[str] | None = field(default_factory=list)
    extra_args: dict[str, str | None] = field(default_factory=dict)


def gate() -> Gate:
    return Gate(SimpleNamespace())  # type: ignore[arg-type]  # nothing is asked


@pytest.mark.parametrize(
    "given",
    [
        {"hooks": {"PreToolUse": [1]}},
        {"can_use_tool": print},
        {"permission_prompt_tool_name": "mcp__t__approve"},
        {"plugins": [{"type": "local", "path": "x"}]},
        {"settings": "settings.json"},
        {"setting_sources": None},
        {"setting_sources": ["project"]},
        {"extra_args": {"settings": "settings.json"}},
        {"extra_args": {"verbose": None, "setting-sources": "project"}},
        {"extra_args": {"plugin-dir": "x"}},
        {"extra_args": {"agents": "{}"}},
        {"extra_args": {"bare": None}},
    ],
)
async def test_what_could_change_the_arguments_of_calls_is_refused(given: dict[str, Any]) -> None:
    """By its name, of extra arguments too: each would bring hooks beside the gate's, or none."""
    [(name, value)] = given.items()
    word = max(value, key=len) if name == "extra_args" else name
    with pytest.raises(InputError, match=word):
        async with governed(gate(), Given(**given)):
            pass


async def test_what_changes_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = SimpleNamespace(HookMatcher=lambda **said: said)
    monkeypatch.setitem(sys.modules, "claude_agent_sdk", sdk)  # type: ignore[arg-type]
    given = Given(hooks={"Stop": [1]}, extra_args={"debug-to-stderr": None})
    async with governed(gate(), given) as options:
        assert options.extra_args == given.extra_args
        assert {"Stop", "PreToolUse"} <= options.hooks.keys()
