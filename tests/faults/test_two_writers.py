"""Two writers on one database cannot fork the tree, with or without the lock."""

import signal
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

import decisions
import log_tools
import processes
from faults.services import services
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, ask, deployed
from log_tools import GatewayStream
from muniment.tlog.witnesswire import origin_hash
from muniment_log.app.embedded import EmbeddedStorage
from muniment_log.errors import StorageError, UnavailableError
from muniment_service.exits import EXIT_DATABASE, EXIT_FAILED
from processes import ProcessFailedError
from witness_tools import GrowingLog, log_signer, set_up

RECORDS = decisions.decisions(20, producer=GATEWAY)


def test_second_log_is_refused_also_while_the_first_is_stopped(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        stream = made.stream()
        made.post(stream.take(RECORDS[:1]))
        for stopped in (False, True):
            if stopped:
                made.log.pause()
            with pytest.raises(
                ProcessFailedError, match=f"(?s)exit code {EXIT_DATABASE}.*in use"
            ) as no:
                processes.start(processes.muniment_log("serve", "--config", made.config))
            assert f"pid {made.log.pid}" in str(no.value)
        made.log.resume()
        assert made.post(stream.take(RECORDS[1:2])).status == 200


def test_stale_log_dies_at_its_first_write_when_its_lock_was_lost(tmp_path: Path) -> None:
    """Stopped while its lock file goes (an operator "cleans up") and another log takes over."""
    with services() as quick, deployed(tmp_path) as made:
        made.log.terminate()
        first, second = made.stream(), made.stream()
        stale = quick.log(made.config)
        assert ask(f"{stale.url}/v1/batches{PUBLISHED}", first.take(RECORDS[:2])).status == 200
        # Answered when the head is stored: a stopped process must not hold the database's lock.
        assert ask(f"{stale.url}/checkpoint").status == 200
        stale.signal(signal.SIGSTOP)
        made.config.with_name("log.db.lock").unlink()

        taking_over = quick.log(made.config)
        made.log = taking_over
        answer = made.post(second.take(RECORDS[2:5]), PUBLISHED)
        assert answer.status == 200

        stale.signal(signal.SIGCONT)
        # It may have ended by then: a witness of which it still waits for an answer tells it, too.
        with suppress(OSError, HTTPException):
            refused = ask(f"{stale.url}/v1/batches", first.peek(RECORDS[5:6]))
            assert refused.status == 503, refused.body
        assert stale.wait() == EXIT_FAILED
        assert "something else wrote to the database" in stale.stderr

        # The other one goes on undisturbed, with the witnesses, and takes the same batch.
        answer = made.post(first.take(RECORDS[5:6]), PUBLISHED)
        assert answer.status == 200, answer.body
        note = ask(f"{made.url}/checkpoint").body
        assert made.policy.verify(note, origin=ORIGIN).size == answer.json["size"]
        taking_over.signal(signal.SIGTERM)
        assert taking_over.wait() == 0
        processes.run(processes.muniment_log("check", "--config", made.config), code=0)


async def test_each_of_two_sequencers_without_a_lock_gives_only_true_receipts(
    tmp_path: Path,
) -> None:
    """The guarded update alone: both go on from the same tree, whoever is second stops."""
    path, lock = tmp_path / "log.db", tmp_path / "log.db.lock"
    mine, theirs = GatewayStream("mine"), GatewayStream("theirs")
    async with log_tools.embedded(path) as one:
        await one.sequencer.submit(mine.take(2))
        lock.unlink()
        async with log_tools.embedded(path) as two:
            assert two.head == one.head
            receipt = await two.sequencer.submit(theirs.take(3))
            with pytest.raises(UnavailableError):
                await one.sequencer.submit(mine.peek(1))
            assert isinstance(one.sequencer.failure, StorageError)
            assert receipt.first == 3
            assert (await two.sequencer.submit(mine.take(1))).first == receipt.size


async def test_a_stale_log_stores_no_head_and_does_not_call_the_other_log_a_rollback(
    tmp_path: Path,
) -> None:
    """What the other has published stays; what witnesses know of it is no sign of lost leaves."""
    path, lock = tmp_path / "log.db", tmp_path / "log.db.lock"
    async with log_tools.embedded(path) as one:
        await one.sequencer.submit(GatewayStream("mine").take(2))
        storage = EmbeddedStorage(one.store, await one.store.load(), is_copy=False)
        await storage.still_leads()
        lock.unlink()
        async with log_tools.embedded(path) as two:
            await two.sequencer.submit(GatewayStream("theirs").take(3))
            await two.store.put_signed(lambda: b"signed by two")
            await two.store.put_published(b"published by two")
            for stale in (
                storage.still_leads(),
                one.store.put_signed(lambda: b"signed by one"),
                one.store.put_published(b"published by one"),
            ):
                with pytest.raises(StorageError, match="something else wrote to the database"):
                    await stale
            loaded = await two.store.load()
            assert loaded.head == two.head
            assert (loaded.signed, loaded.published) == (b"signed by two", b"published by two")
            await two.store.check_alone()


def test_stale_witness_dies_rather_than_cosign_beside_another(tmp_path: Path) -> None:
    log = GrowingLog(signers=[log_signer()])
    config, _ = set_up(tmp_path / "w", log.vkeys)
    with services() as quick:
        stale = quick.witness(config)
        assert ask(f"{stale.url}/add-checkpoint", log.request(0, 4).encode()).status == 200
        with pytest.raises(AssertionError, match="in use by another process"):
            quick.witness(config)
        stale.signal(signal.SIGSTOP)
        with pytest.raises(AssertionError, match="in use by another process"):
            quick.witness(config)
        config.with_name("witness.db.lock").unlink()
        other = quick.witness(config)
        assert ask(f"{other.url}/add-checkpoint", log.request(4, 7).encode()).status == 200
        stale.signal(signal.SIGCONT)
        # What the stale one remembers would allow a fork of the tree of 7.
        fork = log.fork(5).request(4, 9).encode()
        assert ask(f"{stale.url}/add-checkpoint", fork).status >= 500
        assert stale.wait() == EXIT_FAILED
        latest = ask(f"{other.url}/{origin_hash(log.origin)}/checkpoint").body
        assert latest.split(b"\n")[1] == b"7"
        assert ask(f"{other.url}/add-checkpoint", log.request(7, 8).encode()).status == 200
        other.kill()
