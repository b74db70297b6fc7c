"""Budgets per sender: a flood uses up its own, and however many addresses take no memory."""

import asyncio
from pathlib import Path

import pytest

from byzantine import View
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import same_size
from muniment_witness.config import LogOptions, Peer
from muniment_witness.gossip.receive import (
    EVIDENCE_BURST,
    HEADS_BURST,
    MAX_WAITING,
    STRANGERS_SHARE,
    PushQueue,
)
from muniment_witness.gossip.senders import MAX_ADDRESSES, STRANGERS, SenderBudget, Senders
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import SignedHead, digest_of
from waiting import SECONDS, at_work, until
from witness_network import Network

MAIN = View().append(400)
OTHER = MAIN.fork(7, 400)


def seen(size: int) -> SignedHead:
    signed = MAIN.checkpoint(size)
    return SignedHead(signed, digest_of(signed))


def test_peers_are_told_by_the_literal_addresses_of_their_urls() -> None:
    senders = Senders(
        [
            Peer("a", (), "http://192.0.2.1:8101"),
            Peer("b", (), "https://[2001:db8::1]/w"),
            Peer("c", (), "http://192.0.2.1:8102"),
            Peer("d", (), "https://w4.example"),
        ]
    )
    assert senders.name_of("192.0.2.1") == senders.name_of("::ffff:192.0.2.1") == "a"
    assert senders.name_of("2001:0db8:0::0001") == "b"
    for stranger in ("192.0.2.2", "w4.example", "", "nonsense", "::1"):
        assert senders.name_of(stranger) == STRANGERS
    senders.learn("d", ["192.0.2.4", "2001:db8::4", "192.0.2.1"])
    assert senders.name_of("192.0.2.4") == senders.name_of("2001:db8::4") == "d"
    assert senders.name_of("192.0.2.1") == "a"
    senders.learn("d", [f"198.51.100.{n}" for n in range(200)])
    assert senders.name_of("192.0.2.4") == STRANGERS
    known = [n for n in range(200) if senders.name_of(f"198.51.100.{n}") == "d"]
    assert len(known) == MAX_ADDRESSES


async def test_host_names_are_looked_up() -> None:
    senders = Senders([Peer("a", (), "http://localhost:1"), Peer("b", (), "http://-.invalid")])
    async with at_work(senders.run()) as task:
        await until(lambda: senders.name_of("127.0.0.1") == "a")
        assert not task.done()
    await Senders([Peer("a", (), "http://127.0.0.1")]).run()  # nothing to look up


async def test_lines_take_turns_and_are_bounded() -> None:
    arrivals = PushQueue()
    assert [arrivals.put("a", seen(n)) for n in range(1, MAX_WAITING + 3)].count(False) == 2
    assert arrivals.put("b", seen(301))
    assert arrivals.put("b", seen(302))
    assert len(arrivals) == MAX_WAITING + 2
    assert [(await arrivals.get()).head.size for _ in range(5)] == [1, 301, 2, 302, 3]
    while arrivals.pop() is not None:
        pass
    waiting = asyncio.create_task(arrivals.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    arrivals.put("c", seen(9))
    assert (await waiting).head.size == 9


@pytest.mark.parametrize("flooder", ["w2", "stranger"])
async def test_a_flooding_sender_does_not_starve_another(tmp_path: Path, flooder: str) -> None:
    """What one sender sends counts against nobody else."""
    async with Network(tmp_path, MAIN) as net:
        w1 = net.add("w1", None)
        net.add("w2", None)
        net.add("w3", None)
        await net.start()

        async def push(size: int, client: str) -> int:
            body = frame([MAIN.checkpoint(size).encode()])
            response = await w1.call("POST", "/gossip/heads", body, client)
            return int(response.body == b'{"taken":1}')

        async def file(size: int, client: str) -> int:
            body = same_size(MAIN.checkpoint(size), OTHER.checkpoint(size)).encode()
            return (await w1.call("POST", "/gossip/evidence", body, client)).status

        taken = [await push(size, flooder) for size in range(10, 110)]
        assert 0 < sum(taken) < 50
        assert await push(200, "w3") == 1
        assert [await file(size, flooder) for size in range(10, 60)].count(503) > 20
        assert await file(200, "w3") == 200


async def test_many_addresses_are_one_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgeted, queued = set(), set()
    take, put = SenderBudget.take, PushQueue.put

    def taking(budget: SenderBudget, name: tuple[str, ...]) -> bool:
        budgeted.add((budget, name))
        return take(budget, name)

    def putting(queue: PushQueue, sender: str, candidate: SignedHead) -> bool:
        queued.add((queue, sender))
        return put(queue, sender, candidate)

    monkeypatch.setattr(SenderBudget, "take", taking)
    monkeypatch.setattr(PushQueue, "put", putting)
    async with Network(tmp_path, MAIN) as net:
        w1 = net.add("w1", None)
        net.add("w2", None)
        await net.start()
        relay = w1.watch.receiver
        statuses = []
        for number in range(2_000):
            address = f"10.0.{number >> 8}.{number & 255}"
            relay.take_heads(frame([MAIN.checkpoint(1 + number % 390).encode()]), address)
            if number < 40:
                file = same_size(MAIN.checkpoint(10 + number), OTHER.checkpoint(10 + number))
                answer = await w1.call("POST", "/gossip/evidence", file.encode(), address)
                statuses.append(answer.status)
        assert relay.waiting <= HEADS_BURST * STRANGERS_SHARE + 10
        assert statuses.count(200) <= EVIDENCE_BURST * STRANGERS_SHARE + 5
        assert (len(budgeted), len(queued)) == (2, 1)


async def test_a_log_that_is_slow_delays_no_other(tmp_path: Path) -> None:
    """Its tiles may take until each deadline; the heads of others are compared meanwhile."""
    fast = View("fast.example").append(9)
    async with Network(tmp_path, MAIN) as net:
        w1 = net.add("w1", None)
        w1.more.append((KnownLog(fast.origin, fast.verifiers), LogOptions()))
        await net.start()
        relay = w1.watch.receiver
        compared = asyncio.Event()

        async def arrive(seen: SignedHead) -> None:
            if seen.origin == net.origin:
                await asyncio.Event().wait()
            compared.set()

        relay.compare = arrive  # type: ignore[method-assign]
        async with at_work(relay.run()) as running, asyncio.timeout(SECONDS):
            slow = [MAIN.checkpoint(size).encode() for size in (10, 20, 30)]
            relay.take_heads(frame([*slow, fast.checkpoint().encode()]), "10.0.0.1")
            await compared.wait()
            assert relay.waiting == 2
            assert not running.done()
