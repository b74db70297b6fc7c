#!/usr/bin/env bash
# An argument that happens to spell a variable of the run is replaced, and the memory has the old one.
#
# Packages: smolagents 1.26.0 (PyPI).
# Seen: `agent.run("...", additional_args={"region": "eu-west"})`. The model calls `send(to="ada",
#   note="region")`, and the tool gets note="eu-west". The step's `tool_calls` in the memory, which is what
#   step callbacks, replays and telemetry read, has note="region": no place of the run tells what was sent.
# Not expected because: `additional_args` reads as more input for the model, and a text argument has
#   no mark that would make it a reference: any equal text, in any argument of any tool, is one.
# For users: what is approved or logged from the step is not what ran. Decide inside of the tool
#   (`forward`), or name the variables so that no argument can be equal to one ("$region").
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check smolagents==1.26.0
# A file, as the library reads a tool's source.
cat >"$folder/main.py" <<'PY'
import sys

from smolagents import ChatMessage, MessageRole, Model, ToolCallingAgent, tool
from smolagents.models import ChatMessageToolCall, ChatMessageToolCallFunction

ran = []


@tool
def send(to: str, note: str) -> str:
    """Send a note.

    Args:
        to: The person who gets it.
        note: What it says.
    """
    ran.append({"to": to, "note": note})
    return "sent"


class Scripted(Model):
    """Gives one tool call for each answer that it is asked for, and then ends the run."""

    def __init__(self):
        super().__init__(model_id="scripted")
        self.calls = [("send", {"to": "ada", "note": "region"}), ("final_answer", {"answer": "done"})]

    def generate(self, messages, **options):
        name, arguments = self.calls.pop(0)
        function = ChatMessageToolCallFunction(name=name, arguments=arguments)
        call = ChatMessageToolCall(id=f"call_{name}", type="function", function=function)
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=[call])


agent = ToolCallingAgent(tools=[send], model=Scripted(), verbosity_level=0)
agent.run("Tell Ada the word.", additional_args={"region": "eu-west"})
noted = [call.arguments for step in agent.memory.steps[1:] for call in step.tool_calls if call.name == "send"]
print("the memory has", noted, "and the tool got", ran)
if noted != [{"to": "ada", "note": "region"}] or ran != [{"to": "ada", "note": "eu-west"}]:
    sys.exit("changed: arguments are handed on as the model wrote them, or noted as they ran")
PY
"$folder/venv/bin/python" "$folder/main.py"
