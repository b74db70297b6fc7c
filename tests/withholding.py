"""Decisions that withhold a member, each with the addendum that has it."""

import hashlib
import json
import random
import time
from typing import Any, Literal

from msgspec.structs import replace

import decisions
from log_deployment import GATEWAY
from muniment.records.addenda import take_out
from muniment.records.api import parse_record
from muniment.records.canonical import encode_canonical
from muniment.records.codec import encode_record
from muniment.records.kinds import Decision

POINTER = "/request/context/arguments"
NOW = int(time.time())


def withheld(
    number: int, subject: str = "alice", *labels: str, kept: Literal["log"] | None = None
) -> tuple[bytes, bytes]:
    """A decision that withholds what only it says, and the addendum."""
    secret = random.Random(f"{subject}{number}").randbytes(150).hex()
    artifact: dict[str, Any] = {
        "scope": {"actions": ["call"], "resources": [{"type": "tool", "id": "mail"}]},
        "policy": {"id": "p", "revision": "1", "digest": "sha256:" + "0" * 64},
        "validity": {"not_before": NOW - 3600, "not_after": NOW + 86_400},
        "attribution": {"authority": "acme"},
    }
    if labels:
        artifact["governance"] = dict(label.split("=") for label in labels)
    record = {
        **json.loads(decisions.decisions(1, producer=GATEWAY)[0]),
        "id": f"{subject}-{number}",
        "execution": f"run-{subject}-{number}",
        "time": NOW * 1000,
        "request": {
            "subject": {"type": "user", "id": subject},
            "action": {"name": "call"},
            "resource": {"type": "tool", "id": "mail"},
            "context": {"arguments": secret},
        },
        "response": {"decision": True},
        "artifact": artifact,
    }
    record.pop("denial", None)
    decision = parse_record(encode_canonical(record))
    assert isinstance(decision, Decision)
    logged, addenda = take_out(decision, [POINTER], lambda _: f"{random.getrandbits(128):032x}")
    [data] = addenda.values()
    return encode_record(replace(logged, kept=kept)), data


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
