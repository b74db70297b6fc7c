"""Erasing addenda: the record first, then the bytes, whatever happens in between."""

import sqlite3
import tempfile
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from erasing_tools import ORIGIN, START, Log, bench, damage_of
from muniment.records.api import Erasure, encode_record
from muniment_log.core.addenda import Erased, Sent
from muniment_log.core.erasable import Selection, Totals
from muniment_log.core.erasing import NotErasableError
from muniment_log.errors import OverloadedError, StorageError
from muniment_log.storage.erasing import ErasableAddenda
from packing import ALICE, BOB, DAY, made
from waiting import at_work, until

TWISTED = ALICE[8:] + ALICE[:8]  # is found in two of ALICE, one after the other


# On command


@pytest.mark.parametrize("together", [False, True])
async def test_the_bytes_are_gone_from_disk_and_the_log_says_so(
    tmp_path: Path, together: bool
) -> None:
    one, two = made(1), made(2)
    async with bench(tmp_path, together=together) as at:
        await at.keep(one, two)
        assert one.data in at.bytes()
        done = await at.erase(one)
        assert (done.addenda, done.bytes, done.records, done.is_clean) == (1, 60, (0,), True)
        assert one.data not in at.bytes()
        assert two.data in at.bytes()
        assert await at.store.read(one.digest) == Erased(START, 0)
        assert await at.store.read(two.digest) == two.data
        assert at.eraser.totals == Totals(1, 60, 1)
    assert at.log.erasures() == [
        Erasure(
            v=1,
            id="e-0",
            time=START,
            producer=ORIGIN,
            digests=(one.digest.hex(),),
            by="root",
            reason="asked for",
        )
    ]


async def test_a_retry_does_not_bring_the_bytes_back(tmp_path: Path) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        await at.keep(one)
        await at.erase(one)
        await at.keep(one, made(2))
        assert await at.store.read(one.digest) == Erased(START, 0)
        with pytest.raises(NotErasableError, match="keeps no addendum of this digest"):
            await at.erase(one)
        assert at.eraser.totals == Totals(1, 60, 1)
    async with bench(tmp_path, log=at.log) as at:
        assert at.store.totals == Totals(1, 60, 1)
        assert one.data not in at.bytes()


async def test_a_subject_is_forgotten_with_what_its_runs_made(tmp_path: Path) -> None:
    mine = [made(1, run="run-1"), made(2), made(3, subject=None, run="run-1")]
    others = [made(4, subject=BOB, run="run-2"), made(5, subject=None, run="run-2")]
    async with bench(tmp_path) as at:
        await at.keep(*mine, *others)
        await at.erase(subject=ALICE)
        there = at.bytes()
        assert [one.data in there for one in (*mine, *others)] == [False] * 3 + [True] * 2
        late = made(6, subject=None, run="run-1")
        await at.keep(late)  # an outcome from a spool
        await at.erase(subject=ALICE)
        assert late.data not in at.bytes()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from([ALICE, BOB, TWISTED, None]), min_size=1), max_size=4),
    st.integers(1, 5),
    st.booleans(),
)
async def test_all_of_a_subject_is_found_and_nothing_else(
    tmp_path: Path, requests: list[list[bytes | None]], most: int, together: bool
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    numbers = count()
    groups = [[made(next(numbers), subject=one) for one in request] for request in requests]
    async with bench(folder, together=together) as at:
        for group in groups:
            await at.keep(*group)
        for subject in (ALICE, BOB, TWISTED):
            mine = [one.digest for group in groups for one in group if one.subject == subject]
            found = await at.stored.find(Selection(subject=subject), 1000)
            assert [one.digest for one in found] == mine
            found = await at.stored.find(Selection(subject=subject), most)
            assert len(found) == min(most, len(mine))
            assert {one.digest for one in found} <= {*mine}
        if at.path.exists():
            assert damage_of(at.path) == []


async def test_only_what_the_log_took_before_a_time(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await at.keep(made(1))
        at.now += DAY
        await at.keep(made(2))
        await at.erase(subject=ALICE, before_ms=START + 1)
        assert await at.store.read(made(2).digest) == made(2).data
        with pytest.raises(NotErasableError, match="no such addendum"):
            await at.erase(subject=ALICE, before_ms=START + 1)


@pytest.mark.parametrize("together", [False, True])
async def test_many_take_several_records_of_500_digests(tmp_path: Path, together: bool) -> None:
    many = [made(n) for n in range(1201)]
    async with bench(tmp_path, together=together) as at:
        await at.keep(*many)
        done = await at.erase(subject=ALICE)
        assert done.records == (0, 1, 2)
        assert [len(one.digests) for one in at.log.erasures()] == [500, 500, 201]
        assert at.eraser.totals == Totals(0, 0, 1201)
        assert not [one for one in many if one.data in at.bytes()]


async def test_what_is_not_kept_is_named(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(NotErasableError, match="keeps no addendum of this digest, nor of 1"):
            await at.erase(made(1), made(2))
        with pytest.raises(NotErasableError, match="no such addendum"):
            await at.erase(subject=ALICE)
    assert at.log.records == []


async def test_a_reader_keeps_old_bytes_for_as_long_as_it_reads(tmp_path: Path) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        await at.keep(one)
        with closing(sqlite3.connect(at.path)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM addendum").fetchone()

            done = await at.erase(one)
            assert not done.is_clean
            assert one.data in at.bytes()
        async with at_work(at.eraser.run()):
            await until(lambda: one.data not in at.bytes())


# After a crash


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("step", ["begin", "submit", "remove", "forget"])
async def test_a_crash_at_any_step_is_completed_by_the_next_start(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    one, two = made(1), made(2)
    log = Log()

    class Crash(BaseException):
        pass

    async def crash(*_: object) -> Any:
        raise Crash

    async with bench(tmp_path, log=log, together=together) as at:
        await at.keep(one, two)
        found = await at.eraser.select(Selection((one.digest,)))
        if step == "submit":
            monkeypatch.setattr(log, "problem", Crash())
        else:
            monkeypatch.setattr(ErasableAddenda, step, crash)
        with pytest.raises(Crash):
            await at.eraser.erase(found, by="root", reason=None)
        monkeypatch.undo()
    async with bench(tmp_path, log=log) as at:
        if step == "begin":
            assert await at.stored.begun() == []
        async with at_work(at.eraser.run()):
            await until(lambda: at.eraser.pending == 0)
            if step == "begin":
                assert await at.store.read(one.digest) == one.data
                assert log.records == []
            else:
                assert one.data not in at.bytes()
                assert await at.store.read(one.digest) == Erased(START, 0)
                assert [one.digests for one in log.erasures()] == [(found[0].digest.hex(),)]
            assert await at.store.read(two.digest) == two.data


async def test_what_could_not_be_logged_is_completed_later(tmp_path: Path) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        await at.keep(one)
        at.log.problem = OverloadedError("too much waits")
        with pytest.raises(OverloadedError):
            await at.erase(one)
        assert await at.store.read(one.digest) == one.data
        assert at.eraser.pending == 1
        at.log.problem = None
        async with at_work(at.eraser.run()):
            await until(lambda: one.data not in at.bytes())
    assert len(at.log.erasures()) == 1


@pytest.mark.parametrize("step", ["begin", "remove", "forget"])
async def test_a_storage_that_fails_ends_the_process(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(1)

    async def fail(*_: object) -> Any:
        raise StorageError("the disk is full")

    async with bench(tmp_path) as at:
        await at.keep(one)
        monkeypatch.setattr(ErasableAddenda, step, fail)
        async with at_work(at.eraser.run()) as running:
            for failing in (at.erase(one), running):
                with pytest.raises(StorageError, match="full"):
                    await failing


async def test_what_was_refused_meanwhile_cannot_come_later(tmp_path: Path) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        await at.keep(made(2))
        sent = Sent([one], {})
        await at.store.keep(sent)
        found = await at.eraser.select(Selection((one.digest,)))
        at.store.refused(sent)
        await at.keep(made(3))  # writes the removal, too
        assert await at.store.read(one.digest) is None
        await at.eraser.erase(found, by="root", reason=None)
        await at.keep(one)
        assert await at.store.read(one.digest) == Erased(START, 0)
        assert at.eraser.totals == Totals(2, 120, 1)


async def test_an_older_copy_brings_nothing_back(tmp_path: Path) -> None:
    old, new, kept = made(1), made(2), made(3)
    log = Log()
    async with bench(tmp_path, log=log) as at:
        await at.keep(old, new, kept)
        await at.erase(old)
    copy = (tmp_path / "addenda.db").read_bytes()
    async with bench(tmp_path, log=log) as at:
        assert await at.eraser.catch_up(log.leaves) == 0
        await at.erase(new)
    (tmp_path / "addenda.db").write_bytes(copy)
    async with bench(tmp_path, log=log) as at:
        assert new.data in at.bytes()
        log.records.append(
            encode_record(
                Erasure(
                    v=1, id="x", time=START, producer="gw", digests=(kept.digest.hex(),), by="?"
                )
            )
        )
        assert await at.eraser.catch_up(log.leaves) == 1
        assert new.data not in at.bytes()
        assert kept.data in at.bytes()  # that was not the log's word
        assert await at.store.read(new.digest) == Erased(START, 1)
        assert at.eraser.totals == Totals(1, 60, 2)
        assert await at.eraser.catch_up(log.leaves) == 0


async def test_what_was_lost_does_not_come_back_from_a_retry(tmp_path: Path) -> None:
    one = made(1)
    log = Log()
    async with bench(tmp_path, log=log) as at:
        await at.keep(one)
        await at.erase(one)
    (tmp_path / "addenda.db").unlink()
    async with bench(tmp_path, log=log) as at:
        assert await at.eraser.catch_up(log.leaves) == 0
        await at.keep(one)
    async with bench(tmp_path, log=log) as at:
        assert await at.eraser.catch_up(log.leaves) == 1
        assert one.data not in at.bytes()
