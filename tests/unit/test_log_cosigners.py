"""Which witnesses a log asks, when and about which head, and what their answers count."""

import asyncio
from pathlib import Path
from time import perf_counter

import pytest
from aiohttp import web

import chains
import signing
from log_tools import GatewayStream
from muniment.tlog.checkpoint import Checkpoint
from muniment.tlog.note import SignatureLine
from muniment.tlog.policy import format_policy
from muniment.tlog.policychain import PolicyChain
from muniment.tlog.policyversion import KeyRevocation, Word
from muniment.tlog.witnesswire import format_cosignatures, format_size, parse_add_checkpoint
from muniment_log.errors import NotPublishedError
from muniment_log.publish.clock import Clock
from muniment_log.publish.cosigners import HEAD_START, OTHERS_PACE
from muniment_log.publish.pace import PublisherLimits
from publishing import (
    LIMITS,
    NOW,
    ORIGIN,
    PATIENT,
    Answer,
    FakeWitness,
    ManualClock,
    after,
    conflict,
    cosigned,
    far_ahead,
    fixed,
    honest,
    log_of,
    lone,
    policy_of,
    serving,
    trio,
    witnessed,
)
from waiting import until


class HeldTimers(ManualClock):
    """Measures what really passes; its timers wait for the test."""

    def time(self) -> float:
        return perf_counter()


async def test_a_witness_with_two_keys_is_asked_once(tmp_path: Path) -> None:
    """tlog-witness: "one or more note signature lines"."""
    (*_, both) = trio()
    async with witnessed(tmp_path, both) as log:
        await log.wait(await log.add())
        await until(lambda: len(log.clients) == 1)
        assert log.clients[0].label == "c0+c1"
        names = {name for name, _ in log.verify(log.shown).cosigners}
        assert names == {"c0", "c1"}
        assert both.requests <= 3


async def test_a_slow_witness_does_not_delay_and_works_on_the_newest(tmp_path: Path) -> None:
    fast, other, slow = trio()
    gate = asyncio.Event()
    slow.answer = after(gate)
    async with witnessed(tmp_path, fast, other, slow, request_seconds=PATIENT) as log:
        for _ in range(10):
            await log.wait(await log.add())
        gate.set()
        await until(lambda: slow.head.size == log.shown.checkpoint.size)
        assert slow.requests < 10


class Now(Clock):
    """Real timers, and the Unix time of the tests."""

    def unix(self) -> float:
        return NOW


@pytest.mark.parametrize(
    ("word", "since", "counts"),
    [
        ("compromised", 10, False),
        ("compromised", -10, False),
        ("retired", -10, False),
        ("retired", 10, True),
    ],
)
async def test_a_head_is_not_out_with_a_stolen_key_for_its_quorum(
    tmp_path: Path, word: Word, since: int, counts: bool
) -> None:
    """Readers of a policy that lists the key would refuse it, and gateways what it contains."""
    first, second, third = trio()
    gate = asyncio.Event()
    third.answer = after(gate)
    async with serving(first, second, third):
        text = format_policy(policy_of(first, second, third)).decode()
        stolen = KeyRevocation(word, first.signers[0].vkey, NOW + since)
        chain = chains.version((), text, (NOW - 100, NOW + 100), revoked=[stolen])
        policy = PolicyChain.of(chain)
        async with log_of(tmp_path, policy, request_seconds=PATIENT, clock=Now()) as log:
            size = await log.add()
            waiting = asyncio.ensure_future(log.wait(size))
            await until(lambda: first.head.size == second.head.size > 0)
            if not counts:
                gate.set()
            await waiting
            assert counts or "c0" in dict(policy.verify(log.shown).cosigners)
            gate.set()


async def elsewhere(witness: FakeWitness, body: bytes) -> web.Response:
    raise web.HTTPFound(witness.url + "/add-checkpoint")


async def wrong_key(witness: FakeWitness, body: bytes) -> web.Response:
    signed = parse_add_checkpoint(body).checkpoint
    return web.Response(body=signing.witness("other.example").sign(signed.note.text, NOW).line)


async def poisoned(witness: FakeWitness, body: bytes) -> web.Response:
    """The known name and key ID, and a signature that does not verify."""
    signed = parse_add_checkpoint(body).checkpoint
    good = witness.signers[0].sign(signed.note.text, NOW)
    bad = SignatureLine(good.name, good.key_id, good.signature[:-1] + b"\0")
    return web.Response(body=format_cosignatures([good, bad]))


async def timeless(witness: FakeWitness, body: bytes) -> web.Response:
    """tlog-witness: "the timestamp MUST NOT be zero"."""
    return cosigned(witness, parse_add_checkpoint(body).checkpoint, now=0)


async def other_tree(witness: FakeWitness, body: bytes) -> web.Response:
    checkpoint = Checkpoint(ORIGIN, 3, bytes(32))
    line = witness.signers[0].sign(checkpoint.text, NOW)
    return web.Response(body=line.line)


async def circles(witness: FakeWitness, body: bytes) -> web.Response:
    return conflict(format_size(1 - parse_add_checkpoint(body).old_size))


async def sizeless(witness: FakeWitness, body: bytes) -> web.Response:
    return conflict(b"many\n")


BAD = {
    "garbage": fixed(200, b"garbage"),
    "forbidden": fixed(403),
    "endless": fixed(200, b"x" * (1 << 20)),
    "untyped": fixed(409, b"0\n"),
    **{
        answer.__name__: answer
        for answer in (
            elsewhere, wrong_key, poisoned, timeless, other_tree, sizeless, far_ahead, circles
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_a_bad_answer_counts_for_nothing_and_is_asked_again(
    tmp_path: Path, answer: Answer
) -> None:
    bad = lone(answer)
    async with witnessed(tmp_path, bad) as log:
        size = await log.add(2)
        with pytest.raises(NotPublishedError):
            await log.wait(size, 0.05)
        await until(lambda: bad.requests > 1)
        assert log.publisher.published is None
        assert bad.requests < 60  # after a pause each
        bad.answer = honest
        assert (await log.wait(size)).checkpoint.size == size


async def test_a_conflict_is_answered_at_once_with_a_proof_from_the_size_it_names(
    tmp_path: Path,
) -> None:
    """tlog-witness: 409 with text/x.tlog.size."""
    witness = lone()
    async with serving(witness):
        policy = policy_of(witness, quorum=1)
        async with log_of(tmp_path, policy) as log:
            for count in (3, 5, 300):
                await log.wait(await log.add(count), 5)
        async with log_of(tmp_path, policy) as log:
            # It starts with size 0 in mind, and learns the truth by a conflict.
            log.stream = GatewayStream("second")
            witness.requests = 0
            await log.wait(await log.add(40))
            assert witness.requests <= 4


async def test_an_idle_log_has_its_head_cosigned_anew(tmp_path: Path) -> None:
    times = iter(range(NOW, NOW + 10_000))

    async def with_a_clock(witness: FakeWitness, body: bytes) -> web.Response:
        await honest(witness, body)
        return cosigned(witness, parse_add_checkpoint(body).checkpoint, next(times))

    witness = lone(with_a_clock)
    clock, limits = ManualClock(), PublisherLimits()
    async with witnessed(tmp_path, witness, limits=limits, clock=clock) as log:
        size = await log.add(3)
        await log.wait(size)
        seen: list[int] = []
        for _ in range(3):
            shown = log.shown
            clock.advance(limits.refresh_seconds - 1)
            clock.advance(1)
            await until(lambda shown=shown: log.shown is not shown)
            assert log.shown.checkpoint.size == size
            seen += [time for _, time in log.verify(log.shown).cosigners]
        assert len(seen) == 3
        assert seen == sorted(set(seen))
        # It still answers at once, also in between.
        await log.wait(await log.add())
        assert log.shown.checkpoint.size > size


async def test_a_witness_is_not_asked_sooner_than_it_asks_for(tmp_path: Path) -> None:
    """RFC 9110 section 10.2.3; of a log that comes sooner, a public witness may take no more."""
    witness = lone()

    async def busy(*_: object) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "30"})

    clock = ManualClock()
    async with witnessed(tmp_path, witness, limits=PublisherLimits(), clock=clock) as log:
        await log.wait(await log.add())
        witness.answer, asked = busy, witness.requests
        size = await log.add()
        clock.advance(PublisherLimits().pace_seconds)
        await until(lambda: any(30 <= timer.at - clock.now <= 45 for timer in clock.timers))
        witness.answer = honest
        clock.advance(29)
        assert witness.requests == asked + 1

        def is_shown() -> bool:
            clock.advance(1)
            return log.shown.checkpoint.size == size

        await until(is_shown)


async def test_the_witnesses_that_answer_soonest_are_asked_first(tmp_path: Path) -> None:
    """The others are asked when the head is out, or when somebody fails or is late."""
    slow, other, fast = trio()
    slow.delay, other.delay = 0.03, 0.001
    asked: list[str] = []

    async def noted(witness: FakeWitness, body: bytes) -> web.Response:
        asked.append(witness.name)
        return await honest(witness, body)

    clock = HeldTimers()
    async with witnessed(tmp_path, slow, other, fast, clock=clock, request_seconds=PATIENT) as log:
        # Its timers stand still: nobody is asked for being late.
        def reached(size: int) -> bool:
            clock.advance(OTHERS_PACE)  # several heads in a row: the others are not asked of each
            return slow.head.size == size

        for _ in range(4):
            size = await log.add()
            await log.wait(size)
            await until(lambda size=size: reached(size))
        for witness in (slow, other, fast):
            witness.answer = noted
        size = await log.add()
        await log.wait(size)
        assert "a" not in asked

        def all_asked() -> bool:
            clock.advance(OTHERS_PACE)
            return asked[-1:] == ["a"]

        await until(all_asked)
        assert sorted(asked) == ["a", "b", "c"]
        fast.answer = fixed(403)
        await log.wait(await log.add())
        # One that stalls is not waited for.
        fast.answer = noted

        def all_answer() -> bool:
            clock.advance(LIMITS.backoff_most_seconds)
            return not any(witness["error"] for witness in log.publisher.witnesses)

        await until(all_answer)
        fast.answer = after(asyncio.Event())
        waiting = asyncio.create_task(log.wait(await log.add()))

        def is_out() -> bool:
            clock.advance(HEAD_START)
            return waiting.done()

        await until(is_out)
        await waiting


async def test_of_heads_in_a_row_the_others_are_asked_about_the_newest(tmp_path: Path) -> None:
    clock = ManualClock()
    witnesses = trio()
    async with witnessed(tmp_path, *witnesses, clock=clock) as log:
        await log.wait(0)
        await until(lambda: all(witness.notes for witness in witnesses))
        size = 0
        for _ in range(5):
            size = await log.add()
            await log.wait(size)
        # The clock has stood still: whoever was not needed for these heads knows none of them.
        assert sorted(witness.head.size for witness in witnesses) == [0, size, size]
        clock.advance(OTHERS_PACE)
        await until(lambda: all(witness.head.size == size for witness in witnesses))
        assert min(len(witness.notes) for witness in witnesses) == 2


async def test_under_load_rounds_take_the_newest_head(tmp_path: Path) -> None:
    witness = lone(delay=0.02)
    async with witnessed(tmp_path, witness) as log:

        async def submit(label: str) -> None:
            stream = GatewayStream(label)
            for _ in range(20):
                await log.inner.sequencer.submit(stream.take(1))

        await asyncio.gather(*(submit(f"s{i}") for i in range(5)))
        assert (await log.wait(200)).checkpoint.size == 200
        sizes = [note.checkpoint.size for note in witness.notes]
        assert sizes == sorted(sizes)
        assert len(sizes) < 60
