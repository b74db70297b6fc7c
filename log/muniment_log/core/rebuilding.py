"""What a log's storage held, from the leaves of its tree. Pure.

Leaves stand in batches: records, and behind them the manifest that covers them. Streams continue
where their last manifest ends, a signed batch is recognised by the digest of its manifest's text,
and a record of a producer that cannot sign by the id in it. What stands in no leaf comes back from
nowhere: Idempotency-Keys, refused manifests, addenda.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from muniment.records.manifest import MANIFEST, parse_manifest
from muniment.tlog.encoding import FormatError, frame
from muniment.tlog.merkle import leaf_hash, leaf_hashes, root_of
from muniment_log.core.integrate import RightEdge, integrate
from muniment_log.core.ordering import Accepted, Commit, Kept
from muniment_log.core.ports import NEW_STREAM, StreamKey, StreamState
from muniment_log.core.recall import Recall, RecordSpan
from muniment_log.core.repeats import Stated, request_of
from muniment_log.core.tokens import TOKEN_STREAMS
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from muniment.records.manifest import Manifest


class _Members(msgspec.Struct):
    id: str
    time: int


_members: Final = msgspec.json.Decoder(_Members).decode

_AS_SENT: Final = Stated(id=True, time=False, traceparent=False)
"""What is taken for what a client has stated, since no leaf tells: its id, and no more. One that
stated its traceparent, too, is refused as a conflict when it repeats the record."""


@dataclass(slots=True)
class _Batch:
    """Leaves with their framing, as `integrate` takes them."""

    body: bytes
    offsets: Sequence[int]
    leaf_hashes: Sequence[bytes]


@dataclass(slots=True)
class Rebuilding:
    """Makes commits of leaves that come in order, and ends each with a whole batch.

    Attributes:
        origin: the log's.
        edge: the right edge of the tree that was committed.
        recalled: records of one producer, its newest, that are recognised.
        streams: where streams continue; those that are stored already, to begin with.
    """

    origin: str
    edge: RightEdge
    recalled: int
    streams: dict[StreamKey, StreamState] = field(default_factory=dict[StreamKey, StreamState])
    _open: list[bytes] = field(default_factory=list[bytes])

    @property
    def next(self) -> int:
        """Index of the leaf that comes next."""
        return self.edge.head.size + len(self._open)

    @property
    def is_whole(self) -> bool:
        """Whether the leaves end with a manifest."""
        return not self._open

    def add(self, leaves: Iterable[bytes]) -> Commit | None:
        """Takes leaves; the commit of the batches that are whole, None for none.

        Raises StorageError if they are not what a log of this kind holds.
        """
        self._open += leaves
        changed: dict[StreamKey, StreamState] = {}
        accepted: list[Accepted] = []
        kept: list[Kept] = []
        at = 0
        for place, leaf in enumerate(self._open):
            if leaf.startswith(MANIFEST):
                first = self.edge.head.size + at
                manifest = self._manifest(self._open[at:place], leaf, first)
                key = StreamKey(manifest.producer, manifest.stream)
                changed[key] = self.streams[key] = StreamState(manifest.next, leaf_hash(leaf))
                if key.label.startswith(TOKEN_STREAMS):
                    kept.append(self._recalls(key, manifest, self._open[at:place], first))
                else:
                    digest = sha256(manifest.text.encode()).digest()
                    accepted.append(Accepted(key, manifest.first, manifest.count, digest, first))
                at = place + 1
        if not at:
            return None
        whole, self._open = self._open[:at], self._open[at:]
        offsets, end = [], 0
        for leaf in whole:
            offsets.append(end)
            end += 2 + len(leaf)
        change = integrate(self.edge, [_Batch(frame(whole), offsets, leaf_hashes(whole))])
        self.edge = change.edge
        return Commit(change, changed, accepted, None, kept)

    def _manifest(self, records: Sequence[bytes], leaf: bytes, first: int) -> Manifest:
        """The manifest behind records, which covers them and continues its stream."""
        index = first + len(records)
        try:
            manifest, _ = parse_manifest(leaf)
        except FormatError as error:
            raise StorageError(f"leaf {index}: {error}") from error
        if len(records) != manifest.count or root_of(leaf_hashes(records)) != manifest.root:
            raise StorageError(f"leaves [{first}, {index}) are not those of manifest {index}")
        key = StreamKey(manifest.producer, manifest.stream)
        if manifest.origin != self.origin or (
            (manifest.first, manifest.previous) != self.streams.get(key, NEW_STREAM)
        ):
            raise StorageError(f"leaf {index} does not continue stream {key.gateway} {key.label}")
        return manifest

    def _recalls(
        self, key: StreamKey, manifest: Manifest, records: Sequence[bytes], first: int
    ) -> Kept:
        """What recognises records by their ids, as if each had been sent alone."""
        try:
            members = [(found.id, found.time) for found in map(_members, records)]
        except msgspec.MsgspecError as error:
            raise StorageError(f"leaves from {first} on are no records: {error}") from error
        said = request_of(records, [_AS_SENT] * len(records), members, None).said
        index = first + len(records)
        recalls = {
            one.name: Recall(one.name, one.content, one.logged, (RecordSpan(at, 1, index),))
            for at, one in enumerate(said, first)
            if one is not None
        }
        oldest = max(0, manifest.first - self.recalled)
        return Kept(key, manifest.first, oldest, list(recalls.values()))
