#!/usr/bin/env bash
# AG-UI to LangGraph: a cancelled approval goes on with an answer that is true, and two approvals with none.
#
# Packages: ag-ui-langgraph 0.0.47, ag-ui-protocol 1.0.0, langgraph 1.2.24, langchain 1.5.2 (PyPI).
# Seen: a graph asks with `interrupt()`. Resumed by AG-UI's entry {"status": "resolved", "payload": P} it gets P. Resumed
#   with {"status": "cancelled"} it goes on as well: `interrupt()` returns {"__agui_cancelled__": True,
#   "interrupt_id": …}. Where two steps wait side by side, one resume with an entry for each, by its id, ends in
#   RUN_ERROR ("… you must specify the interrupt id when resuming"), and neither goes on.
# Not expected because: "cancelled" reads as the end of what waited, and LangGraph's interrupt() gives what the
#   person said; the entries have the ids that the error asks for, in the form that the protocol has for it.
# For users: `if interrupt("pay?"):` takes the person who closed the dialogue for one who said yes, and a log that keeps
#   the answer has a dictionary where it expects a word. Ask for an answer that names itself (`answer.get(
#   "approved") is True`), and answer interrupts one by one, or override `_build_command_from_agui_resume`.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  ag-ui-langgraph==0.0.47 ag-ui-protocol==1.0.0 fastapi==0.165.0 langgraph==1.2.24 langchain==1.5.2
cat >"$folder/run.py" <<'PY'
import asyncio
import sys

from ag_ui.core import ResumeEntry, RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

answers = []


def shop(state):
    answers.append(interrupt({"message": "pay the shop?"}))
    return {}


def bank(state):
    answers.append(interrupt({"message": "pay the bank?"}))
    return {}


def agent(*steps):
    graph = StateGraph(MessagesState)
    for step in steps:
        graph.add_node(step.__name__, step)
        graph.add_edge(START, step.__name__)
        graph.add_edge(step.__name__, END)
    compiled = graph.compile(checkpointer=InMemorySaver())
    return LangGraphAgent(name="payer", graph=compiled, emit_interrupt_outcome=True)


async def run(agent, run_id, resume=None):
    asked = RunAgentInput(
        thread_id="one",
        run_id=run_id,
        state={},
        messages=[UserMessage(id="u1", role="user", content="go")],
        tools=[],
        context=[],
        forwarded_props={},
        resume=resume,
    )
    return [event async for event in agent.run(asked)][-1]


async def answer(steps, **entry):
    """The ids that wait, what `interrupt()` gave, and the resumed run's last event."""
    answers.clear()
    payer = agent(*steps)
    waiting = [each.id for each in (await run(payer, "first")).outcome.interrupts]
    last = await run(payer, "second", [ResumeEntry(interrupt_id=each, **entry) for each in waiting])
    return waiting, list(answers), last


async def main():
    payload = {"approved": True}
    _, given, last = await answer([shop], status="resolved", payload=payload)
    print("resolved: interrupt() gives", given, "and the run ends with", last.type.value)
    if given != [payload] or last.type.value != "RUN_FINISHED":
        sys.exit("changed: a resolved approval")
    waiting, given, last = await answer([shop], status="cancelled")
    print("cancelled: interrupt() gives", given, "and the run ends with", last.type.value)
    if given != [{"__agui_cancelled__": True, "interrupt_id": waiting[0]}] or last.type.value != "RUN_FINISHED":
        sys.exit("changed: a cancelled approval")
    waiting, given, last = await answer([shop, bank], status="resolved", payload=payload)
    print("two resolved at once: interrupt() gives", given, "and the run ends with", last.type.value, last.message[:96])
    if len(waiting) != 2 or given or last.type.value != "RUN_ERROR" or "specify the interrupt id" not in last.message:
        sys.exit("changed: two approvals at once")


asyncio.run(main())
PY
timeout 120 "$folder/venv/bin/python" "$folder/run.py" 2>"$folder/errors" || {
  status=$?; tail -n 3 "$folder/errors"; exit "$status"; }
