"""Heads move in one place: groups, order, overload, failure, and a clock that goes back."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clocks import WallClock
from muniment.local.sqlitefile import FatalDatabaseError, Writer
from muniment_service.http import Problem
from muniment_witness.cosign import cosigner as module
from muniment_witness.cosign.cosigner import Cosigner
from muniment_witness.judge.decide import Authentic, KnownLog, Refusal, authenticate
from muniment_witness.store.heads import CosignedHead
from waiting import at_work
from witness_tools import GrowingLog, opened_store, witness_signer

LOG = GrowingLog()
KNOWN = KnownLog(LOG.origin, LOG.verifiers)
SIGNER = witness_signer()
NOW = 1_700_000_000


def ask(old: int, new: int, log: GrowingLog = LOG) -> Authentic:
    outcome = authenticate(KNOWN, log.request(old, new))
    assert isinstance(outcome, Authentic)
    return outcome


@asynccontextmanager
async def running(folder: Path, clock: WallClock | None = None) -> AsyncIterator[Cosigner]:
    store = await opened_store(folder / "w.db", [SIGNER.vkey])
    cosigner = Cosigner(store, [SIGNER], clock or WallClock(NOW))
    try:
        async with at_work(cosigner.run()):
            yield cosigner
    finally:
        await store.close()


async def test_requests_in_one_group_see_each_other(tmp_path: Path) -> None:
    async with running(tmp_path) as cosigner:
        outcomes = await asyncio.gather(
            *(
                cosigner.add_checkpoint(ask(old, new))
                for old, new in ((0, 3), (3, 5), (3, 6), (5, 5))
            )
        )
    sizes = [o.latest.head.size if isinstance(o, CosignedHead) else o.size for o in outcomes]
    assert sizes == [3, 5, 5, 5]
    assert isinstance(outcomes[2], Refusal)


async def test_racing_requests_never_roll_back(tmp_path: Path) -> None:
    """tlog-witness: checking the old size and persisting "must be performed atomically"."""
    async with running(tmp_path) as cosigner:
        for size in range(0, 40, 4):
            outcomes = await asyncio.gather(
                *(cosigner.add_checkpoint(ask(size, size + 1 + n % 4)) for n in range(100))
            )
            won = [o.latest.head.size for o in outcomes if isinstance(o, CosignedHead)]
            assert won == [size + 1]
            assert {o.size for o in outcomes if isinstance(o, Refusal)} == {size + 1}
            await cosigner.add_checkpoint(ask(size + 1, size + 4))
        outcome = await cosigner.add_checkpoint(ask(0, 1))
        assert isinstance(outcome, Refusal)
        assert outcome.size == 40


async def test_a_fork_within_a_group_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as cosigner:
        first, second = await asyncio.gather(
            cosigner.add_checkpoint(ask(0, 3)),
            cosigner.add_checkpoint(ask(3, 5, LOG.fork(1))),
        )
    assert isinstance(first, CosignedHead)
    assert isinstance(second, Refusal)
    assert second.status == 422


async def test_a_client_that_leaves_does_not_hold_the_others_up(tmp_path: Path) -> None:
    async with running(tmp_path) as cosigner:
        leaving = asyncio.create_task(cosigner.add_checkpoint(ask(0, 3)))
        staying = asyncio.create_task(cosigner.add_checkpoint(ask(3, 5)))
        await asyncio.sleep(0)
        leaving.cancel()
        outcome = await staying
    assert isinstance(outcome, CosignedHead)
    assert outcome.latest.head.size == 5


async def test_too_many_waiting_are_told_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    request = ask(0, 3)
    async with running(tmp_path) as cosigner:
        outcomes = await asyncio.gather(
            *(cosigner.add_checkpoint(request) for _ in range(5)), return_exceptions=True
        )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.status for problem in refused] == [503, 503]
    assert "Retry-After" in refused[0].headers


async def test_a_failed_commit_fails_all_who_wait_and_ends_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GROUP", 2)
    store = await opened_store(tmp_path / "w.db", [SIGNER.vkey])

    def fail(_: Writer, __: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Writer, "commit", fail)
    cosigner = Cosigner(store, [SIGNER], WallClock(NOW))
    task = asyncio.create_task(cosigner.run())
    outcomes = await asyncio.gather(
        *(cosigner.add_checkpoint(ask(0, 3)) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [FatalDatabaseError] * 5
    with pytest.raises(FatalDatabaseError):
        await task
    with pytest.raises(FatalDatabaseError):
        await cosigner.add_checkpoint(ask(0, 3))
    await store.close()


async def test_the_clock_never_signs_backwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = WallClock(NOW)
    async with running(tmp_path, clock) as cosigner:
        assert isinstance(await cosigner.add_checkpoint(ask(0, 3)), CosignedHead)
        clock.now = NOW - 1
        assert cosigner.clock_is_behind
        for _ in range(3):
            refused = await cosigner.add_checkpoint(ask(3, 5))
            assert isinstance(refused, Refusal)
            assert refused.slug == "clock"
    assert len(caplog.records) == 1
    async with running(tmp_path, clock) as cosigner:  # the store remembers
        assert cosigner.clock_is_behind
        assert isinstance(await cosigner.add_checkpoint(ask(3, 5)), Refusal)
        clock.now = NOW
        assert isinstance(await cosigner.add_checkpoint(ask(3, 5)), CosignedHead)
