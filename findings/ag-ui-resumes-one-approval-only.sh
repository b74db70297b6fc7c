#!/usr/bin/env bash
# AG-UI to LangGraph: of two approvals that wait side by side neither can be given, together or one by one.
#
# Packages: ag-ui-langgraph 0.0.47, ag-ui-protocol 1.0.0, langgraph 1.2.24, langchain 1.5.2 (PyPI).
# Seen: two steps of a graph ask with `interrupt()`. AG-UI tells both, each with its id. One resume with an entry for
#   each, by its id, ends in RUN_ERROR ("… you must specify the interrupt id when resuming"), and so does a resume
#   with the entry of one; neither step goes on. A single step that waits gets its answer.
# Not expected because: the package's README says what interrupt() returns for several entries, and the entries
#   have the ids that the error asks for, in the form that the protocol has for it.
# For users: a run in which two steps ask a person is stuck, though both answers were given. Override
#   `_build_command_from_agui_resume` to resume with a dictionary of answers by interrupt id, as the script
#   does at its end, and give each step there what it is to get of an entry that is "cancelled".
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
from langgraph.types import Command, interrupt

answers = []


def shop(state):
    answers.append(interrupt({"message": "pay the shop?"}))
    return {}


def bank(state):
    answers.append(interrupt({"message": "pay the bank?"}))
    return {}


def agent(kind, *steps):
    graph = StateGraph(MessagesState)
    for step in steps:
        graph.add_node(step.__name__, step)
        graph.add_edge(START, step.__name__)
        graph.add_edge(step.__name__, END)
    compiled = graph.compile(checkpointer=InMemorySaver())
    return kind(name="payer", graph=compiled, emit_interrupt_outcome=True)


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


class ById(LangGraphAgent):
    """Resumes each step with the answer that has its id."""

    def _build_command_from_agui_resume(self, entries, *, open_interrupts=None):
        return Command(resume={each.interrupt_id: each.payload for each in entries})


async def answer(kind, steps, count):
    """How many wait, what `interrupt()` gave once so many were answered, and the resumed run's last event."""
    answers.clear()
    payer = agent(kind, *steps)
    waiting = [each.id for each in (await run(payer, "first")).outcome.interrupts]
    entries = [ResumeEntry(interrupt_id=each, status="resolved", payload="yes") for each in waiting[:count]]
    last = await run(payer, "second", entries)
    return len(waiting), list(answers), last


async def main():
    for kind, steps, count, given, ends in (
        (LangGraphAgent, [shop], 1, ["yes"], "RUN_FINISHED"),
        (LangGraphAgent, [shop, bank], 2, [], "RUN_ERROR"),
        (LangGraphAgent, [shop, bank], 1, [], "RUN_ERROR"),
        (ById, [shop, bank], 2, ["yes", "yes"], "RUN_FINISHED"),
        (ById, [shop, bank], 1, ["yes"], "RUN_FINISHED"),
    ):
        waiting, got, last = await answer(kind, steps, count)
        message = getattr(last, "message", "")
        print(f"{kind.__name__}: {count} of {waiting} answered: steps get {got}, {last.type.value} {message[:90]}")
        if (waiting, got, last.type.value) != (len(steps), given, ends):
            sys.exit("changed: other answers")
        if (ends == "RUN_ERROR") != ("specify the interrupt id" in message):
            sys.exit("changed: another error")


asyncio.run(main())
PY
timeout 120 "$folder/venv/bin/python" "$folder/run.py" 2>"$folder/errors" || {
  status=$?; tail -n 3 "$folder/errors"; exit "$status"; }
