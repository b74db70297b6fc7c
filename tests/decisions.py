"""Realistic, varied decisions for tests and benchmarks: the same seed gives the same bytes."""

import json
from random import Random
from typing import Any

_TOOLS = ("search", "mail.send", "db.query", "calendar.read", "files.read", "payments.refund")
_VERBS = ("can_read", "can_create", "can_update", "can_delete", "can_list")
_TYPES = ("todo", "document", "invoice", "customer", "mailbox")
_PEOPLE = ("rick@the-citadel.com", "morty@the-citadel.com", "zoë@example.org", "李@example.org")
_REASONS = ("role grants it", "owner of the resource", "not the owner", "outside office hours")


def request(
    subject: str = "planner",
    action: str = "call",
    resource: tuple[str, str] = ("tool", "x"),
    kind: str = "agent",
) -> dict[str, Any]:
    """What somebody of a kind asks to do, with no more than it must have."""
    return {
        "subject": {"type": kind, "id": subject},
        "action": {"name": action},
        "resource": {"type": resource[0], "id": resource[1]},
    }


def outcome(name: str) -> bytes:
    """A canonical record that a call of the gateway has ended."""
    return (
        b'{"execution":"e","id":"%b","kind":"outcome","producer":"gw.example/edge",'
        b'"status":"completed","time":1790000000000,"v":1}' % name.encode()
    )


def decisions(n: int, seed: int = 1, producer: str = "gw.example/edge") -> list[bytes]:
    """Makes n canonical decision records of about 570 bytes, with distinct ids."""
    random = Random(seed)
    return [_canonical(_decision(random, index, producer)) for index in range(n)]


def _decision(random: Random, index: int, producer: str) -> dict[str, Any]:
    allowed = random.random() < 0.8
    kind = random.choice(_TYPES)
    record: dict[str, Any] = {
        "v": 1,
        "kind": "decision",
        "id": f"{random.getrandbits(128):032x}",
        "time": 1_790_000_000_000 + index * 7 + random.randrange(7),
        "producer": producer,
        "request": {
            "subject": {
                "type": "agent",
                "id": f"spiffe://example.org/agent/{random.randrange(5000)}",
                "properties": {"department": "sales", "roles": ["reader", "editor"]},
            },
            "action": {"name": f"{random.choice(_VERBS)}_{kind}"},
            "resource": {
                "type": kind,
                "id": f"{random.getrandbits(32):08x}-8ff0-41ec-98b2-{random.getrandbits(48):012x}",
                "properties": {"ownerID": random.choice(_PEOPLE)},
            },
            "context": {
                "ip": f"10.{random.randrange(256)}.{random.randrange(256)}.7",
                "tool": random.choice(_TOOLS),
                "attempt": random.randrange(4),
            },
        },
        "response": {"decision": allowed, "context": {"reason": random.choice(_REASONS)}},
    }
    if random.random() < 0.1:
        record["request"]["context"]["risk"] = random.randrange(1, 100) / 100
    if allowed:
        record["execution"] = f"run-{random.getrandbits(64):016x}"
    else:
        record["denial"] = {"codes": ["denied_by_policy"]}
    return record


def _canonical(value: Any) -> bytes:
    """Canonical for these values: no name or number here needs more than sorting."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
