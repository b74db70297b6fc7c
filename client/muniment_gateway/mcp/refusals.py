"""What a client is told of a call that is denied: what agents hear best.

A denied `tools/call` is answered by a result with `isError`: the model reads the reason. Of a
JSON-RPC error most frameworks make "an error occurred, please try again", and one ends the run.
All other methods have no such result, and get the error that COAZ names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from muniment.permit.meta import META_KEY
from muniment_gateway.mcp.messages import (
    DENIED,
    INTERNAL_ERROR,
    Message,
    encode,
    error_answer,
)
from muniment_gateway.mcp.waiting import waiting

_NOT_DECIDED: Final = frozenset({"could_not_evaluate", "governance_mesh_discontinuity"})


def refusal(message: Message, told: Mapping[str, Any]) -> bytes:
    """The answer to a request that is denied; `told` is what the gateway says of the decision."""
    approval = told.get("approval", {})
    if approval.get("status") == "pending":
        return waiting(message, told)
    codes: Sequence[str] = told.get("codes") or ("denied_by_policy",)
    reasons: Sequence[str] = told.get("reasons") or ()
    text = f"Denied ({', '.join(codes)})"
    if reasons:
        text = f"{text}: {'; '.join(reasons)}"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    shown = {"codes": [*codes]} | {
        name: told[name] for name in ("evaluation_id", "index") if name in told
    }
    if message.method != "tools/call":
        code = INTERNAL_ERROR if set(codes) <= _NOT_DECIDED else DENIED
        return error_answer(message.id, code, text, {META_KEY: shown})
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "_meta": {META_KEY: shown},
    }
    if message.is_modern:
        result["resultType"] = "complete"
    return encode({"jsonrpc": "2.0", "id": message.id, "result": result})
