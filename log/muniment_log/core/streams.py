"""Exactly-once streams: what a batch is to its stream. No I/O, no waiting.

A stream is expected to continue at one sequence number, with the hash of one previous manifest.
This file owns that rule:

1. a batch at the expected number whose previous hash is the expected one is *next*;
2. a batch queued or parked already, with the same manifest text, is a *repeat*;
3. a batch before the expected number is *past*: storage knows whether it is a retry;
4. a batch ahead is *early*: it is parked until the gap before it closes;
5. everything else contradicts what the gateway said before: `StreamConflictError`.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct, field

from muniment_log.core.ports import Receipt, StreamKey, StreamState
from muniment_log.errors import StreamConflictError

if TYPE_CHECKING:
    from muniment.records.manifest import Batch


class Pending(Struct, eq=False):
    """A batch on its way into the tree.

    Attributes:
        key: its stream.
        batch: the batch, verified.
        digest: SHA-256 of the manifest's text, what identifies it.
        done: gets the receipt when the batch is durable, or why it is not.
    """

    key: StreamKey
    batch: Batch
    digest: bytes
    done: asyncio.Future[Receipt]

    @property
    def first(self) -> int:
        """Sequence number of the first record."""
        return self.batch.manifest.first

    @property
    def after(self) -> StreamState:
        """Where the stream continues after this batch."""
        manifest = self.batch.manifest
        return StreamState(manifest.first + manifest.count, self.batch.leaf_hashes[-1])


class BatchPlace(Enum):
    """What a batch is to its stream, see the module's rules."""

    NEXT = "next"
    REPEAT = "repeat"
    PAST = "past"
    EARLY = "early"


class Stream(Struct):
    """One stream's expectations, in memory.

    Attributes:
        key: gateway and label.
        committed: where the stream continues as far as is durable.
        expected: where it continues after everything queued.
        queued: batches on their way, by sequence number.
        parked: batches that came early, by sequence number.
        users: how many callers hold on to this object, so that it is not dropped from memory.
        looked: when the last look began that showed where the stream is, by the event loop's clock;
            for streams that other processes move, too.
    """

    key: StreamKey
    committed: StreamState
    expected: StreamState
    queued: dict[int, Pending] = field(default_factory=dict)
    parked: dict[int, Pending] = field(default_factory=dict)
    users: int = 0
    looked: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost by forgetting this object."""
        return not (self.queued or self.parked or self.users)

    def place(self, batch: Batch, digest: bytes) -> tuple[BatchPlace, Pending | None]:
        """Says what a batch is to this stream; for a repeat, with the batch that it repeats.

        Raises StreamConflictError by rule 5.
        """
        manifest = batch.manifest
        first = manifest.first
        known = self.queued.get(first) or self.parked.get(first)
        if known is not None:
            if known.digest != digest:
                raise StreamConflictError(first, "another batch with this number is being logged")
            return BatchPlace.REPEAT, known
        if first < self.expected.next:
            return BatchPlace.PAST, None
        if first > self.expected.next:
            return BatchPlace.EARLY, None
        if manifest.previous != self.expected.manifest:
            raise StreamConflictError(first, "the previous manifest is not the stream's last one")
        return BatchPlace.NEXT, None

    def queue(self, pending: Pending) -> list[Pending]:
        """Takes the next batch, and those parked that follow it; returns them in order.

        A parked batch that names another previous hash is answered as a conflict.
        """
        taken = []
        following: Pending | None = pending
        while following is not None:
            if following.batch.manifest.previous == self.expected.manifest:
                taken.append(following)
                self.queued[following.first] = following
                self.expected = following.after
            else:
                refuse(
                    following,
                    StreamConflictError(following.first, "the previous manifest is another"),
                )
            following = self.parked.pop(self.expected.next, None)
        return taken

    def restart(self, state: StreamState) -> None:
        """Forgets what waits: the stream was found to continue elsewhere than remembered."""
        self.queued.clear()
        self.parked.clear()
        self.committed = self.expected = state

    def settled(self, pending: Pending) -> None:
        """Notes that a queued batch is durable."""
        del self.queued[pending.first]
        self.committed = pending.after


def refuse(pending: Pending, error: Exception) -> None:
    """Answers everybody who waits for a batch with an error."""
    if not pending.done.done():
        pending.done.set_exception(error)


def new_future() -> asyncio.Future[Receipt]:
    """A future whose error may go unread: the client that waited for it may be gone."""
    future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def digest_of(batch: Batch) -> bytes:
    """What identifies a batch on its stream: the SHA-256 of its manifest's text.

    The text covers sequence, count, root and previous hash; the signature is left out, because not
    every signer makes the same one twice.
    """
    return sha256(batch.manifest.text.encode()).digest()
