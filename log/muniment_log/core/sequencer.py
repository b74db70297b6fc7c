"""The sequencer: takes all that waits, and has it ordered in one transaction.

Handlers enqueue verified batches; one task takes all that waits (bounded by leaves and bytes) and
hands it to the storage's `Order`. While one group is on its way to the disk the next gathers, so
groups grow with the load and a lone batch waits for nothing.

This class is for an order that is the only one of its log: what this process remembers of a stream
is the truth, and when a commit fails nobody knows what is on disk, so the sequencer stops for good
and the process ends. `sharedsequencer` is for an order that has other sequencers beside it.

Crash argument. A receipt is given only after its transaction is durable, so a restart finds every
acknowledged batch. When the outcome of a transaction is not known, everybody who waits gets an
error that says so. The batch is then there, and a retry gets its receipt, or not, and a retry logs
it.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from muniment_log.core.ordering import RecalledError
from muniment_log.core.orderroom import OrderRoom
from muniment_log.core.ports import Receipt, StreamKey, StreamState
from muniment_log.core.queueing import OrderQueue
from muniment_log.core.recall import KEPT
from muniment_log.core.streams import BatchPlace, Pending, Stream, digest_of, new_future, refuse
from muniment_log.core.streamtable import StreamTable
from muniment_log.core.tokenintake import TokenIntake
from muniment_log.errors import (
    EngineRefusedError,
    NotOrderedError,
    StorageError,
    StreamConflictError,
    StreamGapError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment.records.manifest import Batch
    from muniment_log.core.ordering import Order
    from muniment_log.core.queueing import Group, Told
    from muniment_log.core.repeats import RequestRecords
    from muniment_log.core.tokens import TokenFramer
    from muniment_log.metrics import LogMetrics


class SequencerLimits(Struct, frozen=True):
    """Bounds of the sequencer's memory and of one commit.

    Attributes:
        waiting_bytes: bodies accepted but not yet durable, over all streams.
        commit_leaves: leaves in one transaction; more wait for the next one.
        commit_bytes: bytes of bodies in one transaction, unless one batch alone is larger.
        parked_batches: batches of one stream that wait for those before them.
        parked_seconds: how long they wait.
        streams: streams remembered in memory; those in use do not count.
        recalled_records: records of one producer that cannot sign, its newest, that are recognised
            when they come again.
    """

    waiting_bytes: int = 64 << 20
    commit_leaves: int = 16_384
    commit_bytes: int = 16 << 20
    parked_batches: int = 64
    parked_seconds: float = 5.0
    streams: int = 10_000
    recalled_records: int = KEPT

    def queue(self, framer: TokenFramer) -> OrderQueue:
        """An empty queue whose groups keep to the bounds of one commit."""
        return OrderQueue(framer, self.commit_leaves, self.commit_bytes)


async def _always() -> None:
    """Nothing keeps records from being taken."""


class Sequencer:
    """Orders records over an `Order`; belongs to one event loop, and `run` is its one task.

    Attributes:
        remembered: what is known of streams; for others only to look at.
    """

    def __init__(
        self,
        *,
        order: Order,
        queue: OrderQueue,
        metrics: LogMetrics,
        limits: SequencerLimits,
        cleared: Callable[[], Awaitable[None]] = _always,
    ) -> None:
        """Puts a sequencer together.

        Args:
            order: makes groups durable.
            queue: what waits to be ordered; empty.
            metrics: where to count.
            limits: the bounds.
            cleared: awaited before each group; raises `UnavailableError` when none may be taken.
        """
        self._order = order
        self._queue = queue
        self._metrics = metrics
        self._limits = limits
        self._cleared = cleared
        self.remembered = StreamTable(limits.streams)
        self._room = OrderRoom(limits.waiting_bytes, metrics)
        self._wake = asyncio.Event()
        self._intake = TokenIntake(
            order=order,
            queue=queue,
            room=self._room,
            remembered=self.remembered,
            hold=self._hold,
            check=self._check,
            wake=self._wake.set,
        )
        self._parked = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a commit is under way, or follows at once."""
        return self._queue.is_busy

    @property
    def waiting_bytes(self) -> int:
        """Bytes of what was accepted and is not yet durable."""
        return self._room.held

    @property
    def failure(self) -> BaseException | None:
        """Why the sequencer stopped for good; None while it works."""
        return self._failure

    async def submit(self, batch: Batch) -> Receipt:
        """Orders a verified batch, see `SequencerPort.submit`."""
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
            self.remembered.let_go(stream)

    async def submit_records(self, producer: str, request: RequestRecords) -> Receipt:
        """Orders records of a producer that cannot sign; see `SequencerPort.submit_records`."""
        return await self._intake.submit(producer, request)

    def submit_at_once(self, producer: str, request: RequestRecords, done: Told) -> bool:
        """Does the same without a task, for most records; see `TokenIntake.submit_at_once`."""
        return self._intake.submit_at_once(producer, request, done)

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues, as committed."""
        known = self.remembered.get(key)
        return await self._order.stream(key) if known is None else known.committed

    async def run(self) -> None:
        """Commits what waits, until cancelled.

        Raises StorageError if a commit failed; the process must end.
        """
        try:
            await self._work()
        except BaseExceptionGroup as group:
            self._fail(group.exceptions[0])
            raise group.exceptions[0] from group
        except BaseException as error:
            self._fail(error)
            raise

    async def _work(self) -> None:
        await self._commit_all()

    async def _commit_all(self) -> None:
        while True:
            if not self.is_busy and self._failure is None:
                self._wake.clear()
                await self._wake.wait()
                if self._failure is not None:
                    raise self._failure
            if await self._is_cleared():
                await self._commit(await self._gathered())

    async def _gathered(self) -> Group:
        """The next group; while it is being framed, a commit is under way."""
        self._queue.is_committing = True
        try:
            return await self._queue.gather()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._queue.is_committing = False

    async def _is_cleared(self) -> bool:
        """Whether a group may be taken; what waits is refused when not."""
        self._queue.is_held = True  # no commit comes before it, and no head waits for one
        try:
            await self._cleared()
        except UnavailableError as error:
            # Nothing of it was ordered, so what came with it need not be kept for that.
            self._refuse_waiting(NotOrderedError(str(error)))
            return False
        finally:
            self._queue.is_held = False
        return True

    async def _submit(self, stream: Stream, batch: Batch, digest: bytes) -> Receipt:
        place, known = stream.place(batch, digest)
        if known is not None:
            return await asyncio.shield(known.done)
        first = batch.manifest.first
        if place is BatchPlace.PAST:
            return await self._receipt_of(stream.key, first, digest)
        if place is BatchPlace.EARLY and len(stream.parked) >= self._limits.parked_batches:
            raise self._too_early(stream, first)
        size = len(batch.body)
        self._check()
        self._room.take(size)
        pending = Pending(stream.key, batch, digest, new_future())
        pending.done.add_done_callback(lambda _: self._room.give(size))
        if place is BatchPlace.NEXT:
            self._enqueue(stream, pending)
        else:
            self._park(stream, pending)
        return await asyncio.shield(pending.done)

    def _enqueue(self, stream: Stream, pending: Pending) -> None:
        self._queue.batches.extend(stream.queue(pending))
        self._wake.set()

    def _park(self, stream: Stream, pending: Pending) -> None:
        stream.parked[pending.first] = pending
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            self._limits.parked_seconds, self._expire, stream, pending, loop.time()
        )
        pending.done.add_done_callback(lambda _: timer.cancel())
        self._parked.set()

    async def _receipt_of(self, key: StreamKey, first: int, digest: bytes) -> Receipt:
        accepted = await self._order.accepted(key, first)
        if accepted is None:
            raise StreamConflictError(first, "no batch of the stream begins at this number")
        if accepted.digest != digest:
            raise StreamConflictError(first, "the stream holds another batch at this number")
        end = accepted.index + accepted.count
        return Receipt(accepted.index, accepted.count, end, end + 1)

    def _too_early(self, stream: Stream, first: int) -> Exception:
        """Why a batch is refused before which too much of its stream is missing."""
        return StreamGapError(stream.expected.next, first)

    def _expire(self, stream: Stream, pending: Pending, since: float) -> None:  # noqa: ARG002  # where the order is shared
        """Refuses a batch that has been early since a time of the event loop's clock."""
        if stream.parked.get(pending.first) is pending:
            del stream.parked[pending.first]
            refuse(pending, StreamGapError(stream.expected.next, pending.first))

    async def _hold(self, key: StreamKey) -> Stream:
        """The stream's state in memory, read from the store when it is not there."""
        self._check()
        stream = self.remembered.get(key)
        if stream is None:
            state = await self._order.stream(key)
            stream = self.remembered.add(key, state)
            self._check()
        self.remembered.hold(stream)
        return stream

    async def _commit(self, group: Group) -> None:
        started = perf_counter()
        orderings = group.orderings
        self._queue.is_committing = True
        try:
            at = await self._order.order(orderings)
        except Exception as error:
            self._queue.is_committing = False
            if await self._is_undone(group, error):
                return
            self._fail(error)
            group.refuse(self._unavailable())
            raise
        except BaseException as error:
            self._fail(error)
            group.refuse(self._unavailable())
            raise
        self._queue.is_committing = False
        self._answer(group, at)
        leaves = sum(len(ordering.batch.offsets) for ordering in orderings)
        self._metrics.committed(leaves, perf_counter() - started)

    async def _is_undone(self, group: Group, error: Exception) -> bool:
        """Whether nothing of a group was ordered, and all of it has been answered or put back.

        Otherwise the outcome is unknown, and the sequencer stops.
        """
        if not isinstance(error, RecalledError):
            return False
        known = group.take_out(error.names)
        self._put_back(group)
        for waiting in known:
            self._intake.note_repeat(waiting)
            waiting.refuse(error)
        return True

    def _put_back(self, group: Group) -> None:
        """Takes a group back of which nothing was ordered; the streams continue as committed."""
        self._queue.put_back(group)
        for stream, _, _ in group.framed:
            stream.expected = stream.committed

    def _answer(self, group: Group, at: int) -> None:
        for pending in group.signed:
            count = pending.batch.manifest.count
            self.remembered[pending.key].settled(pending)
            end = at + count
            pending.done.set_result(Receipt(at, count, end, end + 1))
            at = end + 1
        for stream, batch, part in group.framed:
            stream.committed = stream.expected
            end = at + batch.manifest.count
            for waiting in part:
                count = len(waiting.records)
                waiting.answer(Receipt(at, count, end, end + 1))
                at += count
            at = end + 1

    async def _keep_refused(self, key: StreamKey, first: int, note: bytes) -> None:
        try:
            await self._order.keep_refused(key, first, note)
        except EngineRefusedError:
            raise
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
        self._refuse_all(self._unavailable())

    def _refuse_waiting(self, error: Exception) -> None:
        """Refuses all that waits; what is remembered of streams may have come to nothing."""
        self._refuse_all(error)
        self.remembered.clear()

    def _refuse_all(self, error: Exception) -> None:
        """Refuses all that waits."""
        self._queue.refuse(error)
        for stream in self.remembered:
            for pending in (*stream.queued.values(), *stream.parked.values()):
                refuse(pending, error)
