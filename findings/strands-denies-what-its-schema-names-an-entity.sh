#!/usr/bin/env bash
# Told of the tools, Strands' Cedar handler denies each call with a number or an object, under any policy.
#
# Packages: strands-agents[cedar] 1.62.0 (PyPI; brings cedarpy 4.12.0, cedar-policy-mcp-schema-generator 0.6.1).
# Seen: the policy is `permit(principal, action, resource);`. Without `tools=` the calls pay(amount=5), where the
#   tool's schema says number, and send(to="ada", options={}) run. With `tools=`, of which the handler makes a Cedar
#   schema, both are denied: "Cedar evaluation failed: failed to parse schema from request". In that schema amount is
#   an entity of type Number and options one of type send_Input_options, and the handler gives Cedar 5 and {}. A call
#   that leaves options out runs, and so do texts, integers and lists of texts. The handler is made without an error,
#   also with a policy that asks for `context.input.amount < 100`. Cedar has no fractions: 5.5 is denied either way.
# Not expected because: a schema of the tools is there to find typing errors in policies, generator and handler are
#   installed as one, and the calls are what the tool's own schema asks for.
# For users: all payments stop when `tools=` is added, and the model is told something about a schema. Leave `tools=`
#   out, or declare amounts as integers, in the smallest unit, and no objects. Log such a denial as one that could
#   not be evaluated: no policy has denied it.
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

DENIED = "DENIED: Cedar evaluation failed: failed to parse schema from request"


@tool
def pay(to: str, amount: float) -> str:
    """Pay somebody."""
    return "done"


@tool
def send(to: str, copies: int = 1, tags: list[str] | None = None, options: dict | None = None) -> str:
    """Send something to somebody."""
    return "done"


class Scripted(Model):
    """Asks for one call, and keeps what it is answered."""

    def __init__(self, name, arguments):
        self.call, self.answer = (name, arguments), None

    def update_config(self, **config):
        pass

    def get_config(self):
        return {}

    async def structured_output(self, *arguments, **more):
        raise NotImplementedError

    async def stream(self, messages, *arguments, **more):
        results = [part["toolResult"] for message in messages for part in message["content"] if "toolResult" in part]
        yield {"messageStart": {"role": "assistant"}}
        if results:
            self.answer = results[0]["content"][0]["text"]
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": "done"}}}
        else:
            name, arguments = self.call
            yield {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "call", "name": name}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(arguments)}}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if results else "tool_use"}}


def answered(name, arguments, **more):
    model = Scripted(name, arguments)
    handler = CedarAuthorization(policies="permit(principal, action, resource);", **more)
    Agent(model=model, tools=[pay, send], interventions=[handler], callback_handler=None)("Go on.")
    return model.answer


specs = [one.tool_spec for one in (pay, send)]
tools = [{"name": spec["name"], "inputSchema": spec["inputSchema"]["json"]} for spec in specs]
for name, arguments, *expected in (  # the answer without tools=, and with it
    ("pay", {"to": "ada", "amount": 5}, "done", DENIED),
    ("pay", {"to": "ada", "amount": 5.5}, DENIED, DENIED),
    ("send", {"to": "ada", "options": {}}, "done", DENIED),
    ("send", {"to": "ada", "options": {"fast": True}}, "done", DENIED),
    ("send", {"to": "ada"}, "done", "done"),
    ("send", {"to": "ada", "copies": 2, "tags": ["new"]}, "done", "done"),
):
    seen = [answered(name, arguments), answered(name, arguments, tools=tools)]
    print(f"{name} {arguments}: without tools= {seen[0]!r}, with it {seen[1]!r}")
    if seen != expected:
        print("changed: expected", expected)
        sys.exit(1)
limit = 'permit(principal, action == Action::"pay", resource) when { context.input.amount < 100 };'
schema = CedarAuthorization(policies=limit, tools=tools)._schema
print("a policy with context.input.amount < 100 is taken")
for line in ("amount: Number,", "entity Number;", "options?: send_Input_options,", "entity send_Input_options;"):
    print("the schema has", line)
    if line not in schema:
        print("changed: the schema is", schema)
        sys.exit(1)
PY
