"""The embedded sequencer (design section 4): one writer, one transaction for everything that waits.

Handlers enqueue verified batches; one task takes all that waits (bounded by leaves and bytes),
integrates it and commits it. While a commit is on its way to the disk the next group gathers, so
groups grow with the load and a lone batch waits for nothing.

Crash argument. A receipt is given only after its transaction has been synced, so a restart finds
every acknowledged batch. When a commit fails, nobody knows what is on disk: the sequencer stops for
good, everybody who waits gets an error that says so, no head is signed, and the process ends. After
the restart the batch is either there, and a retry gets its receipt, or not, and a retry logs it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from muniment_log.errors import (
    OverloadedError,
    StorageError,
    StreamConflictError,
    StreamGapError,
    UnavailableError,
)
from muniment_log.integrate import RightEdge, integrate
from muniment_log.storage.port import Head, Receipt, StreamKey, StreamState
from muniment_log.storage.store import Accepted, Commit, Listener, Store
from muniment_log.streams import Pending, Place, Stream, digest_of, new_future, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.formats.manifest import Batch
    from muniment_log.metrics import LogMetrics
    from muniment_log.tokens import TokenFramer


@dataclass(frozen=True, slots=True)
class SequencerLimits:
    """Bounds of the sequencer's memory and of one commit.

    Attributes:
        waiting_bytes: bodies accepted but not yet durable, over all streams.
        commit_leaves: leaves in one transaction; more wait for the next one.
        commit_bytes: bytes of bodies in one transaction, unless one batch alone is larger.
        parked_batches: batches of one stream that wait for those before them.
        parked_seconds: how long they wait.
        streams: streams remembered in memory; those in use do not count.
    """

    waiting_bytes: int = 64 << 20
    commit_leaves: int = 16_384
    commit_bytes: int = 16 << 20
    parked_batches: int = 64
    parked_seconds: float = 5.0
    streams: int = 10_000


@dataclass(slots=True, eq=False)
class _Records:
    """Records of one request of a producer that cannot sign."""

    stream: Stream
    records: Sequence[bytes]
    size: int
    done: asyncio.Future[Receipt]


@dataclass(slots=True, eq=False)
class _Group:
    """What one commit takes."""

    signed: list[Pending]
    framed: list[tuple[Stream, Batch, list[_Records]]]

    @property
    def batches(self) -> list[Batch]:
        return [pending.batch for pending in self.signed] + [batch for _, batch, _ in self.framed]


class Sequencer:
    """The embedded `port.Sequencer`; belongs to one event loop, and `run` is its one task."""

    def __init__(
        self,
        store: Store,
        edge: RightEdge,
        listener: Listener,
        framer: TokenFramer,
        metrics: LogMetrics,
        limits: SequencerLimits,
    ) -> None:
        """Starts from the right edge that the store holds."""
        self._store = store
        self._edge = edge
        self._listener = listener
        self._framer = framer
        self._metrics = metrics
        self._limits = limits
        self._streams: OrderedDict[StreamKey, Stream] = OrderedDict()
        self._queue: deque[Pending] = deque()
        self._records: deque[_Records] = deque()
        self._held = 0  # bytes
        self._wake = asyncio.Event()
        self._committing = False
        self._failure: BaseException | None = None

    @property
    def head(self) -> Head:
        """The integrated head: durable, not necessarily signed."""
        return self._edge.head

    @property
    def is_busy(self) -> bool:
        """Whether a commit is under way, or follows at once."""
        return self._committing or bool(self._queue or self._records)

    @property
    def failure(self) -> BaseException | None:
        """Why the sequencer stopped for good; None while it works."""
        return self._failure

    async def submit(self, batch: Batch) -> Receipt:
        """Orders a verified batch, see `port.Sequencer.submit`."""
        manifest = batch.manifest
        key = StreamKey(manifest.producer, manifest.stream)
        stream = await self._hold(key)
        try:
            return await self._submit(stream, batch, digest_of(batch))
        except StreamConflictError:
            # Signed by the gateway, and so is what it contradicts: together they are the proof.
            await self._keep_refused(key, manifest.first, batch.manifest_note)
            self._metrics.refused.labels("conflict").inc()
            raise
        except StreamGapError:
            self._metrics.refused.labels("gap").inc()
            raise
        finally:
            self._let_go(stream)

    async def submit_records(self, producer: str, records: Sequence[bytes]) -> Receipt:
        """Orders records of a producer that cannot sign, see `port.Sequencer.submit_records`."""
        size = sum(map(len, records))
        stream = await self._hold(self._framer.key(producer))
        try:
            self._take(size)
            waiting = _Records(stream, records, size, new_future())
            waiting.done.add_done_callback(lambda _: self._give(size))
            self._records.append(waiting)
            self._wake.set()
            return await asyncio.shield(waiting.done)
        finally:
            self._let_go(stream)

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues, as committed."""
        known = self._streams.get(key)
        if known is not None:
            return known.committed
        return await self._store.stream(key)

    async def run(self) -> None:
        """Commits what waits, until cancelled.

        Raises:
            StorageError: a commit failed; the process must end.
        """
        try:
            while True:
                if not self.is_busy and self._failure is None:
                    self._wake.clear()
                    await self._wake.wait()
                    if self._failure is not None:
                        raise self._failure
                await self._commit(self._gather())
        except BaseException as error:
            self._fail(error)
            raise

    async def _submit(self, stream: Stream, batch: Batch, digest: bytes) -> Receipt:
        place, known = stream.place(batch, digest)
        if known is not None:
            return await asyncio.shield(known.done)
        first = batch.manifest.first
        if place is Place.PAST:
            return await self._receipt_of(stream.key, first, digest)
        if place is Place.EARLY and len(stream.parked) >= self._limits.parked_batches:
            raise StreamGapError(stream.expected.next, first)
        size = len(batch.body)
        self._take(size)
        pending = Pending(batch, digest, new_future())
        pending.done.add_done_callback(lambda _: self._give(size))
        if place is Place.NEXT:
            self._queue.extend(stream.queue(pending))
            self._wake.set()
        else:
            stream.parked[first] = pending
            timer = asyncio.get_running_loop().call_later(
                self._limits.parked_seconds, self._expire, stream, pending
            )
            pending.done.add_done_callback(lambda _: timer.cancel())
        return await asyncio.shield(pending.done)

    async def _receipt_of(self, key: StreamKey, first: int, digest: bytes) -> Receipt:
        accepted = await self._store.accepted(key, first)
        if accepted is None:
            raise StreamConflictError(first, "no batch of the stream begins at this number")
        if accepted.digest != digest:
            raise StreamConflictError(first, "the stream holds another batch at this number")
        end = accepted.index + accepted.count
        return Receipt(accepted.index, accepted.count, end, end + 1)

    def _expire(self, stream: Stream, pending: Pending) -> None:
        if stream.parked.get(pending.first) is pending:
            del stream.parked[pending.first]
            refuse(pending, StreamGapError(stream.expected.next, pending.first))

    async def _hold(self, key: StreamKey) -> Stream:
        """The stream's state in memory, read from the store when it is not there."""
        self._check()
        stream = self._streams.get(key)
        if stream is None:
            state = await self._store.stream(key)
            # Somebody else may have loaded it meanwhile, and may already have moved it.
            stream = self._streams.setdefault(key, Stream(key, state, state))
            self._check()
        self._streams.move_to_end(key)
        stream.users += 1
        return stream

    def _let_go(self, stream: Stream) -> None:
        stream.users -= 1
        # The oldest idle ones go; a few looks a time keep this O(1).
        for _ in range(2):
            if len(self._streams) <= self._limits.streams:
                return
            key, oldest = next(iter(self._streams.items()))
            if oldest.is_idle:
                del self._streams[key]
            else:
                self._streams.move_to_end(key)

    def _take(self, size: int) -> None:
        self._check()
        if self._held + size > self._limits.waiting_bytes:
            self._metrics.refused.labels("overload").inc()
            raise OverloadedError("too much waits to be written")
        self._held += size
        self._metrics.waiting_bytes.set(self._held)

    def _give(self, size: int) -> None:
        self._held -= size
        self._metrics.waiting_bytes.set(self._held)

    def _gather(self) -> _Group:
        """Takes what waits, in order, bounded; frames the records of those who cannot sign."""
        limits = self._limits
        leaves = size = 0
        group = _Group([], [])
        while self._queue:
            batch = self._queue[0].batch
            leaves += len(batch.offsets)
            size += len(batch.body)
            if group.signed and (leaves > limits.commit_leaves or size > limits.commit_bytes):
                return group
            group.signed.append(self._queue.popleft())
        producers: dict[StreamKey, list[_Records]] = {}
        while self._records:
            waiting = self._records[0]
            leaves += len(waiting.records) + 1
            size += waiting.size
            if (group.signed or producers) and (
                leaves > limits.commit_leaves or size > limits.commit_bytes
            ):
                break
            producers.setdefault(waiting.stream.key, []).append(self._records.popleft())
        for waiters in producers.values():
            stream = waiters[0].stream
            for part in self._framer.split(waiters):
                batch = self._framer.frame(
                    stream.key, stream.expected, [r for waiting in part for r in waiting.records]
                )
                manifest = batch.manifest
                stream.expected = StreamState(
                    manifest.first + manifest.count, batch.leaf_hashes[-1]
                )
                group.framed.append((stream, batch, part))
        return group

    async def _commit(self, group: _Group) -> None:
        started = perf_counter()
        change = integrate(self._edge, group.batches)
        streams: dict[StreamKey, StreamState] = {}
        accepted: list[Accepted] = []
        at = change.before.size
        for pending in group.signed:
            manifest = pending.batch.manifest
            key = StreamKey(manifest.producer, manifest.stream)
            streams[key] = pending.after
            accepted.append(Accepted(key, manifest.first, manifest.count, pending.digest, at))
            at += manifest.count + 1
        for stream, _, _ in group.framed:
            streams[stream.key] = stream.expected
        sign = self._listener.signer()
        head = change.edge.head
        self._committing = True
        try:
            note = await self._store.commit(
                Commit(change, streams, accepted, None if sign is None else lambda: sign(head))
            )
        except BaseException as error:
            self._fail(error)
            _fail_group(group, self._unavailable())
            raise
        self._committing = False
        self._edge = change.edge
        self._listener.committed(change, note)
        self._answer(group, change.before.size)
        self._metrics.committed(head.size, head.size - change.before.size, perf_counter() - started)

    def _answer(self, group: _Group, at: int) -> None:
        for pending in group.signed:
            manifest = pending.batch.manifest
            self._streams[StreamKey(manifest.producer, manifest.stream)].settled(pending)
            end = at + manifest.count
            pending.done.set_result(Receipt(at, manifest.count, end, end + 1))
            at = end + 1
        for stream, batch, part in group.framed:
            stream.committed = stream.expected
            end = at + batch.manifest.count
            for waiting in part:
                count = len(waiting.records)
                waiting.done.set_result(Receipt(at, count, end, end + 1))
                at += count
            at = end + 1

    async def _keep_refused(self, key: StreamKey, first: int, note: bytes) -> None:
        try:
            await self._store.keep_refused(key, first, note)
        except StorageError as error:
            # The writer is gone for good; `run` must not wait for the next commit to find out.
            self._fail(error)
            self._wake.set()
            raise self._unavailable() from error

    def _check(self) -> None:
        if self._failure is not None:
            raise self._unavailable()

    def _unavailable(self) -> UnavailableError:
        return UnavailableError("the log has stopped; ask again when it is back")

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        gone = self._unavailable()
        for pending in self._queue:
            refuse(pending, gone)
        for waiting in self._records:
            if not waiting.done.done():
                waiting.done.set_exception(gone)
        for stream in self._streams.values():
            for pending in (*stream.queued.values(), *stream.parked.values()):
                refuse(pending, gone)
        self._queue.clear()
        self._records.clear()


def _fail_group(group: _Group, error: Exception) -> None:
    for _, _, part in group.framed:
        for waiting in part:
            if not waiting.done.done():
                waiting.done.set_exception(error)
