"""The storage ports: a sequencer and a tile source.

Everything above them (HTTP, proofs, the publisher's reads) is the same for one SQLite file and for
frontends on PostgreSQL with tiles in an object store; tests/contract holds what both must do.

Two promises make that possible. A sequencer *orders first*: when it answers, the records are
durable at their indices, and nobody above needs to know whether the tree already covers them. A
tile source gives out *only what is committed*, so whatever it returns stays true for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from muniment.records.manifest import NO_PREVIOUS
from muniment.tlog.treereader import AuthenticTiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from muniment.records.manifest import Batch
    from muniment.tlog.tiles import Tile
    from muniment_log.core.repeats import RequestRecords


class Receipt(msgspec.Struct, frozen=True):
    """Where an accepted batch stands, the same for every retry.

    Attributes:
        first: leaf index of the first record.
        count: number of records, which stand at ``[first, first + count)``.
        manifest: leaf index of the manifest that covers them (not always ``first + count``: records
            submitted with a token share a manifest with others that came at the same time).
        size: the smallest tree size that holds the records and the manifest.
        indices: leaf index of each record in order, when they do not stand side by side because
            some had been logged before; `manifest` and `size` are then those of the newest.
    """

    first: int
    count: int
    manifest: int
    size: int
    indices: tuple[int, ...] | None = None


class StreamKey(NamedTuple):
    """A stream: the key name that signs its manifests, and the label."""

    gateway: str
    label: str


class StreamState(NamedTuple):
    """Where a stream continues.

    Attributes:
        next: sequence number of the next record; 0 for a stream never seen.
        manifest: leaf hash of the last manifest; 32 zero bytes for a stream never seen.
    """

    next: int
    manifest: bytes


NEW_STREAM = StreamState(0, NO_PREVIOUS)


class SequencerPort(Protocol):
    """Takes verified batches and gives each its place, exactly once."""

    async def submit(self, batch: Batch) -> Receipt:
        """Order a batch whose signature and records the caller has verified.

        A batch that continues its stream is new. One already accepted (same manifest text) gets its
        first receipt again. One ahead of its stream waits a bounded time for those before it.

        Raises:
            StreamGapError: the batches before this one did not come in time.
            StreamConflictError: the stream holds something else at this sequence number.
            OverloadedError: too much waits already; nothing of the batch is kept.
            UnavailableError: the outcome is unknown; a retry will tell.
        """
        ...

    async def submit_records(self, producer: str, request: RequestRecords) -> Receipt:
        """Order records of a producer that cannot sign, on the log's own stream for it.

        Args:
            producer: the producer.
            request: canonical records, and what they are recognised by: what was logged already
                gets its first receipt.

        Raises:
            IdConflictError, KeyConflictError: an id or the key stands for other content.
            OverloadedError: too much waits already; nothing of the records is kept.
            UnavailableError: the outcome is unknown.
        """
        ...

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues, as committed."""
        ...


class TileSource(AuthenticTiles, Protocol):
    """Reads what is committed, and authenticates what it reads from storage.

    One call is one round to the storage, whatever it asks for.
    """

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """The bytes of hash tiles and entry bundles, partial ones cut to their width.

        Raises:
            LookupError: a tile reaches beyond the committed tree.
            StorageError: the storage lacks or damaged what it must hold.
        """
        ...

    async def checkpoint(self) -> bytes | None:
        """The published checkpoint as last stored, or None before the first."""
        ...
