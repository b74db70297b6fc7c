"""Sequencers that share an order which fails: each record once, nothing held on to, none stops."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

import signing
from log_tools import LIMITS, ORIGIN, GatewayStream
from muniment_log.core.ordering import Accepted, Ordering, RecalledError, StreamsMovedError, kept_of
from muniment_log.core.ports import NEW_STREAM, Receipt, StreamKey, StreamState
from muniment_log.core.recall import Recall
from muniment_log.core.repeats import (
    IdConflictError,
    KeyConflictError,
    RequestRecords,
    Stated,
    request_of,
)
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.core.sharedsequencer import SharedSequencer
from muniment_log.core.streams import digest_of
from muniment_log.core.tokens import TokenFramer
from muniment_log.errors import EngineRefusedError, OverloadedError, UnavailableError
from muniment_log.metrics import LogMetrics
from muniment_service.metrics import Metrics
from waiting import SECONDS, until

TRY_AGAIN = (OverloadedError, UnavailableError, EngineRefusedError)


async def nothing(_: str) -> None: ...


@dataclass
class SharedOrder:
    """An `Order` in memory that several sequencers share.

    Attributes:
        before: awaited before each step, with its name; what it raises, the step raises.
        leaves: what is ordered, with b"" for each manifest.
    """

    before: Callable[[str], Awaitable[None]] = nothing
    leaves: list[bytes] = field(default_factory=list)
    places: dict[StreamKey, StreamState] = field(default_factory=dict)
    batches: dict[tuple[StreamKey, int], Accepted] = field(default_factory=dict)
    recalls: dict[tuple[StreamKey, bytes], Recall] = field(default_factory=dict)

    async def order(self, orderings: Sequence[Ordering]) -> int:
        await self.before("order")
        after: dict[StreamKey, StreamState] = {}
        moved: dict[StreamKey, StreamState] = {}
        known: dict[StreamKey, frozenset[bytes]] = {}
        for one in orderings:
            committed = self.places.get(one.key, NEW_STREAM)
            if after.get(one.key, committed) != one.before:
                moved[one.key] = committed
            after[one.key] = one.after
            found = self._found(one.key, [recall.name for recall in one.recalls])
            if found:
                known[one.key] = known.get(one.key, frozenset()) | found.keys()
        if moved:
            raise StreamsMovedError(moved)
        if known:
            raise RecalledError(known)
        first = len(self.leaves)
        for one in orderings:
            number, count = one.batch.manifest.first, one.batch.manifest.count
            if one.digest is not None:
                accepted = Accepted(one.key, number, count, one.digest, len(self.leaves))
                self.batches[one.key, number] = accepted
            self.leaves += [*one.batch.records, b""]
        self.places |= after
        for kept in kept_of(orderings, first, 1_000_000):
            self.recalls |= {(kept.key, recall.name): recall for recall in kept.recalls}
        await self.before("answer")
        return first

    async def stream(self, key: StreamKey) -> StreamState:
        return (await self.streams([key]))[key]

    async def streams(self, keys: Sequence[StreamKey]) -> Mapping[StreamKey, StreamState]:
        await self.before("streams")
        return {key: self.places.get(key, NEW_STREAM) for key in keys}

    async def accepted(self, key: StreamKey, first: int) -> Accepted | None:
        await self.before("accepted")
        return self.batches.get((key, first))

    async def recall(self, key: StreamKey, names: Sequence[bytes]) -> Mapping[bytes, Recall]:
        await self.before("recall")
        return self._found(key, names)

    async def remember(self, key: StreamKey, recalls: Sequence[Recall]) -> None:
        await self.before("remember")
        if found := self._found(key, [recall.name for recall in recalls]):
            raise RecalledError({key: frozenset(found)})
        self.recalls |= {(key, recall.name): recall for recall in recalls}

    async def keep_refused(self, key: StreamKey, first: int, note: bytes) -> None:
        raise AssertionError("nobody contradicts himself here")

    def _found(self, key: StreamKey, names: Iterable[bytes]) -> dict[bytes, Recall]:
        return {name: self.recalls[key, name] for name in names if (key, name) in self.recalls}


async def at_once() -> None: ...


@asynccontextmanager
async def sharing(
    order: SharedOrder,
    *limits: SequencerLimits,
    cleared: Callable[[], Awaitable[None]] = at_once,
) -> AsyncIterator[list[SharedSequencer]]:
    """A sequencer with each of some limits; all of them still run in the end, and hold nothing."""
    sequencers = [
        SharedSequencer(
            order=order,
            queue=one.queue(TokenFramer(ORIGIN, signing.log_signer())),
            metrics=LogMetrics(Metrics("test")),
            limits=one,
            cleared=cleared,
        )
        for one in limits
    ]
    tasks = [asyncio.create_task(sequencer.run()) for sequencer in sequencers]
    try:
        async with asyncio.timeout(SECONDS):
            yield sequencers
            await until(lambda: not any(one.is_busy for one in sequencers))
        assert [one.waiting_bytes for one in sequencers] == [0] * len(sequencers)
        assert all(stream.is_idle for one in sequencers for stream in one.remembered)
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_was_refused_while_it_was_looked_for_is_not_ordered() -> None:
    """Another process orders what an early batch waits for, and a commit of this one fails."""
    looked, told = asyncio.Event(), asyncio.Event()
    is_full = True

    async def before(step: str) -> None:
        if step == "order" and is_full:
            raise OverloadedError("the tree is too far behind")
        if step == "streams" and order.places and not looked.is_set():
            looked.set()
            await told.wait()

    order = SharedOrder(before)
    stream = GatewayStream()
    first, second = stream.take(), stream.take()
    key = StreamKey(first.manifest.producer, first.manifest.stream)
    async with sharing(order, LIMITS) as (here,):
        early = asyncio.create_task(here.submit(second))
        await until(lambda: any(stream.parked for stream in here.remembered))
        is_full = False
        await order.order([Ordering(key, first, digest_of(first))])
        is_full = True
        await looked.wait()
        with pytest.raises(OverloadedError):
            await here.submit(GatewayStream("other").take())
        with pytest.raises(OverloadedError):
            await early
        is_full = False
        told.set()
        assert (await here.submit(second)).first == 2
    assert order.leaves == [*first.records, b"", *second.records, b""]


class Chaos:
    """Clients of two sequencers over one order, all of which go wrong now and then."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.order = SharedOrder(self.before)
        self.goes_wrong = True
        self.places: dict[tuple[str, str], int] = {}

    async def before(self, step: str) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.goes_wrong and self.random.random() < 0.05:
            kinds = (UnavailableError,) if step == "answer" else TRY_AGAIN
            raise self.random.choice(kinds)(f"{step} failed")

    async def cleared(self) -> None:
        if self.goes_wrong and self.random.random() < 0.03:
            raise UnavailableError("not now")

    def limits(self) -> SequencerLimits:
        choose = self.random.choice
        return replace(
            LIMITS,
            waiting_bytes=choose((1_000, 1_000_000)),
            commit_leaves=choose((7, 1_000)),
            streams=choose((1, 100)),
        )

    def request(self) -> tuple[list[str], RequestRecords]:
        """Some ids, and what says them; one of a few keys always goes with the same ids."""
        key = self.random.choice((None, None, f"key {self.random.randrange(10)}"))
        source = self.random if key is None else random.Random(key)
        ids = [f"{source.randrange(60)}" for _ in range(source.choice((1, 1, 1, 3)))]
        text = self.random.choice(("other", *["same"] * 30)) if key is None else "same"
        return ids, said(ids, text, key)

    async def send(
        self, here: SharedSequencer, producer: str, ids: list[str], request: RequestRecords
    ) -> None:
        """Sends a request in one of the two ways, and notes where its records are."""
        receipt = None
        if self.random.random() < 0.5:
            told: asyncio.Future[Receipt | Exception] = asyncio.Future()

            def done(outcome: Receipt | Exception) -> None:
                if not told.cancelled():
                    told.set_result(outcome)  # an error if it is told twice

            if here.submit_at_once(producer, request, done):
                outcome = await told
                if isinstance(outcome, Receipt):
                    receipt = outcome
                elif not isinstance(outcome, RecalledError):
                    raise outcome
        if receipt is None:
            receipt = await here.submit_records(producer, request)
        places = receipt.indices or range(receipt.first, receipt.first + receipt.count)
        for name, place, entry in zip(ids, places, request.records, strict=True):
            assert self.places.setdefault((producer, name), place) == place
            assert self.order.leaves[place] == entry

    async def client(self, sequencers: Sequence[SharedSequencer]) -> None:
        for _ in range(25):
            here, producer = self.random.choice(sequencers), self.random.choice(PRODUCERS)
            task = asyncio.create_task(self.send(here, producer, *self.request()))
            if self.random.random() < 0.15:
                for _ in range(self.random.randrange(6)):
                    await asyncio.sleep(0)
                task.cancel()
            with suppress(asyncio.CancelledError, IdConflictError, KeyConflictError, *TRY_AGAIN):
                await task

    async def gateway(self, label: str, sequencers: Sequence[SharedSequencer]) -> None:
        stream = GatewayStream(label)
        for _ in range(10):
            batch = stream.take(self.random.randrange(1, 6))
            receipt = None
            while receipt is None:
                with suppress(*TRY_AGAIN):
                    receipt = await self.random.choice(sequencers).submit(batch)
            assert self.order.leaves[receipt.first :][: receipt.count] == list(batch.records)


PRODUCERS = ("a.example", "b.example")


def said(ids: Sequence[str], text: str, key: str | None = None) -> RequestRecords:
    entries = [b'{"id":"%b","n":"%b"}' % (name.encode(), text.encode()) for name in ids]
    stated = [Stated(id=True, time=False)] * len(ids)
    return request_of(entries, stated, [(name, 1) for name in ids], key)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_fails_each_record_is_ordered_once(seed: int) -> None:
    chaos = Chaos(seed)
    limits = (chaos.limits(), chaos.limits())
    async with sharing(chaos.order, *limits, cleared=chaos.cleared) as both:
        clients = [chaos.client(both) for _ in range(10)]
        await asyncio.gather(*clients, *(chaos.gateway(f"{n}", both) for n in range(3)))
        chaos.goes_wrong = False
        for producer in PRODUCERS:  # nothing is still claimed, and all have their places
            for name in {name for _, name in chaos.places}:
                for here in both:
                    with suppress(IdConflictError):
                        await chaos.send(here, producer, [name], said([name], "same"))
    ordered = [leaf for leaf in chaos.order.leaves if leaf.startswith(b'{"id"')]
    named = [recall for recall in chaos.order.recalls.values() if recall.time]  # not of keys
    assert len(ordered) == len(named)
