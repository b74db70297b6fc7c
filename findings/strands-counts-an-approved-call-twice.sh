#!/usr/bin/env bash
# A policy allows one payment, a person approves it, and Strands' Cedar handler denies it as the second.
#
# Packages: strands-agents[cedar] 1.62.0 (PyPI; brings cedarpy 4.12.0).
# Seen: an agent has two interventions that come with Strands, CedarAuthorization, and behind it HumanInTheLoop. The
#   policy permits a call while `context.session.call_count <= 1`. The model asks to pay once; Cedar permits, and the
#   agent waits for a person. When that person says yes, every handler is asked again, Cedar counts 2, and the call
#   ends in "DENIED: Access denied by Cedar policy". A call that the person refuses is counted twice as well: with a
#   limit of 2, the next one is denied though nothing was ever paid. With HumanInTheLoop in front of Cedar, an
#   approved call is counted once and a refused one not at all.
# Not expected because: it is one call, with one id, and a call that Cedar denies is taken off the count again, so
#   what is counted seems to be what runs. Policy before person is the natural order: nobody is to be asked about
#   what is forbidden.
# For users: put whatever interrupts before CedarAuthorization in `interventions`, or allow for twice the calls. A log
#   of decisions gets two of the policy for one call, of which the second denies what a person approved: log the
#   call's id with each.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --disable-pip-version-check 'strands-agents[cedar]==1.62.0'
"$folder/venv/bin/python" - <<'PY' 2>/dev/null
import json
import sys

from strands import Agent, tool
from strands.models import Model
from strands.vended_interventions.cedar import CedarAuthorization
from strands.vended_interventions.hitl import HumanInTheLoop

RULE = 'permit(principal, action == Action::"pay", resource) when { context.session.call_count <= %d };'
DENIED = "DENIED: Access denied by Cedar policy"


class Scripted(Model):
    """Asks for one payment after the other, and keeps the answers to them."""

    def __init__(self, payments):
        self.payments, self.answers = payments, []

    def update_config(self, **config):
        pass

    def get_config(self):
        return {}

    async def structured_output(self, *arguments, **more):
        raise NotImplementedError

    async def stream(self, messages, *arguments, **more):
        results = [part["toolResult"] for message in messages for part in message["content"] if "toolResult" in part]
        self.answers = [result["content"][0]["text"] for result in results]
        yield {"messageStart": {"role": "assistant"}}
        paying = len(results) < self.payments
        if paying:
            call = {"toolUseId": f"call-{len(results)}", "name": "pay"}
            yield {"contentBlockStart": {"start": {"toolUse": call}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps({"to": "ada"})}}}}
        else:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": "done"}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if paying else "end_turn"}}


def run(limit, answers, person_first):
    """Returns what the model hears of its payments, how many were made, and Cedar's count."""
    paid = []

    @tool
    def pay(to: str) -> str:
        """Pay somebody."""
        paid.append(to)
        return "paid"

    handlers = [CedarAuthorization(policies=RULE % limit), HumanInTheLoop()]
    model = Scripted(len(answers))
    agent = Agent(
        model=model, tools=[pay], interventions=handlers[::-1] if person_first else handlers, callback_handler=None
    )
    result = agent("Pay Ada.")
    for answer in answers:
        if result.stop_reason == "interrupt":
            resumed = {"interruptId": result.interrupts[0].id, "response": answer}
            result = agent([{"interruptResponse": resumed}])
    heard = [text.split(":")[0] if text.startswith("CONFIRMATION") else text for text in model.answers]
    return heard, len(paid), agent.state.get("cedar-authorization")["pay"]


for limit, answers, person_first, expected in (
    (1, ["yes"], False, ([DENIED], 0, 1)),
    (2, ["yes"], False, (["paid"], 1, 2)),
    (2, ["no", "yes"], False, (["CONFIRMATION_FAILED", DENIED], 0, 2)),
    (1, ["yes"], True, (["paid"], 1, 1)),
    (1, ["no", "yes"], True, (["CONFIRMATION_FAILED", "paid"], 1, 1)),
):
    seen = run(limit, answers, person_first)
    order = "person, then Cedar" if person_first else "Cedar, then person"
    print(f"{order}, at most {limit}, the person says {answers}: {seen[0]}, paid {seen[1]}, counted {seen[2]}")
    if seen != expected:
        print("changed: expected", expected)
        sys.exit(1)
PY
