"""Decisions full of secrets, gateways that log them, and whether a log tells any."""

from pathlib import Path
from typing import Any

from logsim import LogSim, lacking_addenda, logged_records

AGENT = {"type": "agent", "id": "planner", "properties": {"name": "Ada Secret"}}
REQUEST: dict[str, Any] = {
    "subject": AGENT,
    "action": {"name": "send"},
    "resource": {"type": "tool", "id": "mail"},
    "context": {"to": "ada@secret.example"},
}
PAIR = {"request": REQUEST, "response": {"decision": True, "context": {"why": "a secret"}}}
POINTERS = {"/request/context", "/request/subject/properties", "/response/context"}


def secretive(_: Any) -> dict[str, Any]:
    return {"decision": True, "context": {"why": "a secret"}}


def tells_secrets(sim: LogSim) -> bool:
    return any(b"secret" in one.lower() for one in logged_records(sim))


def is_withheld(sim: LogSim) -> bool:
    """Whether no record tells a secret, and the log has each addendum that they name."""
    return not tells_secrets(sim) and lacking_addenda(sim) == set()


def files_of(path: Path) -> bytes:
    return b"".join(
        one.read_bytes() for one in (path / "spool", path / "spool-wal") if one.exists()
    )
