"""A simulated log of numbered decisions that each withhold one member, which it keeps."""

import json
from hashlib import sha256
from typing import Any

from logsim import NOW, ORIGIN, LogSim, decision
from muniment import Erasure, encode_record
from muniment.records.commitments import addendum


def secret(number: int) -> bytes:
    return f"secret-of-person-{number}-".encode() * 40


def content(number: int) -> bytes:
    return addendum(f"{number:032x}", secret(number).decode())


def digest(number: int) -> str:
    return sha256(content(number)).hexdigest()


def withholding(number: int, **more: Any) -> bytes:
    members = json.loads(decision(number))
    members |= {"addenda": {"/request/context": digest(number)}, "kept": "log", **more}
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def log(sim: LogSim, *numbers: int) -> None:
    """Logs decisions with what they withhold."""
    sim.append([withholding(number, execution=f"run-{number}") for number in numbers])
    sim.addenda |= {digest(number): content(number) for number in numbers}


def erase(sim: LogSim, *numbers: int, producer: str = ORIGIN) -> None:
    """Logs an erasure; the log forgets what it erases itself."""
    digests = tuple(sorted(map(digest, numbers)))
    members: dict[str, Any] = {"v": 1, "id": f"e-{sim.size}", "time": NOW * 1000, "by": "x"}
    sim.append_token(
        [encode_record(Erasure(**members, producer=producer, digests=digests))], producer
    )
    if producer == ORIGIN:
        for one in digests:
            sim.addenda.pop(one, None)
