#!/usr/bin/env bash
# Approving a paused LangGraph tool call asks the hook again and starts the tool from its first line.
#
# Packages: langchain 1.5.2, langchain-core 1.8.3, langgraph 1.2.24 (PyPI).
# Seen: a tool that calls `interrupt()` for a person's approval. One logical call with one call id:
#   the middleware's wrap_tool_call is entered, the tool's first lines run, the run pauses. On
#   `Command(resume=...)` wrap_tool_call is entered once more with the same call id, and the first
#   lines run once more. `interrupt()` leaves the hook as an exception (GraphInterrupt), as a failed
#   tool would.
# Not expected because: "resume" reads as going on after the line that paused, as a coroutine does, and
#   an approval as something that concerns the decision that was already made.
# For users: a decision log gets two decisions for one call id, the first with an outcome "failed"; a
#   policy that changed in between decides anew; a counter or quota in the hook counts twice. Key on
#   the call id and the thread, give the first decision back, and log an interrupt as "waiting".
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  langchain==1.5.2 langchain-core==1.8.3 langgraph==1.2.24
"$folder/venv/bin/python" - <<'PY'
import sys

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

events = []


class Model(GenericFakeChatModel):
    def bind_tools(self, tools, **ignored):
        return self


class Hook(AgentMiddleware):
    def wrap_tool_call(self, request, handler):
        events.append(f"decided {request.tool_call['id']}")
        try:
            return handler(request)
        except Exception as error:
            events.append(f"failed with {type(error).__name__}")
            raise


@tool
def pay(to: str) -> str:
    """Pay somebody, after a person has approved."""
    events.append("tool started")
    answer = interrupt("approve?")
    events.append(f"tool went on with {answer}")
    return "paid"


call = {"name": "pay", "args": {"to": "shop"}, "id": "call-1", "type": "tool_call"}
answers = iter([AIMessage(content="", tool_calls=[call]), AIMessage(content="done")])
agent = create_agent(Model(messages=answers), [pay], middleware=[Hook()], checkpointer=InMemorySaver())
thread = {"configurable": {"thread_id": "one"}}
agent.invoke({"messages": [HumanMessage("go")]}, thread)
agent.invoke(Command(resume="yes"), thread)
for event in events:
    print(event)
if events != [
    "decided call-1",
    "tool started",
    "failed with GraphInterrupt",
    "decided call-1",
    "tool started",
    "tool went on with yes",
]:
    sys.exit("changed: a resumed call takes another course")
PY
