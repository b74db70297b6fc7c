"""Publishing: a head is cosigned by the quorum and stored before it is shown (tlog-witness)."""

import asyncio
import contextlib
from pathlib import Path

import pytest

import signing
from log_tools import GatewayStream
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import verify_note
from muniment_log.core.heads import HeadSigner
from muniment_log.errors import NotPublishedError, StorageError, UnavailableError
from muniment_log.publish.cosigners import CosignerSet
from muniment_log.publish.pace import PublisherLimits
from publishing import (
    LIMITS,
    ORIGIN,
    PATIENT,
    ManualClock,
    after,
    down,
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


async def test_published_means_cosigned_by_the_quorum(tmp_path: Path) -> None:
    witnesses = trio()
    async with witnessed(tmp_path, *witnesses) as log:
        for count in (1, 300, 2):
            size = await log.add(count)
            published = await log.wait(size)
            verified = log.verify(published)
            assert verified.size >= size
            # tlog-tiles: "MUST carry at least one Ed25519 signature by the log".
            assert {key.algorithm for key in verified.log_keys} == {0x01, 0x06}
            assert await log.inner.tiles.checkpoint() is not None
        await until(lambda: len(log.shown.note.signatures) == 2 + 4)
        assert not log.publisher.is_stalled


async def test_a_late_cosignature_joins_the_published_note(tmp_path: Path) -> None:
    fast, other, slow = trio()
    gate = asyncio.Event()
    slow.answer = after(gate)
    async with witnessed(tmp_path, fast, other, slow, request_seconds=PATIENT) as log:
        size = await log.add()
        first = await log.wait(size)
        assert len(first.note.signatures) == 4
        gate.set()
        await until(lambda: len(log.shown.note.signatures) == 6)
        assert log.shown.checkpoint == first.checkpoint


async def test_one_witness_down_is_no_matter_two_are(tmp_path: Path) -> None:
    up, down, lower = trio()
    async with serving(up):
        down.url = lower.url = "http://127.0.0.1:1"
        lower.url += "/x"
        policy = policy_of(up, down, lower)
        async with log_of(tmp_path, policy_of(up, down, lower, quorum=1)) as log:
            await log.wait(await log.add())
        async with log_of(tmp_path, policy) as log:
            before = log.shown
            log.stream = GatewayStream("second")
            size = await log.add()
            with pytest.raises(NotPublishedError) as caught:
                await log.wait(size, 0.2)
            # Fails closed: the published head stays, and that state is visible.
            assert caught.value.published == before.checkpoint.size
            assert log.shown.checkpoint == before.checkpoint
            await until(lambda: log.publisher.is_stalled)
            await until(lambda: any(w["error"] for w in log.publisher.witnesses))


async def test_it_recovers_when_the_witness_comes_back(tmp_path: Path) -> None:
    a, b, c = trio()
    b.answer = c.answer = down
    async with witnessed(tmp_path, a, b, c) as log:
        size = await log.add(5)
        with pytest.raises(NotPublishedError):
            await log.wait(size, 0.1)
        waiting = asyncio.create_task(log.publisher.wait(size, PATIENT))
        c.answer = honest
        assert (await waiting).checkpoint.size == size
        await until(lambda: not log.publisher.is_stalled)


async def test_without_a_policy_the_log_signs_alone(tmp_path: Path) -> None:
    async with log_of(tmp_path, None) as log:
        published = await log.wait(await log.add(3))
        assert len(published.note.signatures) == 2
        keys = [verifier_for(signing.log_signer().vkey), verifier_for(signing.log_mldsa44().vkey)]
        assert len(verify_note(published.note, keys).signatures) == 2


async def test_an_empty_log_publishes_its_empty_tree(tmp_path: Path) -> None:
    witness = lone()
    async with witnessed(tmp_path, witness) as log:
        published = await log.wait(0)
        assert published.checkpoint == Checkpoint(ORIGIN, 0, EMPTY_ROOT)


async def test_a_refresh_that_gets_no_quorum_shows_and_leaves_the_published_head(
    tmp_path: Path,
) -> None:
    witness = lone()
    limits = PublisherLimits(
        round_seconds=0.1,
        refresh_seconds=0.1,
        backoff_first_seconds=0.02,
        backoff_most_seconds=0.05,
    )
    async with witnessed(tmp_path, witness, limits=limits) as log:
        await log.wait(await log.add(3))
        witness.answer = fixed(403)
        await until(lambda: log.publisher.is_stalled)
        shown = log.shown
        log.verify(shown)
        witness.answer = honest
        await until(lambda: log.shown is not shown and not log.publisher.is_stalled)


async def test_after_a_restart_the_stored_head_is_served_and_goes_on(tmp_path: Path) -> None:
    witness = lone()
    async with serving(witness):
        policy = policy_of(witness, quorum=1)
        async with log_of(tmp_path, policy) as log:
            size = await log.add(3)
            await log.wait(size)
        witness.answer = fixed(403)
        async with log_of(tmp_path, policy) as log:
            assert log.shown.checkpoint.size == size
            policy.verify(log.shown)


async def test_a_head_that_cannot_be_stored_is_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log must persist a checkpoint before it shows it to anyone."""
    witness = lone()

    async def broken(*_: object) -> None:
        raise StorageError("disk I/O error")

    async with witnessed(tmp_path, witness) as log:
        await log.wait(0)
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
    witness = lone()
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
        early = await log.publisher.wait(size, PATIENT)
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
            log.publisher.use(CosignerSet(policy_of(silent, quorum=1), log.clients[1:]))
            await log.publisher.settled()
            assert log.shown.checkpoint.size == size


async def test_a_cosigned_head_that_cannot_be_stored_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = lone()

    async def broken(_: bytes) -> None:
        raise StorageError("disk I/O error")

    async with witnessed(tmp_path, witness) as log:
        await log.wait(0)
        served = log.shown
        monkeypatch.setattr(log.inner.tiles, "publish", broken)
        size = await log.add()
        await log.publisher.wait(size, PATIENT)
        with pytest.raises(ExceptionGroup) as caught:
            await log.task
        assert caught.group_contains(StorageError)
        await log.publisher.settled()
        assert log.shown == served
        with pytest.raises(UnavailableError):
            await log.publisher.wait(size, 1)


async def test_a_lone_batch_is_signed_in_its_own_commit(tmp_path: Path) -> None:
    async with log_of(tmp_path, None) as log:
        await log.wait(0)
        for _ in range(5):
            await until(lambda: log.publisher.wants_signature)
            with log.publisher.interest():
                await log.wait(await log.add())
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
        await log.wait(0)
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
        await log.wait(0)
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
