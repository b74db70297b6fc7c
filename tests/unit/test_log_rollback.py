"""What witnesses answer never ends a log, and a rolled-back one acknowledges nothing."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

import log_tools
import signing
from log_tools import GatewayStream
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import Ed25519Signer, Signer, UnverifiedNote, lines_of
from muniment.tlog.policy import parse_policy
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.witnesswire import format_cosignatures, format_size, parse_add_checkpoint
from muniment_log.cluster.lease import LeaseLostError
from muniment_log.errors import RolledBackError, UnavailableError
from muniment_log.publish.rollback import PastCheck
from muniment_log.publish.witness import clients_of, new_session
from publishing import (
    NOW,
    ORIGIN,
    PATIENT,
    FakeWitness,
    conflict,
    cosigned,
    down,
    far_ahead,
    honest,
    log_of,
    lone,
    policy_of,
    serving,
    trio,
    witnessed,
)
from waiting import SECONDS, until


async def foreign(witness: FakeWitness, body: bytes) -> web.Response:
    """As litewitness and omniwitness answer; they have no monitoring endpoint."""
    call = parse_add_checkpoint(body)
    new = call.checkpoint.checkpoint
    if call.old_size != witness.head.size:
        return conflict(format_size(witness.head.size))
    try:
        verify_consistency(call.old_size, witness.head.root, new.size, new.root, call.proof)
    except VerificationError as error:
        return web.Response(status=422, text=str(error))
    witness.head = Head(new.size, new.root)
    return cosigned(witness, call.checkpoint)


def flood(count: int, *others: FakeWitness) -> Callable[..., object]:
    """Valid lines of one key with so many times, and valid lines of others' keys."""

    async def answer(witness: FakeWitness, body: bytes) -> web.Response:
        text = parse_add_checkpoint(body).checkpoint.note.text
        lines = [witness.signers[0].sign(text, NOW + second) for second in range(count)]
        lines += [other.signers[0].sign(text, NOW + 1000) for other in others]
        return web.Response(body=format_cosignatures(lines))

    return answer


@pytest.mark.parametrize("count", [2, 10, 59, 60, 63])
async def test_one_line_a_key_is_taken_from_a_witness(tmp_path: Path, count: int) -> None:
    good, other, bad = trio()
    bad.answer = flood(count, good)  # type: ignore[assignment]
    async with witnessed(tmp_path, good, other, bad, is_held=True) as log:
        for _ in range(3):
            await log.wait(await log.add())
        await until(lambda: len(log.shown.note.signatures) == 2 + 3)
        lines = log.shown.note.signatures
        assert len({(line.name, line.key_id) for line in lines}) == len(lines)
        # The first witness's line is its own, not what another one says of it.
        assert dict(log.verify(log.shown).cosigners)["a0"] == NOW
        assert not log.task.done()


async def test_a_witness_whose_clock_is_ahead_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, other, fast = trio()

    async def answer(witness: FakeWitness, body: bytes) -> web.Response:
        text = parse_add_checkpoint(body).checkpoint.note.text
        return web.Response(body=witness.signers[0].sign(text, int(time.time()) + 3600).line)

    fast.answer = answer
    async with witnessed(tmp_path, good, other, fast) as log:
        for size in (1, 2):
            await log.wait(await log.add())
            await until(lambda size=size: log.publisher.witnesses[2]["size"] >= size)
    told = [record for record in caplog.records if "clock is ahead" in record.getMessage()]
    assert len(told) == 1


async def test_more_lines_than_a_note_holds_are_that_witness_s_error(tmp_path: Path) -> None:
    good, other, bad = trio()

    async def answer(witness: FakeWitness, body: bytes) -> web.Response:
        text = parse_add_checkpoint(body).checkpoint.note.text
        lines = [witness.signers[0].sign(text, NOW + second).line for second in range(65)]
        return web.Response(body="".join(lines).encode())

    bad.answer = answer
    async with witnessed(tmp_path, good, other, bad) as log:
        await log.wait(await log.add())
        await until(lambda: log.publisher.witnesses[2]["error"] is not None)
        assert "more than 64" in str(log.publisher.witnesses[2]["error"])
        assert not log.task.done()


async def test_a_witness_is_sent_the_log_s_own_lines_alone(tmp_path: Path) -> None:
    """Also one that missed rounds in which all the others have cosigned."""
    first, second, late = trio()
    sent: list[SignedCheckpoint] = []

    async def noted(witness: FakeWitness, body: bytes) -> web.Response:
        sent.append(parse_add_checkpoint(body).checkpoint)
        return await honest(witness, body)

    late.answer = down
    async with witnessed(tmp_path, first, second, late) as log:
        size = await log.add(3)
        await log.wait(size)
        late.answer = noted
        await until(lambda: late.head.size == size)
    keys = [signing.log_signer().vkey, signing.log_mldsa44().vkey]
    assert sent
    for checkpoint in sent:
        assert checkpoint.note.signatures == lines_of(checkpoint.note.signatures, keys)
        assert len(checkpoint.note.signatures) == 2


@pytest.fixture
def two_folders(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    return tmp_path


async def cosign_six(path: Path, *witnesses: FakeWitness) -> None:
    """A log of 6 leaves, cosigned by all."""
    async with log_of(path / "first", policy_of(*witnesses, quorum=len(witnesses))) as log:
        await log.wait(await log.add(5))
        await until(lambda: all(witness.head.size == 6 for witness in witnesses))


async def on_disk(path: Path, leaves: int) -> None:
    """A log.db of other leaves, which nobody has seen."""
    async with log_tools.embedded(path / "log.db") as log:
        for _ in range(leaves // 2):
            await log.sequencer.submit(GatewayStream(f"other-{log.head.size}").take(1))
        assert log.head.size == leaves


@pytest.mark.parametrize("leaves", [0, 4, 6, 10])
@pytest.mark.parametrize("quorum", [1, 2, 3])
async def test_a_rolled_back_log_takes_nothing_without_monitoring_endpoints(
    two_folders: Path, leaves: int, quorum: int
) -> None:
    """Its first add-checkpoint tells: behind, at the same size, and grown on another history."""
    witnesses = trio()
    for witness in witnesses:
        witness.answer = foreign
    async with serving(*witnesses):
        await cosign_six(two_folders, *witnesses)
        await on_disk(two_folders / "second", leaves)
        policy = policy_of(*witnesses, quorum=quorum)
        async with log_of(two_folders / "second", policy, is_held=True) as log:
            for number in range(3):
                batch = GatewayStream(f"stream-{number}").take(2)
                with pytest.raises(UnavailableError, match="restored from an old copy"):
                    await log.inner.sequencer.submit(batch)
            assert "restored from an old copy" in log.publisher.doubt
            assert log.inner.head.size == leaves
            assert log.publisher.published is None
            assert not log.task.done()  # it is only what they say


async def test_one_liar_keeps_nothing_from_being_taken(tmp_path: Path) -> None:
    good, other, liar = trio()
    liar.answer = far_ahead
    async with witnessed(tmp_path, good, other, liar, is_held=True) as log:
        for _ in range(5):
            await log.wait(await log.add())
        await until(lambda: log.publisher.witnesses[2]["error"] is not None)
        assert log.publisher.doubt == ""
        await log.wait(await log.add())


async def test_while_a_liar_is_the_only_one_up_nothing_is_taken(tmp_path: Path) -> None:
    """Nobody can tell it from a rollback, until a quorum speaks for the log."""
    good, other, liar = trio()
    good.answer = other.answer = down
    liar.answer = far_ahead
    async with witnessed(tmp_path, good, other, liar, is_held=True, start_seconds=0.2) as log:
        # Another doubt may come first: on a busy machine nobody has answered at once.
        await until(lambda: "know more than this log" in log.publisher.doubt)
        with pytest.raises(UnavailableError, match="know more than this log"):
            await log.add()
        assert log.inner.head.size == 0
        good.answer = other.answer = honest
        await until(lambda: log.publisher.doubt == "")
        log.stream = GatewayStream("second")
        await log.wait(await log.add())


async def test_a_running_log_ends_when_a_witness_proves_that_it_knows_more(tmp_path: Path) -> None:
    """Its witnesses were away when it started; then one comes back, with its endpoint."""
    witnesses = trio()
    for witness in witnesses:
        witness.answer = down
    signers = [signing.log_signer(), signing.log_mldsa44()]
    async with witnessed(tmp_path, *witnesses) as log:
        await log.add(2)
        known = Checkpoint(ORIGIN, 50, bytes(32))
        witnesses[0].shown = sign_checkpoint(known, signers, NOW).encode()
        witnesses[0].head = Head(50, bytes(32))
        witnesses[0].answer = foreign
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(log.task, SECONDS)
        assert caught.group_contains(RolledBackError, match=r"holds 3 leaves.*checkpoint of 50")


async def test_another_root_at_the_own_size_ends_a_running_log(tmp_path: Path) -> None:
    witness = lone(answer=down)
    async with witnessed(tmp_path, witness) as log:
        size = await log.add(2)
        other = Checkpoint(ORIGIN, size, bytes(32))
        witness.shown = sign_checkpoint(other, [signing.log_signer()], NOW).encode()
        witness.head = Head(size, bytes(32))
        witness.answer = foreign
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(log.task, SECONDS)
        assert caught.group_contains(RolledBackError, match="another history")


async def test_what_a_stranger_signed_ends_no_log(tmp_path: Path) -> None:
    witness = lone(answer=far_ahead)
    other = signing.witness("w.example/b")
    known = Checkpoint(ORIGIN, 50, bytes(32))
    witness.shown = UnverifiedNote(known.text, (other.sign(known.text, NOW),)).encode()
    async with witnessed(tmp_path, witness) as log:
        await log.add(2)
        await until(lambda: witness.requests >= 4)
        assert not log.task.done()


async def test_a_newer_head_that_somebody_else_fed_says_nothing(tmp_path: Path) -> None:
    """The log is ahead of the round under way, and a feeder has shown the newer head."""
    witness = lone()

    async def fed(witness: FakeWitness, body: bytes) -> web.Response:
        size = parse_add_checkpoint(body).checkpoint.checkpoint.size
        return conflict(format_size(size + 1)) if size == 0 else await honest(witness, body)

    witness.answer = fed
    async with witnessed(tmp_path, witness) as log:
        await until(lambda: witness.requests > 0)
        size = await log.add(2)
        await log.wait(size)
        assert log.publisher.doubt == ""


async def test_who_lost_its_lease_is_not_rolled_back(tmp_path: Path) -> None:
    """What the witness has seen then is the other integrator's."""
    witness = lone()
    known = Checkpoint(ORIGIN, 50, bytes(32))
    witness.shown = sign_checkpoint(known, [signing.log_signer()], NOW).encode()
    keys = [verifier_for(signing.log_signer().vkey)]

    async def lost() -> None:
        raise LeaseLostError("another integrator has taken over")

    async with (
        log_tools.embedded(tmp_path / "log.db") as log,
        serving(witness),
        new_session(2.0) as session,
    ):
        [client] = clients_of(policy_of(witness, quorum=1), session)
        check = PastCheck(
            origin=ORIGIN,
            keys=keys,
            tiles=log.tiles,
            head=lambda: Head(0, EMPTY_ROOT),
            still_leads=lost,
        )
        with pytest.raises(LeaseLostError):
            await check.of(client)
        with pytest.raises(RolledBackError):
            await PastCheck(
                origin=ORIGIN, keys=keys, tiles=log.tiles, head=lambda: Head(0, EMPTY_ROOT)
            ).of(client)


async def test_a_policy_without_witnesses_waits_for_nobody(tmp_path: Path) -> None:
    async with log_of(tmp_path, None, is_held=True) as log:
        await log.wait(await log.add())
    text = f"log {signing.log_signer().vkey}\nquorum none\n"
    async with log_of(tmp_path, parse_policy(text.encode()), is_held=True) as log:
        log.stream = GatewayStream("second")
        await log.wait(await log.add())


# At a start


async def compare(path: Path, witness: FakeWitness) -> int:
    async with log_tools.embedded(path / "log.db") as log, new_session(PATIENT) as session:
        clients = clients_of(policy_of(witness, quorum=1), session)
        keys = [verifier_for(signing.log_signer().vkey)]
        head = log.head
        past = PastCheck(origin=ORIGIN, keys=keys, tiles=log.tiles, head=lambda: head)
        await past.at_start(clients, PATIENT)
        return clients[0].size


async def test_what_the_witnesses_remember_is_compared(tmp_path: Path) -> None:
    witness = lone()
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(GatewayStream().take(6))
        head = log.head
    signer = signing.log_signer()

    def remembers(size: int, root: bytes, by: Signer = signer, origin: str = ORIGIN) -> None:
        text = Checkpoint(origin, size, root).text
        witness.shown = UnverifiedNote(text, (by.sign(text, NOW),)).encode()

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
