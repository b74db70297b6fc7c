#!/usr/bin/env bash
# The innermost wrapper around a tool's execution in Pydantic AI is shown other arguments than run.
#
# Packages: pydantic-ai-slim 2.68.0 (PyPI).
# Seen: two capabilities of one agent. One declares `CapabilityOrdering(position="innermost")` and notes
#   the arguments in `wrap_tool_execute`; the other has no position and changes one in
#   `before_tool_execute`. The wrapper notes {"to": "ada"}, the tool gets {"to": "bob"}, and nothing
#   tells the wrapper.
# Not expected because: "innermost" reads as: nothing comes between this and the tool, and arguments
#   that a capability further outside changes have been changed by then. But `handler()` of every
#   wrapper encloses the `before_tool_execute` hooks of all capabilities, the outer ones' too.
# For users: a wrapper that checks, or logs, the arguments checks what another capability may still
#   change. Wrap the toolset (`get_wrapper_toolset`, innermost): its `call_tool` gets what runs.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pydantic-ai-slim==2.68.0
"$folder/venv/bin/python" - <<'PY'
import sys

from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.capabilities.abstract import CapabilityOrdering
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

wrapped, ran = [], []


class Innermost(AbstractCapability):
    def get_ordering(self):
        return CapabilityOrdering(position="innermost")

    async def wrap_tool_execute(self, ctx, *, call, tool_def, args, handler):
        wrapped.append(dict(args))
        return await handler(args)


class Edits(AbstractCapability):
    async def before_tool_execute(self, ctx, *, call, tool_def, args):
        return {**args, "to": "bob"}


def send(to: str) -> str:
    """Send something."""
    ran.append({"to": to})
    return "sent"


turns = iter([[ToolCallPart("send", {"to": "ada"})]])
model = FunctionModel(lambda messages, info: ModelResponse(next(turns, [TextPart("done")])))
Agent(model, tools=[send], capabilities=[Edits(), Innermost()]).run_sync("go")
print("the innermost wrapper saw", wrapped, "- the tool ran with", ran)
if wrapped != [{"to": "ada"}] or ran != [{"to": "bob"}]:
    sys.exit("changed: the innermost wrapper sees what the tool gets")
PY
