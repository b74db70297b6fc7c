"""The gateway against a log that loses replies, reorders, refuses and forgets."""

import asyncio
import json
from typing import Any

import pytest

import logsim
from bench import gateway_of
from logsim import GATEWAY_SIGNER, POLICY, LogSim, decision, jitter, lines, logged_records
from muniment.errors import (
    GatewayClosed,
    NotPublished,
    RecordRefused,
    Refused,
    StreamConflict,
    StreamGap,
    Undelivered,
    Unreachable,
    VerificationError,
)
from muniment.gateway.gateway import Gateway
from muniment.local import backoff
from muniment.records.api import RecordError, parse_record
from muniment.records.manifest import build_batch
from muniment.tlog.tlogproof import parse_tlog_proof, verify_tlog_proof
from waiting import LONGER, until

pytestmark = pytest.mark.usefixtures("fast_retries")


def ids(sim: LogSim) -> list[str]:
    return [json.loads(entry)["id"] for entry in logged_records(sim)]


async def test_submits_completes_and_resumes() -> None:
    sim = LogSim()
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER) as gateway:
            assert gateway.origin == logsim.ORIGIN
            receipts = await gateway.submit(lines(3))
        assert [receipt.index for receipt in receipts] == [0, 1, 2]
        assert receipts[0].batch.manifest == 3
        assert [receipt.entry for receipt in receipts] == sim.entries[:3]
        assert parse_record(sim.entries[0]).producer == logsim.GATEWAY
        async with Gateway(url, GATEWAY_SIGNER) as gateway:
            (receipt,) = await gateway.submit([decision(9)])
        assert (receipt.index, receipt.batch.sequence) == (4, 3)
        assert len(set(ids(sim))) == 4


async def test_a_new_log_may_take_a_moment_to_publish_its_origin() -> None:
    sim = LogSim(publishes=False)
    async with sim.serve() as url:

        async def publish() -> None:
            await until(lambda: "checkpoint" in sim.reads)
            sim.publishes = True

        later = asyncio.create_task(publish())
        async with Gateway(url, GATEWAY_SIGNER) as gateway:
            assert gateway.origin == logsim.ORIGIN
        await later
        sim.publishes = False
        with pytest.raises(Refused, match="not-published-yet"):
            await Gateway(url, GATEWAY_SIGNER, publish_wait=0.05).__aenter__()


async def test_an_empty_call_sends_nothing() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
        assert await gateway.submit([]) == []
    assert sim.posts == 0


async def test_concurrent_callers_share_batches_and_get_their_own_receipts() -> None:
    sim = LogSim(delay=lambda: 0.02)
    async with gateway_of(sim) as gateway:
        answers = await asyncio.gather(*[gateway.submit([decision(n)]) for n in range(200)])
    assert sim.posts == 1
    for number, (receipt,) in enumerate(answers):
        assert receipt.entry == decision(number) == sim.entries[receipt.index]


async def test_what_comes_while_a_batch_is_in_flight_is_gathered() -> None:
    sim = LogSim(delay=lambda: 0.3)
    async with gateway_of(sim) as gateway:
        first = asyncio.create_task(gateway.submit([decision(0)]))
        await until(lambda: sim.posts == 1)
        await asyncio.gather(first, *(gateway.submit([decision(n)]) for n in range(1, 20)))
    assert sim.posts == 2


async def test_callers_that_come_back_together_leave_together() -> None:
    sim = LogSim(delay=lambda: 0.002)

    async def caller(number: int, gateway: Gateway) -> None:
        for turn in range(5):
            await gateway.submit([decision(100 * number + turn)])

    async with gateway_of(sim) as gateway:
        await asyncio.gather(*[caller(number, gateway) for number in range(30)])
    assert sim.posts == 5


async def test_full_batches_fly_in_a_window() -> None:
    sim = LogSim(delay=lambda: 0.02, holds_early=True)
    async with gateway_of(sim, batch_records=10, window=4) as gateway:
        receipts = await gateway.submit([decision(n) for n in range(100)])
    assert sim.most_in_flight == 4
    assert [receipt.entry for receipt in receipts] == [decision(n) for n in range(100)]


@pytest.mark.parametrize("holds_early", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_lost_replies_and_reordering_never_log_twice(seed: int, *, holds_early: bool) -> None:
    """A retry never logs a decision twice."""
    sim = LogSim(delay=jitter(seed, 0.01), holds_early=holds_early)
    sim.script.extend(["lose", "drop", None, (503, "busy"), "lose", "garbage", None, "drop"] * 2)
    async with gateway_of(sim, batch_records=5, window=4) as gateway:
        answers = await asyncio.gather(
            *[gateway.submit([decision(n * 10 + k) for k in range(7)]) for n in range(12)]
        )
    assert len(ids(sim)) == len(set(ids(sim))) == 84
    for receipts in answers:
        for receipt in receipts:
            assert sim.entries[receipt.index] == receipt.entry


async def test_records_of_one_call_stay_in_one_batch() -> None:
    sim = LogSim(delay=lambda: 0.01)
    async with gateway_of(sim, batch_records=10) as gateway:
        answers = await asyncio.gather(
            *[gateway.submit([decision(n * 10 + k) for k in range(6)]) for n in range(5)]
        )
    assert all(len({r.batch.manifest for r in receipts}) == 1 for receipts in answers)


async def test_published_receipts_make_proofs_that_verify() -> None:
    sim = LogSim()
    async with gateway_of(sim, policy=POLICY) as gateway:
        await gateway.submit([decision(n) for n in range(5)])
        receipts = await gateway.submit([decision(n) for n in range(10, 17)], published=True)
    for receipt in receipts:
        proof = parse_tlog_proof(receipt.tlog_proof().encode())
        assert verify_tlog_proof(proof, receipt.entry, POLICY).size == 14
    assert receipts[0].batch.published.cosigned is not None


async def test_a_durable_receipt_has_no_proof() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
        (receipt,) = await gateway.submit([decision(1)])
    with pytest.raises(ValueError, match="published=True"):
        receipt.tlog_proof()


async def test_without_a_quorum_the_records_are_durable_but_not_published() -> None:
    sim = LogSim(publishes=False)
    async with gateway_of(sim, origin=logsim.ORIGIN) as gateway:
        with pytest.raises(NotPublished):
            await gateway.submit([decision(1)], published=True)
        await gateway.submit([decision(2)])
    assert ids(sim) == ["d-1", "d-2"]


async def test_a_checkpoint_without_a_quorum_is_refused_by_the_policy() -> None:
    sim = LogSim(witnesses=logsim.WITNESSES[:1])
    async with gateway_of(sim, policy=POLICY) as gateway:
        with pytest.raises(VerificationError, match="no quorum"):
            await gateway.submit([decision(1)], published=True)
        await gateway.submit([decision(2)])


async def test_a_false_proof_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = LogSim()
    monkeypatch.setattr(sim, "root_between", lambda start, end: b"x" * 32)
    async with gateway_of(sim) as gateway:
        with pytest.raises(VerificationError, match="inclusion"):
            await gateway.submit([decision(1), decision(2)], published=True)


async def test_a_receipt_that_contradicts_the_batch_is_not_believed() -> None:
    for seconds in LONGER:
        sim = LogSim(receipt_changes={"count": 2})
        async with gateway_of(sim, deadline=seconds / 5) as gateway:
            with pytest.raises(Undelivered) as caught:
                await gateway.submit([decision(1)])
            sim.receipt_changes = {}
        if "count 2" in str(caught.value) and ids(sim) == ["d-1"]:
            return
    raise AssertionError(f"{caught.value}: {ids(sim)}")


async def test_a_bad_record_fails_its_caller_only() -> None:
    sim = LogSim(delay=lambda: 0.01)
    async with gateway_of(sim, batch_records=8, window=4) as gateway:
        first = asyncio.create_task(gateway.submit([decision(0)]))
        await asyncio.sleep(0)
        good = [
            asyncio.create_task(gateway.submit([decision(n * 10), decision(n * 10 + 1)]))
            for n in range(1, 10)
        ]
        bad = asyncio.create_task(
            gateway.submit_encoded([decision(500), b'{"not":"a record"}', decision(501)])
        )
        more = [asyncio.create_task(gateway.submit([decision(n)])) for n in range(200, 220)]
        with pytest.raises(RecordRefused) as caught:
            await bad
        await asyncio.gather(first, *good, *more)
    assert caught.value.position == 1
    assert len(ids(sim)) == len(set(ids(sim))) == 1 + 18 + 20
    assert "d-500" not in ids(sim)


async def test_a_refused_batch_fails_and_the_next_one_goes_on() -> None:
    sim = LogSim()
    sim.script.append((413, "too-large"))
    async with gateway_of(sim) as gateway:
        with pytest.raises(Refused, match="too-large"):
            await gateway.submit([decision(1)])
        await gateway.submit([decision(2)])
    assert ids(sim) == ["d-2"]


async def test_an_entry_number_outside_of_the_records_ends_in_a_refusal() -> None:
    sim = LogSim()
    sim.script.append((422, "bad-record", {"entry": 99}))
    async with gateway_of(sim) as gateway:
        with pytest.raises(Refused):
            await gateway.submit([decision(1)])


async def test_two_writers_conflict_and_the_gateway_stops() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
        await gateway.submit([decision(1)])
        sim.append([decision(100)])
        with pytest.raises(StreamConflict) as caught:
            await gateway.submit([decision(2)])
        assert caught.value.batch
        with pytest.raises(StreamConflict):
            await gateway.submit([decision(3)])
    assert ids(sim) == ["d-1", "d-100"]


async def test_a_log_that_lost_what_it_acknowledged_is_a_gap() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
        await gateway.submit([decision(1), decision(2)])
        sim.streams.clear()
        with pytest.raises(StreamGap) as caught:
            await gateway.submit([decision(3)])
    assert (caught.value.expected, caught.value.sequence) == (0, 2)


async def test_the_deadline_ends_the_waiting_but_not_the_batch() -> None:
    sim = LogSim()
    sim.script.extend(["drop"] * 10)
    async with gateway_of(sim) as gateway:
        with pytest.raises(Undelivered, match="may be logged"):
            await gateway.submit([decision(1)], timeout=0.03)
        await gateway.submit([decision(2)])
    assert ids(sim) == ["d-1", "d-2"]


async def test_cancelled_records_are_sent_only_when_they_are_in_a_batch() -> None:
    sim = LogSim(delay=lambda: 0.03)
    async with gateway_of(sim) as gateway:
        flying = asyncio.create_task(gateway.submit([decision(1)]))
        await until(lambda: sim.posts == 1)
        queued = asyncio.create_task(gateway.submit([decision(2)]))
        other = asyncio.create_task(gateway.submit([decision(3)]))
        await asyncio.sleep(0)
        flying.cancel()
        queued.cancel()
        for task in (flying, queued):
            with pytest.raises(asyncio.CancelledError):
                await task
        await other
    assert ids(sim) == ["d-1", "d-3"]


async def test_close_delivers_what_was_accepted() -> None:
    sim = LogSim(delay=lambda: 0.02)
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, batch_records=3) as gateway:
            tasks = [asyncio.create_task(gateway.submit([decision(n)])) for n in range(10)]
            await asyncio.sleep(0)
        assert len(await asyncio.gather(*tasks)) == 10
        with pytest.raises(GatewayClosed):
            await gateway.submit([decision(99)])


async def test_close_gives_up_after_its_timeout() -> None:
    sim = LogSim(delay=lambda: 30.0)
    async with sim.serve() as url:
        gateway = Gateway(url, GATEWAY_SIGNER)
        async with gateway:
            task = asyncio.create_task(gateway.submit([decision(1)]))
            await until(lambda: sim.posts == 1)
            await gateway.close(timeout=0.05)
            with pytest.raises(GatewayClosed):
                await task


async def test_retry_after_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = LogSim()
    asked: list[float] = []

    def at_once(_: float, seconds: float) -> float:
        asked.append(seconds)
        return 0.0

    monkeypatch.setattr(backoff, "seconds_to_wait", at_once)
    async with gateway_of(sim) as gateway:
        sim.script.extend(
            [(429, "slow-down", {"retry_after": 7}), (503, "busy", {"retry_after": 2}), (503, "x")]
        )
        await gateway.submit([decision(1)])
    assert sim.posts == 4
    assert asked == [7, 2, 0]


async def test_records_that_are_none_are_refused_before_anything_is_sent() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
        with pytest.raises(RecordError, match="request"):
            await gateway.submit([decision(1), b'{"kind":"decision"}'])
    assert sim.posts == 0


async def test_an_unknown_gateway_is_refused_at_the_start() -> None:
    stranger = logsim.Ed25519Signer("gw.example/stranger", logsim.private("stranger"))
    sim = LogSim()
    async with sim.serve() as url:
        with pytest.raises(Refused, match="unknown-gateway"):
            await Gateway(url, stranger).__aenter__()


async def test_no_log_is_unreachable() -> None:
    sim = LogSim()
    async with sim.serve() as url:
        pass
    with pytest.raises(Unreachable):
        await Gateway(url, GATEWAY_SIGNER).__aenter__()


async def test_a_batch_is_split_at_the_byte_limit() -> None:
    sim = LogSim(holds_early=True)
    sim_records = [
        json.dumps(
            {
                **json.loads(decision(n)),
                "request": {
                    **json.loads(decision(n))["request"],
                    "context": {"text": "x" * 60_000},
                },
            },
            separators=(",", ":"),
            sort_keys=True,
        ).encode()
        for n in range(300)
    ]
    async with gateway_of(sim) as gateway:
        receipts = await gateway.submit_encoded(sim_records)
    assert len({receipt.batch.manifest for receipt in receipts}) == 3
    assert ids(sim) == [f"d-{n}" for n in range(300)]


@pytest.mark.parametrize("options", [{"batch_records": 0}, {"window": 0}, {"window": 65}])
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not in"):
        Gateway("http://127.0.0.1:1", GATEWAY_SIGNER, **options)


@pytest.mark.parametrize("deadline", [0, -1, None, "5", float("nan"), float("inf")])
def test_a_deadline_that_never_comes_is_refused(deadline: Any) -> None:
    with pytest.raises(ValueError, match="deadline: "):
        Gateway("http://127.0.0.1:1", GATEWAY_SIGNER, deadline=deadline)


def test_the_simulator_is_a_log_with_batches() -> None:
    sim = LogSim()
    sim.append([decision(1)])
    batch = build_batch(logsim.ORIGIN, GATEWAY_SIGNER, "x", 0, bytes(32), [decision(2)])
    assert sim.commit(batch)["first"] == 2
