"""The spool: in order, exactly once, whatever ends first: the log, the network, or the process."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from bench import gateway_of
from logsim import GATEWAY_SIGNER, NOW, POLICY, LogSim, lines, logged_records
from muniment.errors import GatewayClosed, SpoolFull, StreamError
from muniment.gateway import spooldelivery, spoolstore
from muniment.gateway.gateway import Gateway
from muniment.gateway.logstream import LogStream
from muniment.gateway.spool import Spool
from muniment.gateway.spoolfile import SpoolFile
from muniment.gateway.spoolschema import APPLICATION_ID, MIGRATIONS
from muniment.local.sqlitefile import DatabaseError, Writer
from muniment.records.api import RecordError
from muniment.records.preparation import Preparer
from waiting import SECONDS, until

pytestmark = pytest.mark.usefixtures("fast_retries")


def preparer() -> Preparer:
    ids = itertools.count()
    return Preparer(
        GATEWAY_SIGNER.vkey.name, now_ms=lambda: NOW * 1000, new_id=lambda: f"x-{next(ids)}"
    )


def resources(sim: LogSim) -> list[str]:
    return [json.loads(entry)["request"]["resource"]["id"] for entry in logged_records(sim)]


def expected(count: int) -> list[str]:
    return [f"t-{number}" for number in range(count)]


async def test_delivers_in_order_on_a_stream_of_its_own(tmp_path: Path) -> None:
    sim = LogSim()
    async with gateway_of(sim, policy=POLICY, spool=tmp_path / "spool") as gateway:
        for at in range(0, 30, 3):
            await gateway.spool.put(lines(3, at))
        await gateway.spool.drained()
        assert gateway.spool.pending == 0
    assert resources(sim) == expected(30)
    assert ("gw.example/edge", "default.spool") in sim.streams


async def test_a_few_records_go_together_unless_somebody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooldelivery, "GATHER_SECONDS", 1000)
    sim = LogSim()
    async with gateway_of(sim, policy=POLICY, spool=tmp_path / "spool") as gateway:
        await gateway.spool.put(lines(1))
        await gateway.spool.drained()
        before = sim.posts
        for at in range(1, 6):
            await gateway.spool.put(lines(1, at))
        assert sim.posts == before
        await gateway.spool.drained()
        assert sim.posts == before + 1
        await gateway.spool.put(lines(spooldelivery.ENOUGH, 6))
        await until(lambda: sim.posts > before + 1)  # nobody waits for these
    assert resources(sim) == expected(6 + spooldelivery.ENOUGH)


async def test_an_outcome_at_leisure_is_written_with_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoolstore, "LEISURE_SECONDS", 1000)
    sim = LogSim()

    def outcome(number: int, status: str) -> dict[str, Any]:
        return {"kind": "outcome", "execution": f"run-{number}", "status": status}

    async with gateway_of(sim, policy=POLICY, spool=tmp_path / "spool") as gateway:
        spool = gateway.spool

        async def end(number: int) -> asyncio.Task[None]:
            call = await spool.begin(outcome(number, "unknown"))
            ending = spool.end(call, outcome(number, "completed"), at_leisure=True)
            task = asyncio.create_task(ending)
            await asyncio.sleep(0)
            return task

        first = await end(1)
        assert spool.pending == 0
        await spool.put(lines(1))
        await first
        assert spool.pending == 2
        second = await end(2)
    await second  # the end of the spool writes it
    statuses = [json.loads(entry).get("status") for entry in logged_records(sim)]
    assert statuses == ["completed", None, "completed"]


async def test_takes_records_while_the_log_is_away_and_keeps_them_for_the_next_start(
    tmp_path: Path,
) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        gateway = Gateway(url, GATEWAY_SIGNER, spool=path)
        async with gateway:
            await gateway.spool.put(lines(2))
            await gateway.spool.drained()
            sim.script.extend(["drop"] * 1000)
            async with asyncio.timeout(SECONDS):
                await gateway.spool.put(lines(5, 2))
                assert gateway.spool.pending == 5
                await gateway.spool.close(drain=0.05)
        assert resources(sim) == expected(2)
        sim.script.clear()
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as again:
            await again.spool.drained()
    assert resources(sim) == expected(7)


async def test_what_was_on_its_way_is_not_logged_twice(tmp_path: Path) -> None:
    """The log takes a batch and its answer is lost; the process ends; the next one goes on."""
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        for at in range(0, 12, 3):
            sim.script.extend(["lose", *["drop"] * 500])
            async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
                before = sim.posts
                await gateway.spool.put(lines(3, at))
                await until(lambda before=before: sim.posts > before + 1)  # and once more, in vain
                await gateway.spool.close(drain=0.0)
            sim.script.clear()
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            await gateway.spool.put(lines(1, 12))
            await gateway.spool.drained()
    assert resources(sim) == expected(13)


async def test_somebody_else_on_the_stream_stops_delivery_and_loses_nothing(
    tmp_path: Path,
) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            await gateway.spool.put(lines(1))
            await gateway.spool.drained()
        async with Gateway(url, GATEWAY_SIGNER, stream="default.spool") as thief:
            await thief.submit(lines(2, 1))
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            await gateway.spool.put(lines(1, 3))
            await gateway.spool.drained()
            assert isinstance(gateway.spool.failure, StreamError)
            assert gateway.spool.pending == 1
            await gateway.spool.put(lines(1, 4))
            assert gateway.spool.pending == 2
    assert resources(sim) == expected(3)


async def test_a_record_that_the_log_refuses_is_put_aside(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    sim.script.append((422, "bad-record", {"entry": 1}))
    async with gateway_of(sim, spool=path) as gateway:
        await gateway.spool.put(lines(3))
        await gateway.spool.drained()
        assert await gateway.spool.refused() == 1
    assert resources(sim) == ["t-0", "t-2"]


def without_a_log() -> LogStream:
    return LogStream("http://127.0.0.1:1", GATEWAY_SIGNER, stream="s.spool")


@pytest.mark.parametrize("limits", [{"max_records": 3}, {"max_bytes": 600}])
async def test_is_bounded_by_count_and_bytes(tmp_path: Path, limits: dict[str, int]) -> None:
    one = await Spool.open(tmp_path / "spool", without_a_log, preparer(), **limits)
    await one.put(lines(2))
    with pytest.raises(SpoolFull):
        await one.put(lines(2, 2))
    assert one.pending == 2
    await one.close(drain=0.0)


OUTCOME = {"kind": "outcome", "execution": "run-1"}
COMPLETED = {**OUTCOME, "status": "completed"}
UNKNOWN = {**OUTCOME, "status": "unknown"}


def statuses(sim: LogSim) -> list[str]:
    return [json.loads(entry)["status"] for entry in logged_records(sim)]


async def test_a_call_has_the_outcome_that_was_kept_or_an_unknown_one(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            calls = [await gateway.spool.begin(UNKNOWN) for _ in range(3)]
            assert gateway.spool.pending == 0
            await gateway.spool.end(calls[0], COMPLETED)
            gateway.spool.forget(calls[1])
            await gateway.spool.drained()
            assert statuses(sim) == ["completed"]
        for _ in range(2):
            async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
                await gateway.spool.drained()
            assert statuses(sim) == ["completed", "unknown"]


async def test_a_call_that_gave_up_before_it_began_leaves_nothing(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            beginning = asyncio.create_task(gateway.spool.begin(UNKNOWN))
            await asyncio.sleep(0)
            beginning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await beginning
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            await gateway.spool.drained()
    assert statuses(sim) == []


@pytest.mark.parametrize("limits", [{"max_records": 2}, {"max_bytes": 3000}])
async def test_room_for_outcomes_counts(tmp_path: Path, limits: dict[str, int]) -> None:
    one = await Spool.open(tmp_path / "spool", without_a_log, preparer(), **limits)
    first, _ = await one.begin(UNKNOWN), await one.begin(UNKNOWN)
    with pytest.raises(SpoolFull):
        await one.begin(UNKNOWN)
    with pytest.raises(SpoolFull):
        await one.put(lines(6))
    await one.end(first, COMPLETED)  # its place is its own
    await one.close(drain=0.0)


async def test_a_spool_of_before_goes_on(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    old = await Writer.open(path, MIGRATIONS[:1], application=APPLICATION_ID)
    entry = preparer().prepare(lines(1))[0]
    await old.run(lambda db: db.execute("INSERT INTO entry (data) VALUES (?)", (entry,)))
    await old.close()
    async with gateway_of(sim, spool=path) as gateway:
        await gateway.spool.begin(UNKNOWN)
        await gateway.spool.drained()
    assert resources(sim) == expected(1)


async def test_concurrent_puts_share_transactions_and_keep_each_callers_order(
    tmp_path: Path,
) -> None:
    sim = LogSim()
    async with gateway_of(sim, spool=tmp_path / "spool") as gateway:

        async def caller(first: int) -> None:
            for at in range(first, first + 20):
                await gateway.spool.put(lines(1, at))

        await asyncio.gather(*(caller(100 * n) for n in range(5)))
        await gateway.spool.drained()
    found = resources(sim)
    for n in range(5):
        own = [name for name in found if int(name[2:]) // 100 == n]
        assert own == [f"t-{at}" for at in range(100 * n, 100 * n + 20)]


async def test_bad_records_and_foreign_files_are_refused(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            with pytest.raises(RecordError):
                await gateway.spool.put([b"{}"])
            await gateway.spool.put([])
            with pytest.raises(DatabaseError, match="in use"):
                async with Gateway(url, GATEWAY_SIGNER, stream="other", spool=path):
                    pass
            await gateway.spool.put(lines(1))
            await gateway.spool.drained()
            old = gateway.spool
        with pytest.raises(GatewayClosed):
            await old.put(lines(1))
        with contextlib.suppress(RuntimeError):
            _ = gateway.spool
        async with Gateway(url, GATEWAY_SIGNER, stream="other", spool=path) as other:
            await other.spool.put(lines(1, 1))
            await other.spool.drained()
            assert isinstance(other.spool.failure, StreamError)
    assert resources(sim) == expected(1)


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE state RENAME COLUMN claimed TO claimee",
        "DROP TABLE entry",
        "DELETE FROM state",
        "UPDATE state SET claimed = 1",
        "UPDATE state SET claimed = -1",
        "UPDATE state SET base = 'three'",
        "UPDATE state SET origin = 'log.example/one'",
        "UPDATE state SET origin = x'00', producer = x'00', stream = x'00'",
    ],
)
async def test_a_damaged_spool_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s.db"
    writer = await Writer.open(path, MIGRATIONS, application=APPLICATION_ID)
    await writer.run(lambda db: db.execute(damage))
    with pytest.raises(DatabaseError, match="is damaged"):
        await writer.run(SpoolFile.load)
    await writer.close()


async def test_rows_that_break_the_rules_of_their_table_are_damage(tmp_path: Path) -> None:
    writer = await Writer.open(tmp_path / "s.db", MIGRATIONS, application=APPLICATION_ID)
    await writer.run(lambda db: db.execute("DROP TABLE underway"))
    await writer.run(lambda db: db.execute("CREATE TABLE underway (call INTEGER, data BLOB)"))
    await writer.run(lambda db: db.execute("INSERT INTO underway VALUES (1, NULL)"))
    with pytest.raises(DatabaseError, match=r"the spool is damaged: NOT NULL .* entry\.data"):
        await writer.run(SpoolFile.resume)
    await writer.close()


async def test_a_spool_that_is_made_is_told_and_an_empty_file_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with LogSim().serve() as url:
        for is_new in (True, False):
            caplog.clear()
            async with Gateway(url, GATEWAY_SIGNER, spool=tmp_path / "s.db"):
                told = "made a new spool: there was none" in caplog.text
                assert told == is_new
        (tmp_path / "s.db").write_bytes(b"")
        with pytest.raises(DatabaseError, match=r"s\.db: empty \(0 bytes\), not a database"):
            async with Gateway(url, GATEWAY_SIGNER, spool=tmp_path / "s.db"):
                pass


async def test_what_others_send_again_is_recognised_by_its_name(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    names = [bytes([number]) * 32 for number in range(6)]
    entries = Gateway("http://log.example", GATEWAY_SIGNER).prepare(lines(6))

    def sent(start: int, stop: int) -> dict[bytes, bytes]:
        return dict(zip(names[start:stop], entries[start:stop], strict=True))

    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            assert await gateway.spool.put_once(sent(0, 3)) == 3
            counts = await asyncio.gather(
                *(gateway.spool.put_once(sent(start, 5)) for start in range(5))
            )
            assert sum(counts) == 2  # together they bring two new ones
            await gateway.spool.drained()
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as again:
            assert await again.spool.put_once(sent(0, 6)) == 1
            await again.spool.drained()
    assert resources(sim) == expected(6)


async def test_who_is_cancelled_while_others_records_are_taken_has_them_recognised(
    tmp_path: Path,
) -> None:
    sim = LogSim()
    entries = Gateway("http://log.example", GATEWAY_SIGNER).prepare(lines(3))
    sent = {bytes([number]) * 32: entry for number, entry in enumerate(entries)}
    async with gateway_of(sim, policy=POLICY, spool=tmp_path / "spool") as gateway:
        for turns in range(4):  # wherever it is cancelled
            task = asyncio.create_task(gateway.spool.put_once(sent))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await gateway.spool.put_once(sent)
        await gateway.spool.drained()
    assert resources(sim) == expected(3)
