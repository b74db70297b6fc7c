"""What waits to be ordered: two queues, from which each commit takes a group."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct

from muniment_log.core.ordering import Ordering
from muniment_log.core.ports import StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from muniment.records.manifest import Batch
    from muniment_log.core.claims import Claim
    from muniment_log.core.ports import Receipt, StreamKey
    from muniment_log.core.recall import Recall
    from muniment_log.core.repeats import RequestPlan
    from muniment_log.core.streams import Pending, Stream
    from muniment_log.core.tokens import TokenFramer

    Told = Callable[[Receipt | Exception], object]
    """Who waits for the outcome of a request."""


class Records(Struct, eq=False):
    """Records of one request of a producer that cannot sign.

    Attributes:
        stream: the log's own stream for the producer.
        plan: what of the request is to be logged.
        size: bytes of its records.
        done: told the request's receipt when the records are durable, or why they are not.
        settled: told before, when they wait no more.
        claim: on what recognises them; held until they are settled.
    """

    stream: Stream
    plan: RequestPlan
    size: int
    done: Told
    settled: Callable[[Records], None]
    claim: Claim | None

    @property
    def records(self) -> Sequence[bytes]:
        """Canonical records, in order."""
        return self.plan.records

    def answer(self, receipt: Receipt) -> None:
        """Answers whoever waits; the receipt is that of these records."""
        self.settled(self)
        self.done(self.plan.receipt(receipt))

    def refuse(self, error: Exception) -> None:
        """Answers whoever waits with an error."""
        self.settled(self)
        self.done(error)


class Group(Struct, eq=False):
    """What one commit takes.

    Attributes:
        signed: batches that gateways signed; their streams have them queued.
        framed: batches that the log framed itself, with the requests in them.
    """

    signed: list[Pending]
    framed: list[tuple[Stream, Batch, list[Records]]]

    @property
    def orderings(self) -> list[Ordering]:
        """The batches as the order takes them, the signed ones first."""
        orderings = [
            Ordering(pending.key, pending.batch, pending.digest) for pending in self.signed
        ]
        return orderings + [
            Ordering(stream.key, batch, None, *_recalls(part))
            for stream, batch, part in self.framed
        ]

    def take_out(self, names: Mapping[StreamKey, frozenset[bytes]]) -> list[Records]:
        """Takes the requests out that some names recognise; the batches are to be framed anew."""
        found: list[Records] = []
        for stream, _, part in self.framed:
            taken = names.get(stream.key, frozenset())
            others: list[Records] = []
            for one in part:
                is_known = any(recall.name in taken for recall in one.plan.recalls)
                (found if is_known else others).append(one)
            part[:] = others
        return found

    def refuse(self, error: Exception) -> None:
        """Answers the requests in framed batches; those in signed ones belong to their streams."""
        for _, _, part in self.framed:
            for waiting in part:
                waiting.refuse(error)


def _recalls(part: Sequence[Records]) -> tuple[list[Recall], list[int]]:
    """What recognises the records of some requests, and where these begin in the batch of all."""
    recalls: list[Recall] = []
    places: list[int] = []
    at = 0
    for waiting in part:
        plan = waiting.plan
        recalls += plan.recalls
        places += [at] * len(plan.recalls)
        at += len(plan.records)
    return recalls, places


class _Bounds:
    """What still goes into a commit of so many leaves and bytes."""

    def __init__(self, leaves: int, size: int) -> None:
        self._leaves = leaves
        self._size = size
        self._is_empty = True

    def admit(self, leaves: int, size: int) -> bool:
        """Whether so much more goes into it, which then counts; what comes first always does."""
        if not self._is_empty and (leaves > self._leaves or size > self._size):
            return False
        self._is_empty = False
        self._leaves -= leaves
        self._size -= size
        return True


class OrderQueue:
    """What waits, in order.

    Attributes:
        batches: signed batches, each next on its stream.
        records: records of producers that cannot sign.
        is_committing: whether a group is being ordered.
        is_held: whether the next group waits until records may be taken.
    """

    def __init__(self, framer: TokenFramer, leaves: int, size: int) -> None:
        self.is_committing = False
        self.is_held = False
        self.batches: deque[Pending] = deque()
        self.records: deque[Records] = deque()
        self._framer = framer
        self._leaves = leaves
        self._size = size
        self._records_first = False

    def __bool__(self) -> bool:
        return bool(self.batches or self.records)

    @property
    def is_busy(self) -> bool:
        """Whether a commit is under way, or follows at once."""
        return not self.is_held and (self.is_committing or bool(self))

    def stream_of(self, producer: str) -> StreamKey:
        """The log's own stream for a producer that cannot sign."""
        return self._framer.key(producer)

    async def gather(self) -> Group:
        """Takes what waits, in order, bounded; frames the records of those who cannot sign.

        Neither batches nor records have the other wait for more than every second group. Raises
        SigningError when who keeps the log's key has not signed what frames them; they wait again
        then, and the streams hold the signed batches.
        """
        group = Group([], [])
        producers: dict[StreamKey, list[Records]] = {}
        bounds = _Bounds(self._leaves, self._size)
        first = self._records_first
        if first:
            self._take_records(producers, bounds)
        while self.batches:
            batch = self.batches[0].batch
            if not bounds.admit(len(batch.offsets), len(batch.body)):
                break
            group.signed.append(self.batches.popleft())
        if not first:
            self._take_records(producers, bounds)
        # Records that found no room go first the next time, and batches the time after.
        self._records_first = bool(self.records) and not first
        try:
            for waiters in producers.values():
                await self._frame(group, waiters)
        except BaseException:
            self.records.extendleft(reversed([*chain.from_iterable(producers.values())]))
            raise
        return group

    def _take_records(self, producers: dict[StreamKey, list[Records]], bounds: _Bounds) -> None:
        while self.records:
            waiting = self.records[0]
            if not bounds.admit(len(waiting.records) + 1, waiting.size):
                break
            producers.setdefault(waiting.stream.key, []).append(self.records.popleft())

    async def _frame(self, group: Group, waiters: Sequence[Records]) -> None:
        """Adds the batches of a producer's records to a group."""
        stream = waiters[0].stream
        for part in self._framer.split(waiters):
            batch = await self._framer.frame(
                stream.key, stream.expected, [r for waiting in part for r in waiting.records]
            )
            manifest = batch.manifest
            stream.expected = StreamState(manifest.first + manifest.count, batch.leaf_hashes[-1])
            group.framed.append((stream, batch, part))

    def put_back(self, group: Group) -> None:
        """Takes a group back of which nothing was ordered."""
        self.batches.extendleft(reversed(group.signed))
        for _, _, part in reversed(group.framed):
            self.records.extendleft(reversed(part))

    def drop(self, key: StreamKey) -> None:
        """Forgets the batches of a stream."""
        self.batches = deque(pending for pending in self.batches if pending.key != key)

    def refuse(self, error: Exception) -> None:
        """Answers the requests that wait, and forgets all batches: their streams answer those."""
        for waiting in self.records:
            waiting.refuse(error)
        self.batches.clear()
        self.records.clear()
