#!/usr/bin/env bash
# A hook denies a tool call with the policy's reason; the policy gave none, and the tool runs.
#
# Packages: strands-agents 1.62.0 (PyPI).
# Seen: a hook for BeforeToolCallEvent stops a call by `event.cancel_tool = reason`. With "not yours" or with
#   True the tool does not run, and the model hears the reason or "tool cancelled by user". With the empty
#   text the tool runs, and nothing is printed or raised.
# Not expected because: the member takes a text or a bool, its documentation says "when set, will cancel the
#   tool call", and an empty text is set.
# For users: most engines deny without a word (OPA's `false`, an AuthZEN decision without a context), so
#   `event.cancel_tool = answer.get("reason", "")` is closed in every test that has a reason, and open in
#   production. Set `reason or True`.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check strands-agents==1.62.0
"$folder/venv/bin/python" - 2>"$folder/errors" <<'PY' || { status=$?; tail -3 "$folder/errors"; exit "$status"; }
import sys

from strands import Agent, tool
from strands.hooks import BeforeToolCallEvent
from strands.models import Model

ran = []


@tool
def pay(amount: int) -> str:
    """Pay somebody."""
    ran.append(amount)
    return "paid"


class Scripted(Model):
    def __init__(self):
        self.heard = []

    def update_config(self, **ignored):
        pass

    def get_config(self):
        return {}

    async def structured_output(self, *ignored, **also_ignored):
        raise NotImplementedError
        yield

    async def stream(self, messages, *ignored, **also_ignored):
        results = [one["toolResult"] for one in messages[-1]["content"] if "toolResult" in one]
        self.heard.extend((one["status"], one["content"][0]["text"]) for one in results)
        yield {"messageStart": {"role": "assistant"}}
        if results:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": "done"}}}
        else:
            yield {"contentBlockStart": {"start": {"toolUse": {"name": "pay", "toolUseId": "one"}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"amount": 5}'}}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if results else "tool_use"}}


for reason, runs, heard in (
    ("not yours", [], ("error", "not yours")),
    (True, [], ("error", "tool cancelled by user")),
    ("", [5], ("success", "paid")),
):
    ran.clear()
    model = Scripted()
    agent = Agent(model=model, tools=[pay], callback_handler=None)

    def deny(event: BeforeToolCallEvent):
        event.cancel_tool = reason

    agent.add_hook(deny)
    agent("go")
    print(f"cancel_tool = {reason!r}: the tool ran with {ran}, the model hears {model.heard}")
    if ran != runs or model.heard != [heard]:
        sys.exit("changed: it is cancelled, or not, otherwise")
PY
