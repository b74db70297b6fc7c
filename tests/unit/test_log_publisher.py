"""Publishing: against witnesses built only on the formats, good and bad (C2SP tlog-witness)."""

import asyncio
import contextlib
from pathlib import Path
from time import perf_counter

import pytest
from aiohttp import web

import log_tools
import signing
from log_tools import GatewayStream
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import Ed25519Signer, SignatureLine, Signer, verify_note
from muniment.tlog.witnesswire import (
    SIZE_CONTENT_TYPE,
    format_cosignatures,
    format_size,
    parse_add_checkpoint,
)
from muniment_log.core.heads import HeadSigner
from muniment_log.errors import NotPublishedError, RolledBackError, StorageError, UnavailableError
from muniment_log.publish.cosigners import HEAD_START, OTHERS_PACE
from muniment_log.publish.pace import PublisherLimits
from muniment_log.publish.rollback import check_witnesses
from muniment_log.publish.witness import clients_of, new_session
from publishing import (
    LIMITS,
    NOW,
    ORIGIN,
    Answer,
    FakeWitness,
    ManualClock,
    cosigned,
    honest,
    log_of,
    policy_of,
    serving,
    trio,
    witnessed,
)
from waiting import until

PATIENT = 60.0
"""Seconds for a request to a witness that a test holds up: longer than any test."""


class HeldTimers(ManualClock):
    """Measures what really passes; its timers wait for the test."""

    def time(self) -> float:
        return perf_counter()


def after(gate: asyncio.Event) -> Answer:
    """An honest witness that first waits for a gate."""

    async def answer(witness: FakeWitness, body: bytes) -> web.Response:
        await gate.wait()
        return await honest(witness, body)

    return answer


async def test_published_means_cosigned_by_the_quorum(tmp_path: Path) -> None:
    witnesses = trio()
    async with witnessed(tmp_path, *witnesses) as log:
        for count in (1, 300, 2):
            size = await log.add(count)
            published = await log.wait(size, 5)
            verified = log.verify(published)
            assert verified.size >= size
            # tlog-tiles: "MUST carry at least one Ed25519 signature by the log".
            assert {key.algorithm for key in verified.log_keys} == {0x01, 0x06}
            assert await log.inner.tiles.checkpoint() is not None
        await until(lambda: len(log.shown.note.signatures) == 2 + 4)
        assert not log.publisher.is_stalled


async def test_a_witness_with_two_keys_is_asked_once(tmp_path: Path) -> None:
    """tlog-witness: "one or more note signature lines"."""
    (*_, both) = trio()
    async with witnessed(tmp_path, both) as log:
        await log.wait(await log.add(), 5)
        await until(lambda: len(log.clients) == 1)
        assert log.clients[0].label == "c0+c1"
        names = {name for name, _ in log.verify(log.shown).cosigners}
        assert names == {"c0", "c1"}
        assert both.requests <= 3


async def test_a_late_cosignature_joins_the_published_note(tmp_path: Path) -> None:
    fast, other, slow = trio()
    gate = asyncio.Event()
    slow.answer = after(gate)
    async with witnessed(tmp_path, fast, other, slow, request_seconds=PATIENT) as log:
        size = await log.add()
        first = await log.wait(size, 5)
        assert len(first.note.signatures) == 4
        gate.set()
        await until(lambda: len(log.shown.note.signatures) == 6)
        assert log.shown.checkpoint == first.checkpoint


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


async def test_one_witness_down_is_no_matter_two_are(tmp_path: Path) -> None:
    up, down, lower = trio()
    async with serving(up):
        down.url = lower.url = "http://127.0.0.1:1"
        lower.url += "/x"
        policy = policy_of(up, down, lower)
        async with log_of(tmp_path, policy_of(up, down, lower, quorum=1)) as log:
            await log.wait(await log.add(), 5)
        async with log_of(tmp_path, policy) as log:
            before = log.shown
            log.stream = GatewayStream("second")
            size = await log.add()
            with pytest.raises(NotPublishedError) as caught:
                await log.wait(size, 0.2)
            # Fails closed: the published head stays, and that state is visible.
            assert caught.value.published == before.checkpoint.size
            assert log.shown.checkpoint == before.checkpoint
            assert log.publisher.is_stalled
            assert any(w["error"] for w in log.publisher.witnesses)


async def test_it_recovers_when_the_witness_comes_back(tmp_path: Path) -> None:
    a, b, c = trio()

    async def refuse(witness: FakeWitness, body: bytes) -> web.Response:
        return web.Response(status=503)

    b.answer = c.answer = refuse
    async with witnessed(tmp_path, a, b, c) as log:
        size = await log.add(5)
        with pytest.raises(NotPublishedError):
            await log.wait(size, 0.1)
        waiting = asyncio.create_task(log.publisher.wait(size, 5))
        c.answer = honest
        assert (await waiting).checkpoint.size == size
        await until(lambda: not log.publisher.is_stalled)


async def garbage(witness: FakeWitness, body: bytes) -> web.Response:
    return web.Response(body=b"garbage")


async def forbidden(witness: FakeWitness, body: bytes) -> web.Response:
    return web.Response(status=403)


async def endless(witness: FakeWitness, body: bytes) -> web.Response:
    return web.Response(body=b"x" * (1 << 20))


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


async def sizeless(witness: FakeWitness, body: bytes) -> web.Response:
    return web.Response(status=409, body=b"many\n", headers={"Content-Type": SIZE_CONTENT_TYPE})


async def untyped(witness: FakeWitness, body: bytes) -> web.Response:
    return web.Response(status=409, body=b"0\n")


async def far_ahead(witness: FakeWitness, body: bytes) -> web.Response:
    return web.Response(
        status=409, body=format_size(2**62), headers={"Content-Type": SIZE_CONTENT_TYPE}
    )


async def circles(witness: FakeWitness, body: bytes) -> web.Response:
    old = parse_add_checkpoint(body).old_size
    return web.Response(
        status=409, body=format_size(1 - old), headers={"Content-Type": SIZE_CONTENT_TYPE}
    )


@pytest.mark.parametrize(
    "answer",
    [garbage, forbidden, endless, elsewhere, wrong_key, poisoned, timeless, other_tree, sizeless,
     untyped, far_ahead, circles],
    ids=lambda answer: answer.__name__,
)  # fmt: skip
async def test_a_bad_answer_counts_for_nothing_and_is_asked_again(
    tmp_path: Path, answer: Answer
) -> None:
    bad = FakeWitness("a", [signing.witness("w.example/a")], answer)
    async with witnessed(tmp_path, bad) as log:
        size = await log.add(2)
        with pytest.raises(NotPublishedError):
            await log.wait(size, 0.15)
        assert log.publisher.published is None
        assert 1 <= bad.requests < 60
        bad.answer = honest
        assert (await log.wait(size, 5)).checkpoint.size == size


async def test_a_conflict_is_answered_at_once_with_a_proof_from_the_size_it_names(
    tmp_path: Path,
) -> None:
    """tlog-witness: 409 with text/x.tlog.size."""
    witness = FakeWitness("a", [signing.witness("w.example/a")])
    async with serving(witness):
        policy = policy_of(witness, quorum=1)
        async with log_of(tmp_path, policy) as log:
            for count in (3, 5, 300):
                await log.wait(await log.add(count), 5)
        async with log_of(tmp_path, policy) as log:
            # It starts with size 0 in mind, and learns the truth by a conflict.
            log.stream = GatewayStream("second")
            witness.requests = 0
            await log.wait(await log.add(40), 5)
            assert witness.requests <= 4


async def test_without_a_policy_the_log_signs_alone(tmp_path: Path) -> None:
    async with log_of(tmp_path, None) as log:
        published = await log.wait(await log.add(3), 5)
        assert len(published.note.signatures) == 2
        keys = [verifier_for(signing.log_signer().vkey), verifier_for(signing.log_mldsa44().vkey)]
        assert len(verify_note(published.note, keys).signatures) == 2


async def test_an_empty_log_publishes_its_empty_tree(tmp_path: Path) -> None:
    witness = FakeWitness("a", [signing.witness("w.example/a")])
    async with witnessed(tmp_path, witness) as log:
        published = await log.wait(0, 5)
        assert published.checkpoint == Checkpoint(ORIGIN, 0, EMPTY_ROOT)


async def test_an_idle_log_has_its_head_cosigned_anew(tmp_path: Path) -> None:
    times = iter(range(NOW, NOW + 10_000))

    async def with_a_clock(witness: FakeWitness, body: bytes) -> web.Response:
        await honest(witness, body)
        return cosigned(witness, parse_add_checkpoint(body).checkpoint, next(times))

    witness = FakeWitness("a", [signing.witness("w.example/a")], answer=with_a_clock)
    clock, limits = ManualClock(), PublisherLimits()
    async with witnessed(tmp_path, witness, limits=limits, clock=clock) as log:
        size = await log.add(3)
        await log.wait(size, 5)
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
    witness = FakeWitness("a", [signing.witness("w.example/a")])

    async def busy(*_: object) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "30"})

    clock = ManualClock()
    async with witnessed(tmp_path, witness, limits=PublisherLimits(), clock=clock) as log:
        await log.wait(await log.add(), 5)
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


async def test_a_refresh_that_gets_no_quorum_shows_and_leaves_the_published_head(
    tmp_path: Path,
) -> None:
    witness = FakeWitness("a", [signing.witness("w.example/a")])
    limits = PublisherLimits(
        round_seconds=0.1,
        refresh_seconds=0.1,
        backoff_first_seconds=0.02,
        backoff_most_seconds=0.05,
    )
    async with witnessed(tmp_path, witness, limits=limits) as log:
        await log.wait(await log.add(3), 5)
        witness.answer = forbidden
        await until(lambda: log.publisher.is_stalled)
        shown = log.shown
        log.verify(shown)
        witness.answer = honest
        await until(lambda: log.shown is not shown and not log.publisher.is_stalled)


async def test_after_a_restart_the_stored_head_is_served_and_goes_on(tmp_path: Path) -> None:
    witness = FakeWitness("a", [signing.witness("w.example/a")])
    async with serving(witness):
        policy = policy_of(witness, quorum=1)
        async with log_of(tmp_path, policy) as log:
            size = await log.add(3)
            await log.wait(size, 5)
        witness.answer = forbidden
        async with log_of(tmp_path, policy) as log:
            assert log.shown.checkpoint.size == size
            policy.verify(log.shown)


async def test_a_head_that_cannot_be_stored_is_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log must persist a checkpoint before it shows it to anyone."""
    witness = FakeWitness("a", [signing.witness("w.example/a")])

    async def broken(*_: object) -> None:
        raise StorageError("disk I/O error")

    async with witnessed(tmp_path, witness) as log:
        await log.wait(0, 5)
        served = log.shown
        asked = witness.requests
        monkeypatch.setattr(log.inner.store, "put_signed", broken)
        log.publisher.wants_signature = False  # the commit does not sign, the publisher must
        size = await log.add()
        with pytest.raises((UnavailableError, NotPublishedError)):
            await log.wait(size, 1)
        with pytest.raises(ExceptionGroup) as caught:
            await log.task
        assert caught.group_contains(StorageError)
        assert log.shown == served
        assert witness.requests == asked
        with pytest.raises(UnavailableError):
            await log.wait(size, 1)


async def test_only_who_waits_gets_a_cosigned_head_before_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its proof rests on a stored head; what is read from the log waits, and never goes back."""
    witness = FakeWitness("a", [signing.witness("w.example/a")])
    go_on = asyncio.Event()
    async with witnessed(tmp_path, witness) as log:
        await log.wait(0)
        served = log.shown
        publish = log.inner.tiles.publish

        async def slow(note: bytes) -> None:
            await go_on.wait()
            await publish(note)

        monkeypatch.setattr(log.inner.tiles, "publish", slow)
        size = await log.add()
        early = await log.publisher.wait(size, 5)
        assert early.checkpoint.size == size
        assert log.shown == served
        loaded = await log.inner.store.load()
        assert loaded.signed is not None
        assert parse_signed_checkpoint(loaded.signed).checkpoint == early.checkpoint
        assert loaded.published == served.encode()
        reader = asyncio.create_task(log.publisher.settled())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reader.done()
        go_on.set()
        await reader
        assert log.shown.checkpoint == early.checkpoint
        await log.publisher.settled()


async def test_a_head_that_was_told_is_stored_though_the_policy_changes(tmp_path: Path) -> None:
    """Else those who read would wait for the quorum of the new policy, however long that takes."""
    asked, silent = trio()[:2]
    silent.answer = after(asyncio.Event())
    async with serving(asked, silent):
        policy = policy_of(asked, silent, quorum=1)
        async with log_of(tmp_path, policy, clock=ManualClock()) as log:
            await log.wait(0)
            size = await log.add()
            await log.publisher.wait(size, PATIENT)  # told, and not stored yet
            log.publisher.use(policy_of(silent, quorum=1), log.clients[1:])
            await log.publisher.settled()
            assert log.shown.checkpoint.size == size


async def test_a_cosigned_head_that_cannot_be_stored_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = FakeWitness("a", [signing.witness("w.example/a")])

    async def broken(_: bytes) -> None:
        raise StorageError("disk I/O error")

    async with witnessed(tmp_path, witness) as log:
        await log.wait(0)
        served = log.shown
        monkeypatch.setattr(log.inner.tiles, "publish", broken)
        size = await log.add()
        await log.publisher.wait(size, 5)
        with pytest.raises(ExceptionGroup) as caught:
            await log.task
        assert caught.group_contains(StorageError)
        await log.publisher.settled()
        assert log.shown == served
        with pytest.raises(UnavailableError):
            await log.publisher.wait(size, 1)


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
        fast.answer = forbidden
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


async def test_a_lone_batch_is_signed_in_its_own_commit(tmp_path: Path) -> None:
    async with log_of(tmp_path, None) as log:
        await log.wait(0, 5)
        for _ in range(5):
            await until(lambda: log.publisher.wants_signature)
            with log.publisher.interest():
                await log.wait(await log.add(), 5)
        assert [signed is not None for _, signed in log.inner.listener.heads] == [True] * 5


async def test_what_comes_while_a_late_round_waits_for_signatures_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, answers, made = ManualClock(), asyncio.Event(), asyncio.Event()
    witnesses = trio()
    async with (
        witnessed(tmp_path, *witnesses, clock=clock, request_seconds=PATIENT) as log,
        contextlib.AsyncExitStack() as stack,
    ):
        await log.wait(0)
        for witness in witnesses:
            witness.answer = after(answers)
        publisher = log.publisher
        stack.enter_context(publisher.interest())
        one = await log.add()
        await until(lambda: publisher.round is not None and publisher.round.size == one)
        complete, waiting = HeadSigner.complete, asyncio.Event()

        async def slow(signer: HeadSigner, note: bytes) -> SignedCheckpoint:
            found = asyncio.ensure_future(complete(signer, note))
            waiting.set()
            await made.wait()
            return await found

        monkeypatch.setattr(HeadSigner, "completed", lambda *_: None)
        monkeypatch.setattr(HeadSigner, "complete", slow)
        clock.advance(LIMITS.round_seconds)
        await until(lambda: publisher.wants_signature)
        await log.add()
        await waiting.wait()
        answers.set()  # late, and meanwhile the next head is signed
        await until(lambda: publisher.wants_signature)
        three = await log.add()
        made.set()
        published = await log.wait(three)
        keys = [signing.log_signer().vkey, signing.log_mldsa44().vkey]
        assert {key.key_id for key in keys} < {one.key_id for one in published.note.signatures}


async def test_rounds_are_paced_only_under_load_that_nobody_waits_for(tmp_path: Path) -> None:
    clock, limits = ManualClock(), PublisherLimits(pace_seconds=0.5)
    async with log_of(tmp_path, None, limits, clock=clock) as log:
        await log.wait(0, 5)
        clock.advance(0.55)
        # After a pause the first head goes out at once, though nobody waits for it.
        first = await log.add()
        await until(lambda: log.shown.checkpoint.size == first)
        # Then heads gather.
        for _ in range(10):
            size = await log.add()
        assert log.shown.checkpoint.size == first

        def is_shown() -> bool:
            clock.advance(0.05)
            return log.shown.checkpoint.size == size

        await until(is_shown)
        assert sum(signed is not None for _, signed in log.inner.listener.heads) <= 3
        # Whoever waits does not wait for the pace: the clock stands still.
        await log.wait(await log.add())


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_head_is_not_forgotten_when_its_time_comes_between_two_looks(
    tmp_path: Path, *, is_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with log_of(tmp_path, None) as log:
        await log.wait(0, 5)
        await until(lambda: log.publisher.wants_signature)
        # The commit is too early for a signature, and so is the first look. Then the time has come,
        # or a commit that is under way comes to nothing.
        pauses, busy = [0.01, 0.01, 0.0], [is_busy]
        monkeypatch.setattr(log.publisher, "_pause", lambda: pauses.pop(0) if pauses else 0.0)
        monkeypatch.setattr(
            log.publisher, "_is_committing", lambda: busy.pop() if busy and not pauses else False
        )
        size = await log.add()
        await until(lambda: log.shown.checkpoint.size == size)


async def test_under_load_rounds_take_the_newest_head(tmp_path: Path) -> None:
    witness = FakeWitness("a", [signing.witness("w.example/a")], delay=0.02)
    async with witnessed(tmp_path, witness) as log:

        async def submit(label: str) -> None:
            stream = GatewayStream(label)
            for _ in range(20):
                await log.inner.sequencer.submit(stream.take(1))

        await asyncio.gather(*(submit(f"s{i}") for i in range(5)))
        assert (await log.wait(200, 5)).checkpoint.size == 200
        sizes = [note.checkpoint.size for note in witness.notes]
        assert sizes == sorted(sizes)
        assert len(sizes) < 60


# Rolled back?


async def compare(path: Path, witness: FakeWitness) -> int:
    async with log_tools.embedded(path / "log.db") as log, new_session(2.0) as session:
        clients = clients_of(policy_of(witness, quorum=1), session)
        keys = [verifier_for(signing.log_signer().vkey)]
        head = log.head
        await check_witnesses(
            clients, origin=ORIGIN, keys=keys, tiles=log.tiles, head=head, seconds=0.5
        )
        return clients[0].size


async def test_what_the_witnesses_remember_is_compared(tmp_path: Path) -> None:
    witness = FakeWitness("a", [signing.witness("w.example/a")])
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(GatewayStream().take(6))
        head = log.head
    signer = signing.log_signer()

    def remembers(size: int, root: bytes, by: Signer = signer, origin: str = ORIGIN) -> None:
        text = Checkpoint(origin, size, root).text
        note = type(signing.signed().note)(text, (by.sign(text, NOW),))
        witness.shown = note.encode()

    async with serving(witness):
        assert await compare(tmp_path, witness) == 0  # 404: never cosigned
        remembers(7, head.root)
        assert await compare(tmp_path, witness) == 7
        remembers(8, head.root)
        with pytest.raises(RolledBackError, match=r"rolled back: it holds 7 leaves.* 8 "):
            await compare(tmp_path, witness)
        for size in (7, 3):
            remembers(size, bytes(32))
            with pytest.raises(RolledBackError, match="another history"):
                await compare(tmp_path, witness)
        # What the log's key did not sign, or of another log, proves nothing.
        other = Ed25519Signer(ORIGIN, signing.ed25519("somebody else"))
        remembers(8, head.root, other)
        assert await compare(tmp_path, witness) == 0
        remembers(8, head.root, signing.log_signer("log.example/two"), "log.example/two")
        assert await compare(tmp_path, witness) == 0
        for shown in (b"garbage", b"x" * (1 << 20)):
            witness.shown = shown
            assert await compare(tmp_path, witness) == 0
    assert await compare(tmp_path, witness) == 0  # down: only a warning


def test_a_published_note_parses_back() -> None:
    note = signing.signed(signing.log_signer(), signing.log_mldsa44())
    assert parse_signed_checkpoint(note.encode()) == note
