#!/usr/bin/env bash
# A CrewAI hook before a tool call that raises PermissionError does not stop the call.
#
# Packages: crewai 1.15.30 (PyPI; with its dependencies 1 GB).
# Seen: two hooks registered with `before_tool_call`, one call each of a tool. The first raises
#   PermissionError("no"): the tool runs, the model reads its result, and unless the agent is verbose
#   nothing is printed. The second returns False: the tool does not run, and the model reads "Tool
#   execution blocked by hook. Tool: send", whatever the hook's reason was.
# Not expected because: an exception before a call ends the call in ordinary code; in a hook that may
#   block, raising is the plainest way to say no, and a database that is away the plainest way to fail.
# For users: a guard that fails lets everything through. Catch everything in the hook and raise
#   `HookAborted`; give the reason to the model from a hook after the call, which runs for blocked
#   calls too and may return another result.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check crewai==1.15.30
export CREWAI_DISABLE_TELEMETRY=true CREWAI_DISABLE_TRACKING=true CREWAI_STORAGE_DIR=$folder/crew
export CREWAI_TRACING_ENABLED=false OTEL_SDK_DISABLED=true
"$folder/venv/bin/python" - <<'PY' 2>/dev/null
import sys

from crewai import Agent, BaseLLM, Crew, Task
from crewai.hooks import register_before_tool_call_hook, unregister_before_tool_call_hook
from crewai.tools import tool

ran, read = [], []


class Scripted(BaseLLM):
    called: bool = False

    def call(self, messages, tools=None, **ignored):
        read.extend(one["content"] for one in messages if one.get("role") == "tool")
        if self.called:
            return "done"
        self.called = True
        function = {"name": "send", "arguments": '{"to": "ada"}'}
        return [{"id": "call-1", "type": "function", "function": function}]

    def supports_function_calling(self):
        return True


@tool
def send(to: str) -> str:
    """Send something."""
    ran.append(to)
    return "sent"


def raises(context):
    raise PermissionError("no")


def returns_false(context):
    return False


for hook, expected in (
    (raises, (["ada"], ["sent"])),
    (returns_false, ([], ["Tool execution blocked by hook. Tool: send"])),
):
    ran.clear()
    read.clear()
    register_before_tool_call_hook(hook)
    agent = Agent(role="r", goal="g", backstory="b", llm=Scripted(model="scripted"), tools=[send])
    task = Task(description="go", expected_output="done", agent=agent)
    Crew(agents=[agent], tasks=[task], verbose=False).kickoff()
    unregister_before_tool_call_hook(hook)
    print(f"{hook.__name__}: the tool ran {len(ran)} time(s), the model read", read)
    if (ran, read) != expected:
        sys.exit("changed: a hook that raises blocks the call, or one that blocks is heard")
PY
