"""The state of the peers, and the messages of Muniment witnesses that are not of C2SP."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct, field

from muniment.tlog.encoding import frame

EVIDENCE_PATH: Final = "/gossip/evidence"
"""GET: the list of evidence held (`EvidenceList`); POST: one file. Files are below it, by hash."""

HEADS_PATH: Final = "/gossip/heads"
"""Framed like an entry bundle, signed notes. GET: heads that are known beyond the cosigned ones;
POST: heads that have moved."""

MAX_HEADS_SIZE: Final = 1 << 20
"""Largest body of heads, read or pushed, in bytes."""

MAX_HEADS: Final = 256
"""Most heads in such a body."""

MAX_HEAD_SIZE: Final = 16_384
"""Largest note in such a body, in bytes; two ML-DSA-44 signatures take 7,000."""


class Listed(msgspec.Struct, frozen=True):
    """One line of a list of evidence."""

    origin: str
    hash: str
    kind: str = ""
    time: int = 0


class EvidenceList(msgspec.Struct, frozen=True):
    """The answer to GET /gossip/evidence."""

    evidence: list[Listed]


class PeerHead(Struct):
    """What was last read of a peer about one log; times are Unix seconds.

    Attributes:
        size: Size of the head; -1 when it has none.
        time: Timestamp of the peer's cosignature, Unix seconds.
        finding: What came of comparing it.
        compared: When, Unix seconds; with a head that has not changed, when it was last shown.
        ahead: Since when we have not reached `target`, Unix seconds; 0 when it is not ahead.
        target: A size that it had cosigned before us.
        etag: Entity tag of what was dealt with.
        error: Why the last attempt failed; empty when it did not.
        cosigns: Whether the log has shown a cosignature of the peer while the peer showed no head.
    """

    size: int = -1
    time: int = 0
    finding: str = ""
    compared: int = 0
    ahead: int = 0
    target: int = 0
    etag: str = ""
    error: str = ""
    cosigns: bool = False


class PeerState(Struct):
    """What is known of a peer.

    Attributes:
        reached: When it last answered, Unix seconds; 0 for never.
        error: Why the last round failed; empty when it did not.
        gossips: Whether it takes heads and evidence, as far as is known.
        rounds: Rounds so far.
        heads: By origin.
    """

    reached: int = 0
    error: str = ""
    gossips: bool = True
    rounds: int = 0
    heads: dict[str, PeerHead] = field(default_factory=dict)
    evidence_etag: str = ""
    heads_etag: str = ""


def frame_heads(notes: Sequence[bytes]) -> bytes:
    """Frames as many notes as fit; the others are left to the monitoring endpoint."""
    taken: list[bytes] = []
    size = 0
    for note in notes[:MAX_HEADS]:
        if len(note) <= MAX_HEAD_SIZE and size + len(note) + 2 <= MAX_HEADS_SIZE:
            taken.append(note)
            size += len(note) + 2
    return frame(taken)
