#!/usr/bin/env bash
# A tool call of a later turn that repeats a call id is not run, and the model is not told.
#
# Packages: openai-agents 0.24.0 (PyPI).
# Seen: a model calls `count()` in two turns, with the call id "call_0" in both, as servers do that
#   number the calls of each answer from 0. The tool runs once. What the model reads next has one
#   call and one output: its second call is gone, with neither a result nor an error. With other
#   arguments in the second call the run ends with ModelBehaviorError instead.
# Not expected because: each answer of a model is one turn, and a call in it is answered in the next;
#   the same call a second time, to read something that has changed, is ordinary.
# For users: count what ran by the tool, not by the model's answers; a decision log of calls is
#   complete though the transcript has one more. Have the model's server give unique ids.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check openai-agents==0.24.0
"$folder/venv/bin/python" - <<'PY'
import sys

from agents import Agent, Runner, function_tool, set_trace_processors
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call

set_trace_processors([])
ran, read = [], []


@function_tool
def count() -> int:
    """Count."""
    ran.append(len(ran) + 1)
    return ran[-1]


def turn(*items):
    def respond(call):
        read.append([one["type"] for one in call.input if "call" in one.get("type", "")])
        return list(items)

    return ModelStep.respond(respond)


calls = [turn(function_call("count", "{}", call_id="call_0")) for _ in range(2)]
model = ScriptedModel([*calls, turn(assistant_message("done"))])
Runner.run_sync(Agent(name="counter", model=model, tools=[count]), [{"role": "user", "content": "go"}])
print("2 calls; the tool ran", len(ran), "time(s); the model read at its end", read[-1])
if len(ran) != 1 or read[-1] != ["function_call", "function_call_output"]:
    sys.exit("changed: a call with an id of before is run, or said to be refused")
PY
