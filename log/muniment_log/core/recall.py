"""What is kept of what producers sent that cannot sign, to recognise it when it comes again.

A gateway's batch is recognised by its place on the gateway's own stream. A producer with a token
has no such place, so its records are recognised by the ids that it gave them, and its requests by
their Idempotency-Key. What is kept is written in the transaction that gives the records their
indices: both are durable, or neither is. It is bounded: of each producer the newest are kept.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from muniment_log.core.ports import StreamKey

KEPT: Final = 1_000_000
"""Records of one producer, counted from its newest, for which it is kept what recognises them."""

NAME_SIZE: Final = 16
SCOPE_SIZE: Final = 8
_RUN: Final = Struct(">QQQ")


class RecordSpan(NamedTuple):
    """Records side by side.

    Attributes:
        first: leaf index of the first; before they have indices, their place in their request.
        size: how many.
        manifest: leaf index of the manifest behind them; NEW before they have indices.
    """

    first: int
    size: int
    manifest: int


NEW: Final = -1
"""The manifest of records that have no index yet."""


class Recall(NamedTuple):
    """What recognises one record, or one request.

    Attributes:
        name: NAME_SIZE bytes that stand for the id or the key.
        content: SHA-256 of what was said, see `repeats`.
        time: the record's time in Unix milliseconds; 0 of a request.
        runs: where the records stand, in their order.
    """

    name: bytes
    content: bytes
    time: int
    runs: tuple[RecordSpan, ...]

    def placed(self, first: int, manifest: int) -> Recall:
        """The same, once there are indices: of the request's first record, and of the manifest."""
        return Recall(self.name, self.content, self.time, placed(self.runs, first, manifest))


def placed(runs: Sequence[RecordSpan], first: int, manifest: int) -> tuple[RecordSpan, ...]:
    """The same places, once the new ones have their indices; see `Recall.placed`."""
    if len(runs) == 1 and runs[0][2] == NEW:  # as of most
        return (RecordSpan(runs[0][0] + first, runs[0][1], manifest),)
    return tuple(
        [
            RecordSpan(run.first + first, run.size, manifest) if run.manifest == NEW else run
            for run in runs
        ]
    )


def joined(runs: Sequence[RecordSpan]) -> tuple[RecordSpan, ...]:
    """The same places in as few runs as they take."""
    if len(runs) == 1:
        return (runs[0],)
    found: list[RecordSpan] = []
    for run in runs:
        last = found[-1] if found else None
        if last and (last.first + last.size, last.manifest) == (run.first, run.manifest):
            found[-1] = RecordSpan(last.first, last.size + run.size, last.manifest)
        else:
            found.append(run)
    return tuple(found)


def scope_of(key: StreamKey) -> bytes:
    """SCOPE_SIZE bytes that stand for a producer's stream where its recalls are kept."""
    return sha256(f"{key.gateway}\0{key.label}".encode()).digest()[:SCOPE_SIZE]


def pack_runs(runs: Iterable[RecordSpan]) -> bytes:
    """Runs as they are stored."""
    return b"".join([_RUN.pack(*run) for run in runs])


def unpack_runs(data: bytes) -> tuple[RecordSpan, ...]:
    """Runs as they were stored."""
    return tuple([RecordSpan(*numbers) for numbers in _RUN.iter_unpack(data)])
