"""No tool runs whose outcome cannot be kept, on an event loop and in threads."""

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from bench import Bench
from muniment.errors import StreamError
from muniment.gateway import spool, spoolstore
from muniment.gateway.spoolstore import SpoolStore
from muniment.local.sqlitefile import Writer


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the disk takes nothing")
    error.sqlite_errorcode = code
    return error


class Unkept:
    """Ways in which a spool takes nothing, and how that passes, if it does."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        self.spool: Any = bench.inner.spool
        self.monkeypatch = monkeypatch

    def full(self) -> Callable[[], None]:
        most = self.spool.most_records
        self.spool.most_records = self.spool.pending

        def passes() -> None:
            self.spool.most_records = most

        return passes

    def failed(self) -> Callable[[], None] | None:
        self.spool.delivery.failure = StreamError("somebody else writes to the stream")
        return None

    def broken(self) -> Callable[[], None]:
        def fail(_writer: Any, _connection: Any) -> None:
            raise sqlite_error(sqlite3.SQLITE_FULL)

        self.monkeypatch.setattr(Writer, "commit", fail)
        return self.monkeypatch.undo

    def no_room(self) -> Callable[[], None]:
        def fail(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        path = self.bench.path
        path.with_name(path.name + spoolstore.SPARE_SUFFIX).unlink(missing_ok=True)
        self.monkeypatch.setattr(os, "posix_fallocate", fail)
        return self.monkeypatch.undo

    def gone(self, end: str = "") -> Callable[[], None]:
        path = self.bench.path.with_name(self.bench.path.name + end)
        aside = path.with_name("aside")
        path.rename(aside)

        def passes() -> None:
            aside.rename(path)

        return passes

    def gone_log(self) -> Callable[[], None]:
        return self.gone("-wal")

    def replaced(self) -> Callable[[], None]:
        passes = self.gone()
        shutil.copy(self.bench.path.with_name("aside"), self.bench.path)
        return passes

    def cut_off(self) -> Callable[[], None]:
        data = self.bench.path.read_bytes()
        os.truncate(self.bench.path, 0)

        def passes() -> None:
            self.bench.path.write_bytes(data)

        return passes


@pytest.mark.parametrize(
    "way", ["full", "failed", "broken", "no_room", "gone", "gone_log", "replaced", "cut_off"]
)
async def test_a_call_whose_outcome_cannot_be_kept_is_denied_before_it_is_decided(
    bench: Bench, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: Any) -> Any:
        raise AssertionError("the policy engine was asked")

    async with bench.opened():
        # Once this is delivered, the spool sets nothing of its own accord any more.
        first = {"kind": "outcome", "execution": "run-1", "status": "completed"}
        await bench.on_loop(bench.inner.spool.put([first]))
        await bench.outcomes()
        passes = getattr(Unkept(bench, monkeypatch), way)()
        for _ in range(3):
            await bench.denied(bench.tool(bench.ran.append, decide=never), 1)
        assert not bench.ran
        assert bench.records("decision") == []
        if passes is not None:
            passes()
            monkeypatch.setattr(spool, "FIRST_PAUSE", 0.005)
            monkeypatch.setattr(spool, "LONGEST_PAUSE", 0.02)
            await bench.call(bench.tool(bench.ran.append), 1)
            assert [one["status"] for one in await bench.outcomes()] == ["completed"] * 2


async def test_a_call_whose_spool_is_deleted_while_it_is_decided_does_not_run(
    bench: Bench,
) -> None:
    def delete(_: Any) -> Any:
        bench.path.unlink()
        return {"decision": True}

    async with bench.opened():
        await bench.denied(bench.tool(bench.ran.append, decide=delete), 1)
        # What was open still is, so that the log learns of it.
        [outcome] = await bench.outcomes()
    assert not bench.ran
    assert (outcome["status"], outcome["denial"]["codes"]) == (
        "aborted",
        ["authorization_discontinuity"],
    )


async def test_the_room_that_was_set_aside_is_made_anew_when_somebody_deletes_it(
    bench: Bench,
) -> None:
    spare = bench.path.with_name(bench.path.name + spoolstore.SPARE_SUFFIX)
    async with bench.opened():
        for _ in range(2):
            await bench.call(bench.tool(bench.ran.append), 1)
            spare.unlink()
        spare.mkdir()
        await bench.denied(bench.tool(bench.ran.append), 1)
    assert bench.ran == [1, 1]


@pytest.mark.parametrize("options", [{"spool": None}, {"policy": None}])
async def test_a_gateway_that_can_keep_or_verify_nothing_runs_nothing(
    bench: Bench, options: dict[str, Any]
) -> None:
    async with bench.opened(**options):
        await bench.denied(bench.tool(bench.ran.append), 1)
    await bench.denied(bench.tool(bench.ran.append), 1)  # nor does a closed one
    assert not bench.ran
    assert bench.sim.size == 0


async def test_the_outcomes_of_calls_that_run_when_the_disk_gets_full_are_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit after the run fails, as on a full disk; there is room beside the file."""
    spare = bench.path.with_name(bench.path.name + spoolstore.SPARE_SUFFIX)
    commit = Writer.commit

    def fail_while_full(writer: Writer, connection: sqlite3.Connection) -> None:
        if bench.ran and spare.exists():
            raise sqlite_error(sqlite3.SQLITE_FULL)
        commit(writer, connection)

    async with bench.opened():
        monkeypatch.setattr(Writer, "commit", fail_while_full)
        await bench.call(bench.tool(bench.ran.append), 1)
        monkeypatch.undo()
        await bench.call(bench.tool(bench.ran.append), 2)
        assert spare.exists()
        assert [one["status"] for one in await bench.outcomes()] == ["completed"] * 2
    assert bench.ran == [1, 2]


@pytest.mark.parametrize("work", ["change", "turn"])
async def test_a_file_that_another_program_locks_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Longer than one attempt does: an outcome's change, and delivery's turn after it."""
    monkeypatch.setattr("muniment.local.sqliteopen.BUSY_MILLISECONDS", 20)
    run, refused = SpoolStore.run, list[str]()

    async def run_or_unlock(store: SpoolStore, done: Any, **how: Any) -> object:
        name = done.func.__name__
        if bench.ran and name == work and not refused:
            other.execute("BEGIN IMMEDIATE")
        try:
            return await run(store, done, **how)
        except sqlite3.OperationalError as error:
            refused.append(f"{name}: {error}")
            if name == work:
                other.execute("ROLLBACK")
            raise

    async with bench.opened():
        other = sqlite3.connect(bench.path, isolation_level=None, check_same_thread=False)
        monkeypatch.setattr(SpoolStore, "run", run_or_unlock)
        with contextlib.closing(other):
            await bench.call(bench.tool(bench.ran.append), 1)
            assert [one["status"] for one in await bench.outcomes()] == ["completed"]
    assert f"{work}: database is locked" in refused


async def test_an_outcome_is_kept_once_though_its_commit_was_told_to_have_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Writer.commit

    def commit_and_fail(writer: Writer, connection: sqlite3.Connection) -> None:
        commit(writer, connection)
        if bench.ran and not failed:
            failed.append(True)
            raise sqlite_error(sqlite3.SQLITE_IOERR)

    failed: list[bool] = []
    async with bench.opened():
        monkeypatch.setattr(Writer, "commit", commit_and_fail)
        await bench.call(bench.tool(bench.ran.append), 1)
        assert failed
        assert [one["status"] for one in await bench.outcomes()] == ["completed"]
