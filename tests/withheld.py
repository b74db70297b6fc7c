"""Records that withhold something, what they withhold, and what a log takes of both."""

from hashlib import sha256
from typing import Any

import decisions
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum
from muniment.tlog.encoding import in_one_go
from muniment_log.core.addenda import Sent
from muniment_log.core.matching import matching


def content(number: int, value: object = "text") -> bytes:
    return addendum(f"{number:032x}", value)


def digest_of(data: bytes) -> bytes:
    return sha256(data).digest()


def record(*withheld: bytes, **members: Any) -> bytes:
    request = decisions.request("alice", "read", ("document", "1"), kind="user")
    addenda = {f"/request/m{n}": digest_of(data).hex() for n, data in enumerate(withheld)}
    return encode_canonical(
        {
            "v": 1,
            "kind": "decision",
            "id": "1",
            "time": 1_790_000_000_000,
            "producer": "gw.example/x",
            "request": request,
            "response": {"decision": True},
            **({"addenda": addenda} if addenda else {}),
            **members,
        }
    )


def match(records: list[bytes], addenda: list[bytes]) -> Sent | None:
    return in_one_go(matching(records, addenda, b"".join(records)))
