#!/usr/bin/env bash
# What LangChain's tool hook is shown is not what the tool is run with.
#
# Packages: langchain 1.5.2, langchain-core 1.8.3, langgraph 1.2.24 (PyPI).
# Seen: an AgentMiddleware.wrap_tool_call is asked before the arguments are validated. For a tool
#   `pay(to: str, amount: int, currency: str = "EUR")`:
#     the model sends amount "5": the hook sees the text "5", the tool gets the number 5 and EUR, which
#     the hook never saw;
#     the model leaves amount out: the hook is asked and may allow, and the tool never runs.
# Not expected because: the hook is named and documented as the wrapper around the tool's call, with
#   `handler(request)` as the call itself; validation is expected to be behind one by then.
# For users: a digest of the arguments that a decision was made on does not match a digest of what
#   ran, though nobody tampered; and an "allow" without an execution is normal, not a lost outcome.
#   Bind a permit to the arguments inside the tool's own function, and log "not run" as an outcome.
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

asked = []
ran = []


class Model(GenericFakeChatModel):
    def bind_tools(self, tools, **ignored):
        return self


class Hook(AgentMiddleware):
    def wrap_tool_call(self, request, handler):
        asked.append(dict(request.tool_call["args"]))
        return handler(request)


@tool
def pay(to: str, amount: int, currency: str = "EUR") -> str:
    """Pay an amount."""
    ran.append({"to": to, "amount": amount, "currency": currency})
    return "paid"


for sent, executed in (
    ({"to": "shop", "amount": "5"}, [{"to": "shop", "amount": 5, "currency": "EUR"}]),
    ({"to": "shop"}, []),
):
    asked.clear()
    ran.clear()
    call = {"name": "pay", "args": sent, "id": "call-1", "type": "tool_call"}
    answers = iter([AIMessage(content="", tool_calls=[call]), AIMessage(content="done")])
    create_agent(Model(messages=answers), [pay], middleware=[Hook()]).invoke({"messages": [HumanMessage("go")]})
    print("hook asked with", asked, "- tool ran with", ran)
    if asked != [sent] or ran != executed:
        sys.exit("changed: the hook sees other arguments than before")
PY
