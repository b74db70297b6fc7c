"""Single records that workers hand over at the same time: one commit, and each its own outcome."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from log_tools import LIMITS, Embedded, all_entries, embedded, nameless, ports_of
from muniment_log.core.addenda import Addendum, Sent
from muniment_log.core.ports import Receipt
from muniment_log.core.repeats import IdConflictError, RequestRecords, Stated, request_of
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.errors import OverloadedError, StorageError, UnavailableError
from muniment_log.workers.channel import Channel, open_channel
from muniment_log.workers.desk import Desk
from muniment_log.workers.remote import RemoteOrders
from waiting import until

WHO = "curl.example/dev"
unused: Any = None


def said(id_: str, text: str = "x", *, key: str | None = None) -> RequestRecords:
    """A request of one record with an id of its own."""
    entry = b'{"id":"%b","n":"%b"}' % (id_.encode(), text.encode())
    return request_of([entry], [Stated(id=True, time=False)], [(id_, 1)], key)


@dataclass
class Gate:
    """What a commit waits for; an error refuses what waits, once."""

    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    error: UnavailableError | None = None

    async def __call__(self) -> None:
        await self.is_open.wait()
        error, self.error = self.error, None
        if error is not None:
            raise error


@dataclass
class WorkerEnd:
    """A worker, and the end of its channel in the process that orders."""

    orders: RemoteOrders
    channel: Channel
    desk: Channel

    def send(self, requests: Sequence[RequestRecords]) -> "asyncio.Future[list[Any]]":
        """Hands them over in one turn; their outcomes."""
        return asyncio.gather(
            *(self.orders.records(WHO, request, None) for request in requests),
            return_exceptions=True,
        )


@dataclass
class Several:
    """A log and its workers; its stream is known from a record before, at 0."""

    log: Embedded
    gate: Gate
    workers: list[WorkerEnd]

    async def hold(self, *sent: RequestRecords) -> None:
        """Waits until so much waits for the gate."""
        size = sum(len(entry) for request in sent for entry in request.records)
        await until(lambda: self.log.sequencer.waiting_bytes == size)

    async def logged(self) -> list[bytes]:
        leaves = await all_entries(self.log.tiles, self.log.head.size)
        return [leaf for leaf in leaves if leaf.startswith(b"{")]

    @property
    def commits(self) -> int:
        return len(self.log.listener.heads)

    def is_at_rest(self) -> bool:
        sequencer = self.log.sequencer
        return not sequencer.waiting_bytes and all(one.is_idle for one in sequencer.remembered)


@asynccontextmanager
async def several(
    path: Path, count: int = 2, limits: SequencerLimits = LIMITS
) -> AsyncIterator[Several]:
    gate = Gate()
    gate.is_open.set()
    async with embedded(path, limits, cleared=gate) as log:
        await log.sequencer.submit_records(WHO, nameless(b'{"n":"first"}'))
        ports = ports_of(log)
        workers: list[WorkerEnd] = []
        for _ in range(count):
            ours, theirs = socket.socketpair()
            desk = Desk(ports, unused)
            here = await open_channel(ours, desk.questions, desk.notices, desk.prompt)
            there = await open_channel(theirs, {}, {})
            workers.append(WorkerEnd(RemoteOrders(there), there, here))
        gate.is_open.clear()
        try:
            yield Several(log, gate, workers)
        finally:
            for worker in workers:
                await worker.channel.abort()
                await worker.desk.abort()


async def test_what_workers_hand_over_while_a_commit_waits_goes_together(tmp_path: Path) -> None:
    async with several(tmp_path / "log.db") as made:
        sent = [[said(f"{worker}-{n}") for n in range(30)] for worker in range(2)]
        outcomes = [worker.send(some) for worker, some in zip(made.workers, sent, strict=True)]
        await made.hold(*sent[0], *sent[1])
        before = made.commits
        made.gate.is_open.set()
        receipts = await asyncio.gather(*outcomes)
        assert made.commits == before + 1
        leaves = await all_entries(made.log.tiles, made.log.head.size)
        for some, theirs in zip(sent, receipts, strict=True):
            places = [receipt.first for receipt in theirs]
            assert places == sorted(places)  # as they were handed over
            assert [leaves[at] for at in places] == [each.records[0] for each in some]
            assert {(each.count, each.indices) for each in theirs} == {(1, None)}
        assert len({each.first for theirs in receipts for each in theirs}) == 60
        # They are recognised as ever, by whichever worker.
        again = await made.workers[1].send(sent[0])
        assert again == receipts[0]
        assert made.is_at_rest()


async def test_one_that_is_refused_or_known_harms_no_other(tmp_path: Path) -> None:
    async with several(tmp_path / "log.db", 1) as made:
        (worker,) = made.workers
        made.gate.is_open.set()
        (known,) = await worker.send([said("known")])
        made.gate.is_open.clear()
        some = [
            said("a"),
            said("known"),
            said("twice"),
            said("known", "other content"),
            said("twice"),
            said("b"),
            said("twice", "other content"),
            said("keyed", key="k"),
            said("keyed", key="k"),
        ]
        waiting = worker.send(some)
        await made.hold(*some)
        made.gate.is_open.set()
        a, again, twice, other, same, b, clash, keyed, key_again = await waiting
        assert again == known
        assert same == twice
        assert key_again == keyed
        assert isinstance(other, IdConflictError)
        assert isinstance(clash, IdConflictError)
        assert len({each.first for each in (known, a, twice, b, keyed)}) == 5
        entries = [b'{"n":"first"}', *(each.records[0] for each in (some[1], some[0], some[2]))]
        logged = await made.logged()
        assert sorted(logged) == sorted([*entries, some[5].records[0], some[7].records[0]])
        assert made.is_at_rest()


async def test_more_than_there_is_room_for_is_refused_and_the_rest_is_not(tmp_path: Path) -> None:
    some = [said(f"{n:03}") for n in range(8)]
    room = 5 * len(some[0].records[0])
    limits = replace(LIMITS, waiting_bytes=room)
    async with several(tmp_path / "log.db", 1, limits) as made:
        waiting = made.workers[0].send(some)
        await made.hold(*some[:5])
        made.gate.is_open.set()
        outcomes = await waiting
        assert [isinstance(each, Receipt) for each in outcomes] == 5 * [True] + 3 * [False]
        assert all(isinstance(each, OverloadedError) for each in outcomes[5:])
        assert made.is_at_rest()
        later = await made.workers[0].send(some[5:])
        assert all(isinstance(each, Receipt) for each in later)
        assert len(await made.logged()) == 9


async def test_what_a_worker_handed_over_is_logged_once_though_it_ended(tmp_path: Path) -> None:
    """Whoever had sent it sends it again, to another one, and gets its place."""
    async with several(tmp_path / "log.db") as made:
        ending, other = made.workers
        some = [said(f"{n}") for n in range(20)]
        lost = ending.send(some)
        await made.hold(*some)
        await ending.channel.abort()
        assert {type(each) for each in await lost} == {UnavailableError}
        await ending.desk.ended.wait()
        again = other.send(some)
        made.gate.is_open.set()
        receipts = await again
        assert len({each.first for each in receipts}) == 20
        entries = [b'{"n":"first"}', *(each.records[0] for each in some)]
        assert sorted(await made.logged()) == sorted(entries)
        assert made.is_at_rest()


async def test_those_who_wait_learn_that_the_process_that_orders_has_ended(tmp_path: Path) -> None:
    async with several(tmp_path / "log.db", 1) as made:
        some = [said(f"{n}") for n in range(20)]
        waiting = made.workers[0].send(some)
        await made.hold(*some)
        await made.workers[0].desk.abort()
        assert {type(each) for each in await waiting} == {UnavailableError}


async def test_a_commit_that_failed_is_an_unknown_outcome_to_all_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to try again, and nothing is taken any more."""

    async def fail(_: object) -> bytes:
        raise StorageError("the disk is gone")

    async with several(tmp_path / "log.db", 1) as made:
        some = [said(f"{n}") for n in range(20)]
        waiting = made.workers[0].send(some)
        await made.hold(*some)
        monkeypatch.setattr(made.log.store, "commit", fail)
        made.gate.is_open.set()
        assert {type(each) for each in await waiting} == {UnavailableError}
        with pytest.raises(StorageError):
            await made.log.task
        (late,) = await made.workers[0].send([said("late")])
        assert isinstance(late, UnavailableError)
        assert made.log.sequencer.waiting_bytes == 0


async def test_what_may_not_be_taken_now_is_refused_and_not_logged_later(tmp_path: Path) -> None:
    async with several(tmp_path / "log.db", 1) as made:
        some = [said(f"{n}") for n in range(20)]
        waiting = made.workers[0].send(some)
        await made.hold(*some)
        made.gate.error = UnavailableError("not now")
        made.gate.is_open.set()
        outcomes = await waiting
        assert {str(each) for each in outcomes} == {"not now"}
        (receipt,) = await made.workers[0].send(some[:1])
        assert receipt.first == 2  # behind the first one and its manifest
        assert await made.logged() == [b'{"n":"first"}', some[0].records[0]]


async def test_one_who_stops_waiting_keeps_no_other_from_its_receipt(tmp_path: Path) -> None:
    async with several(tmp_path / "log.db", 1) as made:
        (worker,) = made.workers
        some = [said(f"{n}") for n in range(4)]
        tasks = [asyncio.create_task(worker.orders.records(WHO, one, None)) for one in some]
        await made.hold(*some)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        made.gate.is_open.set()
        receipts = [await tasks[n] for n in (0, 2, 3)]
        (again,) = await worker.send([some[1]])
        assert len({each.first for each in (*receipts, again)}) == 4
        assert len(await made.logged()) == 5
        assert made.is_at_rest()


async def test_what_has_to_wait_for_something_is_not_queued_at_once(tmp_path: Path) -> None:
    told: list[Receipt | Exception] = []
    async with embedded(tmp_path / "log.db") as log:
        sequencer = log.sequencer
        assert not sequencer.submit_at_once(WHO, said("a"), told.append)  # a stream to be read
        await sequencer.submit_records(WHO, said("a"))
        assert sequencer.submit_at_once(WHO, said("b"), told.append)
        assert not sequencer.submit_at_once(WHO, said("b"), told.append)  # somebody is at it
        assert told == []
        await until(lambda: len(told) == 1)
        assert isinstance(told[0], Receipt)
        # One that came before: the commit finds that out, and the next ones are looked up.
        assert sequencer.submit_at_once(WHO, said("a"), told.append)
        await until(lambda: len(told) == 2)
        assert type(told[1]).__name__ == "RecalledError"
        assert not sequencer.submit_at_once(WHO, said("c"), told.append)
        assert len(told) == 2
        assert sequencer.waiting_bytes == 0


async def test_what_is_sent_again_while_it_is_ordered_costs_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for somebody at work on the same looks for that, and harms no group."""
    async with several(tmp_path / "log.db", 1) as made:
        order, groups = made.log.order.order, 0

        async def counted(orderings: Sequence[Any]) -> int:
            nonlocal groups
            groups += 1
            return await order(orderings)

        monkeypatch.setattr(made.log.order, "order", counted)
        waiting = made.workers[0].send([said("a"), said("a"), said("a"), said("b")])
        await made.hold(*(said("a"),) * 3, said("b"))
        made.gate.is_open.set()
        first, *again, other = await waiting
        assert again == [first, first]
        assert other != first
        assert groups == 1
        assert made.is_at_rest()


async def test_records_with_addenda_wait_until_those_are_kept() -> None:
    """They are ordered with their addenda, and not at once."""
    asked: list[Any] = []

    async def records(producer: str, request: RequestRecords, sent: object) -> Receipt:
        asked.append((producer, request, sent))
        return Receipt(7, 1, 8, 9)

    ports: Any = SimpleNamespace(orders=SimpleNamespace(records=records))
    desk = Desk(ports, unused)
    ours, theirs = socket.socketpair()
    here = await open_channel(ours, desk.questions, desk.notices, desk.prompt)
    there = await open_channel(theirs, {}, {})
    try:
        sent = Sent([Addendum(bytes(32), b"{}", None, None, ())], {})
        receipt = await RemoteOrders(there).records(WHO, said("a"), sent)
        assert receipt == Receipt(7, 1, 8, 9)
        assert asked == [(WHO, said("a"), sent)]
    finally:
        await there.close()
        await here.close()
