"""A record of each kind, ways to change it, and what the quick and the complete check say of it."""

import json
from typing import Any

from muniment.records import codec as recordcodec
from muniment.records.api import Decision, RecordError, check_records, parse_record
from muniment.records.canonical import encode_canonical
from muniment.tlog.encoding import FormatError

PRODUCER = "gw.example/edge"
DIGEST = "sha256:" + "0a" * 32
LEAF = "A" * 43 + "="
REQUEST: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice@acmecorp.com", "properties": {"department": "Sales"}},
    "action": {"name": "can_read", "properties": {"method": "GET"}},
    "resource": {"type": "account", "id": "123", "properties": {"tags": ["a", 1, None, 0.5]}},
    "context": {"time": "1985-10-26T01:22-07:00"},
}
ARTIFACT: dict[str, Any] = {
    "scope": {
        "actions": ["can_read"],
        "resources": [{"type": "account", "id": "123"}, {"type": "todo"}],
    },
    "binding": {"spiffe_id": "spiffe://example.org/agent/7", "thumbprint": DIGEST},
    "environment": {"image": DIGEST, "kernel": "sha384:" + "0b" * 48},
    "policy": {"id": "accounts", "revision": "42", "digest": "sha512:" + "0c" * 64},
    "validity": {"not_before": 1_790_000_000, "not_after": 1_790_000_600},
    "attribution": {
        "authority": "authority.example/ops",
        "act": {"sub": "agent-2", "act": {"sub": "agent-1", "iss": "https://id.example"}},
    },
    "governance": {"mesh": "eu-production", "owner": "Zoë"},
}
COMMON: dict[str, Any] = {"v": 1, "id": "r-1", "time": 1_790_000_000_000, "producer": PRODUCER}
DECISION: dict[str, Any] = COMMON | {
    "kind": "decision",
    "request": REQUEST,
    "response": {"decision": True, "context": {"reason": "ok"}},
    "execution": "run-1",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "artifact": ARTIFACT,
    "signatures": [{"key": "authority.example/ops+530d903a", "signature": "AAAA"}],
}
DENIED: dict[str, Any] = COMMON | {
    "kind": "decision",
    "request": REQUEST,
    "response": {"decision": False},
    "denial": {"codes": ["policy_mismatch", "denied_by_policy"]},
}
EDGE: dict[str, Any] = COMMON | {
    "kind": "edge",
    "relation": "triggered_by",
    "from": {"type": "run", "id": "run-2"},
    "to": {"type": "run", "id": "run-1", "origin": "log.example/b", "index": 7, "leaf": LEAF},
}
VERIFICATION: dict[str, Any] = COMMON | {
    "kind": "verification",
    "execution": "run-1",
    "state": "failed",
    "checks": [
        {"name": "inclusion", "result": "verified"},
        {"name": "image", "result": "failed", "evidence": DIGEST},
    ],
}
OUTCOME: dict[str, Any] = COMMON | {
    "kind": "outcome",
    "execution": "run-1",
    "status": "completed",
    "inputs": {"prompt": DIGEST},
    "outputs": {"report": DIGEST},
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
}
NEVER_BEGAN: dict[str, Any] = COMMON | {
    "kind": "outcome",
    "execution": "run-1",
    "status": "aborted",
    "denial": {"codes": ["runtime_identity_mismatch"]},
}
UNKNOWN: dict[str, Any] = COMMON | {"kind": "outcome", "execution": "run-1", "status": "unknown"}
REVOCATION: dict[str, Any] = COMMON | {
    "kind": "revocation",
    "target": {"execution": "run-1"},
    "since": 1_790_000_000,
    "reason": "the agent's key was stolen",
}
ERASURE: dict[str, Any] = COMMON | {
    "kind": "erasure",
    "digests": ["0a" * 32, "0b" * 32],
    "by": "retention of domain=hr",
    "reason": "180 days are over",
}
APPROVAL: dict[str, Any] = COMMON | {
    "kind": "approval",
    "approval": {
        "id": COMMON["id"],
        "request": "arq-1",
        "gateway": COMMON["producer"],
        "call": DIGEST,
        "decision": True,
        "approver": "alice@example.com",
        "at": 1_790_000_000,
        "not_after": 1_790_000_300,
        "reason": "it is the ticket of the customer",
        "key": "people.example/alice+01234567",
        "signature": "AA" * 42 + "AA==",
    },
}
APPROVED: dict[str, Any] = DECISION | {
    "artifact": DECISION["artifact"] | {"approval": APPROVAL["approval"]}
}
SIGNED: dict[str, Any] = APPROVAL["approval"]
FURTHER: dict[str, Any] = SIGNED | {"id": "apr-2", "key": "people.example/bob+01234568"}
BY_TWO: dict[str, Any] = DECISION | {
    "artifact": DECISION["artifact"] | {"approval": SIGNED, "further_approvals": [FURTHER]}
}
EXAMPLES = {
    "decision": DECISION,
    "denied": DENIED,
    "edge": EDGE,
    "verification": VERIFICATION,
    "outcome": OUTCOME,
    "never began": NEVER_BEGAN,
    "unknown": UNKNOWN,
    "revocation": REVOCATION,
    "erasure": ERASURE,
    "approval": APPROVAL,
    "approved": APPROVED,
    "approved by two": BY_TWO,
}
ABSENT = object()


def changed(record: dict[str, Any], path: str, value: Any) -> bytes:
    """The canonical bytes of a record with one member replaced, added or (ABSENT) removed."""
    copy = json.loads(json.dumps(record))
    *parents, last = path.split("/")
    inner = copy
    for name in parents:
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    if value is ABSENT:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return encode_canonical(copy)


def outcome_of_fast(data: bytes) -> str | None:
    """What the batch check says of one record; None when it accepts."""
    try:
        check_records([data], PRODUCER)
    except RecordError as error:
        return str(error).removeprefix("record 0: ")
    return None


def outcome_of_slow(data: bytes) -> str | None:
    """What the complete check alone says."""
    try:
        record = recordcodec.examine(data)
    except FormatError as error:
        return str(error).removeprefix("record: ")
    if record.producer != PRODUCER:
        return f"producer: expected {PRODUCER!a}, got {record.producer!a}"
    return None


def parse_decision(data: bytes) -> Decision:
    record = parse_record(data)
    assert isinstance(record, Decision)
    return record
