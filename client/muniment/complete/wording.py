"""What a verified completeness proof states, in words and as JSON values."""

import json
from typing import Any, Final

from muniment.complete.keys import Key
from muniment.complete.listing import KeyList
from muniment.complete.prooffile import VerifiedComplete
from muniment.lineage.escape import terminal
from muniment.records.touched import Kind
from muniment.tlog.policy import CosignedCheckpoint, show

MAX_NAMED: Final = 20
"""Most leaves that a sentence names; JSON has all."""

_NOUNS: Final[dict[Kind, str]] = {
    "revocations": "revocations of",
    "execution": "records about run",
    "from": "edges from",
    "to": "edges to",
    "decision": "decisions that state no run, of id",
    "approval": "records of approval",
    "subject": "decisions on",
    "stream": "manifests of batches of",
    "erasure": "erasures of addendum",
}

_TARGETS: Final = {"execution": "run", "key_name": "any key named"}


def subject_of(key: Key) -> str:
    """What a key's leaves are, as a noun: "revocations of run X"."""
    parts = [*map(_shown, key.parts)]
    if key.kind == "revocations":
        parts[0] = _TARGETS.get(parts[0], parts[0])
    if len(parts) == 3:
        parts[2:] = ["of log", parts[2]]
    return " ".join((_NOUNS[key.kind], *parts))


def _shown(part: str) -> str:
    """A part as one word; one with spaces in quotes, so that it is not read as the sentence's."""
    text = terminal(part)
    return json.dumps(text) if " " in text or '"' in text else text


def sentence_of(key: Key, listing: KeyList, size: int) -> str:
    """What is stated of a key, as a sentence."""
    what = subject_of(key)
    if not listing.count:
        return f"There are no {what} as of size {size}."
    named = ", ".join(map(str, listing.indices[:MAX_NAMED]))
    if len(listing.indices) > MAX_NAMED:
        named += " and so on"
    leaves = f"leaf {named}" if listing.count == 1 else f"leaves {named}"
    if not listing.is_whole:
        return (
            f"There are {listing.count} {what} as of size {size}; named are the first "
            f"{len(listing.indices)}: {leaves}."
        )
    these = "This 1 is" if listing.count == 1 else f"These {listing.count} are"
    return f"{these} all {what} as of size {size}: {leaves}. Nothing exists beyond."


def members_of(verified: VerifiedComplete, now: int | None = None) -> dict[str, Any]:
    """What a proof states, as JSON values; cosignatures later than `now` do not count."""
    return {
        "origin": verified.log.origin,
        "size": verified.log.size,
        "time": verified.log.time(now),
        "index": {
            "origin": verified.index.origin,
            "size": verified.index.size,
            "time": verified.index.time(now),
            "witnesses": _witnesses(verified.index),
        },
        "witnesses": _witnesses(verified.log),
        "keys": [
            {
                "key": key.text,
                "kind": key.kind,
                "parts": list(key.parts),
                "count": listing.count,
                "leaves": list(listing.indices),
                "whole": listing.is_whole,
                "sentence": sentence_of(key, listing, verified.log.size),
            }
            for key, listing in verified.lists.items()
        ],
        "records": sorted(verified.entries),
    }


def _witnesses(cosigned: CosignedCheckpoint) -> list[dict[str, Any]]:
    return [{"name": show(name), "time": time} for name, time in cosigned.cosigners]
