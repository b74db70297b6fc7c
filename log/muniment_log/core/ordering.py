"""What the sequencer says to its order, and the embedded order to its store and listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from msgspec import Struct

from muniment_log.core.ports import StreamKey, StreamState
from muniment_log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from muniment.records.manifest import Batch
    from muniment.tlog.heads import Head
    from muniment_log.core.integrate import Integration
    from muniment_log.core.recall import Recall

MAX_REFUSED: Final = 1000
"""Refused manifests kept as evidence of forked streams. Each is signed by a configured gateway, so
only a gateway can fill the table; the oldest stay, because the first fork is the proof."""


class Ordering(NamedTuple):
    """One batch to be ordered, whose stream is believed to continue with it.

    Attributes:
        key: its stream.
        batch: the batch.
        digest: SHA-256 of its manifest's text; None for a batch that the log framed itself, which
            nobody can send again.
        recalls: what recognises the records of such a batch, by their places in their request.
        places: in step with them, the place in the batch of their request's first record.
    """

    key: StreamKey
    batch: Batch
    digest: bytes | None
    recalls: Sequence[Recall] = ()
    places: Sequence[int] = ()

    @property
    def before(self) -> StreamState:
        """Where the stream must continue for this batch to be next."""
        manifest = self.batch.manifest
        return StreamState(manifest.first, manifest.previous)

    @property
    def after(self) -> StreamState:
        """Where the stream continues after it."""
        return StreamState(self.batch.manifest.next, self.batch.leaf_hashes[-1])


class StreamsMovedError(LogError):
    """Nothing was ordered: streams continue elsewhere than believed, where `states` says."""

    def __init__(self, states: dict[StreamKey, StreamState]) -> None:
        super().__init__(f"{len(states)} streams were moved by another process")
        self.states = states


class KnownError(LogError):
    """Nothing was committed: something of it is recognised."""


class RecalledError(LogError):
    """Nothing was ordered: some of the records had been logged before.

    Attributes:
        names: what recognises them, by stream.
    """

    def __init__(self, names: dict[StreamKey, frozenset[bytes]]) -> None:
        super().__init__("some of the records had been logged before")
        self.names = names


class StreamRecords(Protocol):
    """What is known of streams, as an order and its store tell it alike."""

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues."""
        ...

    async def accepted(self, key: StreamKey, first: int) -> Accepted | None:
        """The signed batch that begins at a sequence number."""
        ...

    async def recall(self, key: StreamKey, names: Sequence[bytes]) -> Mapping[bytes, Recall]:
        """What is kept under names of a stream of the log's own; most often nothing."""
        ...

    async def keep_refused(self, key: StreamKey, first: int, note: bytes) -> None:
        """Keeps a manifest that contradicts an accepted one."""
        ...


class Order(StreamRecords, Protocol):
    """Gives batches their indices, durably."""

    async def order(self, orderings: Sequence[Ordering]) -> int:
        """Orders batches, all or none, one after the other; the leaf index of the first record.

        Raises:
            RecalledError: nothing was ordered, some of it had been before.
            StreamsMovedError: nothing was ordered; only when shared.
            OverloadedError: nothing was ordered, too much waits to be integrated.
            UnavailableError: the outcome is unknown, and this process goes on.
            StorageError: the outcome is unknown, and the process must end.
        """
        ...

    async def streams(self, keys: Sequence[StreamKey]) -> Mapping[StreamKey, StreamState]:
        """Where streams continue; those never seen may be left out."""
        ...

    async def remember(self, key: StreamKey, recalls: Sequence[Recall]) -> None:
        """Keeps recalls of records that have their indices already.

        Raises RecalledError if another process has kept one of them meanwhile; only when shared.
        """
        ...


class Kept(NamedTuple):
    """Recalls to be kept, of one stream.

    Attributes:
        key: the stream.
        place: how far the stream was: sequence number of the first record of their batch.
        oldest: what is kept of places before this one goes.
        recalls: the recalls.
    """

    key: StreamKey
    place: int
    oldest: int
    recalls: Sequence[Recall]


def kept_of(orderings: Sequence[Ordering], first: int, kept: int) -> list[Kept]:
    """What is to be kept of batches whose first record got the leaf index `first`.

    `kept` is how many records of one stream recalls are kept for.
    """
    found: list[Kept] = []
    at = first
    for ordering in orderings:
        manifest = ordering.batch.manifest
        end = at + manifest.count
        if ordering.recalls:
            recalls = [
                recall.placed(at + place, end)
                for recall, place in zip(ordering.recalls, ordering.places, strict=True)
            ]
            oldest = max(0, manifest.next - kept)
            found.append(Kept(ordering.key, manifest.first, oldest, recalls))
        at = end + 1
    return found


class Accepted(Struct, frozen=True):
    """A signed batch as committed: enough to recognise a retry and answer it again.

    Attributes:
        key: its stream.
        first: sequence number of its first record.
        count: number of records.
        digest: SHA-256 of the manifest's text.
        index: leaf index of its first record.
    """

    key: StreamKey
    first: int
    count: int
    digest: bytes
    index: int


class StoredHeads(Struct, frozen=True, kw_only=True):
    """The heads that a storage holds.

    Attributes:
        head: the integrated tree.
        signed: the newest checkpoint that the log signed.
        published: the published checkpoint.
    """

    head: Head
    signed: bytes | None
    published: bytes | None


class Loaded(StoredHeads, frozen=True, kw_only=True):
    """What the file holds of the heads, and of the tree's right edge.

    Attributes:
        fragments: the partial bundle, in order.
        partials: level above 0 → (tile index, hashes) of the last stored tile of that level.
        pruned: entries below this index were pruned.
    """

    fragments: tuple[bytes, ...]
    partials: Mapping[int, tuple[int, bytes]]
    pruned: int


class Commit(Struct, frozen=True):
    """Everything that one transaction writes.

    Attributes:
        change: the tree's part.
        streams: where each touched stream continues afterwards.
        accepted: the signed batches, to recognise retries.
        sign: makes the signed checkpoint of the new head; runs on the writer's thread, where it
            does not hold up the event loop. None when nobody waits for a signature.
        kept: what recognises records of producers that cannot sign.
    """

    change: Integration
    streams: Mapping[StreamKey, StreamState]
    accepted: Sequence[Accepted]
    sign: Callable[[], bytes] | None
    kept: Sequence[Kept] = ()


class Store(StreamRecords, Protocol):
    """What the embedded order needs of its store; see `SQLiteStore`."""

    async def commit(self, commit: Commit) -> bytes | None:
        """Makes a group of batches durable; the signed checkpoint when one was asked for."""
        ...

    async def remember(self, kept: Kept) -> None:
        """Keeps recalls of records that have their indices already."""
        ...


class Listener(Protocol):
    """Who is told about heads: the publisher and the tile source, put together by the app."""

    def signer(self) -> Callable[[Head], bytes] | None:
        """Asked before each commit: how to sign its head, None when no signature is wanted now."""
        ...

    def committed(self, change: Integration, signed: bytes | None) -> None:
        """Told after each commit, before any receipt is given."""
        ...
