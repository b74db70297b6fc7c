#!/usr/bin/env bash
# Since version 1 the A2A SDK gives an agent floats for the integers of a message, and answers in floats.
#
# Packages: a2a-sdk 1.3.0, 0.3.26 (PyPI).
# Seen: a JSON-RPC message has a data part {"account": 9007199254740993, "n": 5} and the metadata
#   {"approval": 9007199254740993}. With 1.3.0 the agent reads account 9007199254740992.0, n 5.0 and
#   approval 9007199254740992.0, and a data part that it sends back has 9007199254740992.0 and 5.0 on
#   the wire. A message of protocol 0.3 to the same server (compatibility on) fares the same. 0.3.26 reads
#   and writes that message with the integers that it has. Nothing is raised or logged.
# Not expected because: both ends are JSON, where the digits are on the wire, and the SDK before kept
#   them; that data is a protobuf Value inside shows nowhere in the message.
# For users: an id of 64 bits (account, order, snowflake, approval) is another one behind the SDK, a digest
#   over the part differs from the sender's, and `range(n)` raises. Send ids and amounts as text, and take
#   digests over the text, not over the parsed part.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 0.3.26 1.3.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q --disable-pip-version-check "a2a-sdk[http-server]==$version"
done
"$folder/0.3.26/bin/python" - <<'PY'
import sys

from a2a.types import Message

sent = (
    '{"kind":"message","messageId":"m1","metadata":{"approval":9007199254740993},'
    '"parts":[{"data":{"account":9007199254740993,"n":5},"kind":"data"}],"role":"user"}'
)
written = Message.model_validate_json(sent).model_dump_json(exclude_none=True)
print("0.3.26 wrote", written)
if written != sent:
    sys.exit("changed: 0.3.26 does not write what it read")
PY
"$folder/1.3.0/bin/python" - <<'PY'
import asyncio
import logging
import sys

import httpx
from a2a.helpers import get_data_parts, new_data_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette

read = []


class Clerk(AgentExecutor):
    """Notes the data and the metadata that it is given, and sends the data back."""

    async def execute(self, context, events):
        data = get_data_parts(context.message.parts)[0]
        read.append((data, MessageToDict(context.message.metadata)))
        await events.enqueue_event(new_data_message(data))

    async def cancel(self, context, events):
        raise NotImplementedError


modes = ["application/json"]
card = AgentCard(
    name="clerk", description="A clerk.", version="1", capabilities=AgentCapabilities(),
    default_input_modes=modes, default_output_modes=modes,
    skills=[AgentSkill(id="book", name="book", description="Book.", tags=["book"])],
    supported_interfaces=[AgentInterface(url="http://clerk/", protocol_binding="JSONRPC", protocol_version="1.0")],
)  # fmt: skip
handler = DefaultRequestHandler(agent_executor=Clerk(), task_store=InMemoryTaskStore(), agent_card=card)
app = Starlette(routes=create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True))
data, metadata = {"account": 9007199254740993, "n": 5}, {"approval": 9007199254740993}
MESSAGES = {
    "1.0": ("SendMessage", {"messageId": "m1", "role": "ROLE_USER", "parts": [{"data": data}], "metadata": metadata}),
    "0.3": (
        "message/send",
        {"kind": "message", "messageId": "m1", "role": "user", "parts": [{"kind": "data", "data": data}], "metadata": metadata},
    ),
}


async def main():
    transport = httpx.ASGITransport(app)  # no socket: the application is called within this process
    async with httpx.AsyncClient(transport=transport, base_url="http://clerk") as client:
        for protocol, (method, message) in MESSAGES.items():
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}
            answer = await client.post("/", json=request, headers={"A2A-Version": protocol})
            print(f"1.3.0, protocol {protocol}: the agent read {read[-1]}; the answer has")
            print(" ", answer.text)
            wanted = ({"account": 9007199254740992.0, "n": 5.0}, {"approval": 9007199254740992.0})
            kinds = {type(value) for part in read[-1] for value in part.values()}
            wire = "9007199254740992.0" in answer.text and '"n":5.0' in answer.text
            if read[-1] != wanted or kinds != {float} or not wire:
                sys.exit("changed: integers of a message stay integers")


asyncio.run(main())
PY
