"""What a client of MCP is told of a call that waits for a person, and how it asks again.

Since revision 2026-07-28 a server may say that a request is to be repeated (`input_required`, with
a `requestState` and nothing to be answered): clients do so by themselves. Each time the gate holds
the request for a while. Before that revision there is nothing such, and the text of an error tells
the model to ask again with the same arguments.

A client that repeats a request sends our state in place of the server's, and no answers to what the
server wanted to know. So these are in our state, and go on to the server.
"""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from muniment.permit.meta import META_KEY
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import encode_any, parse_any
from muniment_gateway.mcp.messages import DENIED, Message, encode, error_answer

STATE: Final = "dev.muniment/approval:"
"""How our states begin."""

_REPEATED: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
_SERVERS: Final = ("requestState", "inputResponses")


def waiting(message: Message, told: Mapping[str, Any]) -> bytes:
    """The answer to a request that waits for a person; `told` as for `refusals.refusal`."""
    approval: Mapping[str, Any] = told["approval"]
    shown = {
        "approval": dict(approval),
        **{name: told[name] for name in ("evaluation_id", "index", "codes") if name in told},
    }
    meta = {META_KEY: shown}
    if message.is_modern and message.method in _REPEATED:
        result: dict[str, Any] = {
            "resultType": "input_required",
            "requestState": _state(message, approval["request"]),
            "_meta": meta,
        }
        return encode({"jsonrpc": "2.0", "id": message.id, "result": result})
    text = (
        f"Not yet: a person has to approve this first (request {approval['request']}). Nothing was "
        f"done. Ask again with exactly the same arguments, until {approval['expires_at']}."
    )
    if message.method != "tools/call":
        return error_answer(message.id, DENIED, text, meta)
    result = {"content": [{"type": "text", "text": text}], "isError": True, "_meta": meta}
    return encode({"jsonrpc": "2.0", "id": message.id, "result": result})


def asked_again(message: Message) -> Message:
    """A request that repeats one which waited, as the server is to have it; others as they are."""
    state = message.params.get("requestState")
    if not isinstance(state, str) or not state.startswith(STATE):
        return message
    params = {name: one for name, one in message.params.items() if name not in _SERVERS}
    params |= _servers(state)
    value = {**message.value, "params": params}
    return replace(message, data=encode(value), params=params, value=value)


def _state(message: Message, request: str) -> str:
    kept = {name: message.params[name] for name in _SERVERS if name in message.params}
    text = base64.urlsafe_b64encode(encode_any(kept)).decode() if kept else ""
    return f"{STATE}{request}.{text}"


def _servers(state: str) -> dict[str, Any]:
    """What the server's part of a state is; nothing of one that is not ours after all."""
    text = state.rpartition(".")[2]
    try:
        kept = parse_any(base64.urlsafe_b64decode(text), "the state") if text else {}
    except (FormatError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: kept[name] for name in _SERVERS if name in kept}
