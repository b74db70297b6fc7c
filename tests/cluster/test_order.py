"""Ordering and integrating on real engines: what is lost, repeated, late, too much."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

import engines
from cluster_tools import clustered, ordered_in
from log_tools import GATEWAY, LIMITS, GatewayStream, all_entries, entries_of, nameless, record
from muniment.records.manifest import MAX_BATCH_BYTES
from muniment.tlog.encoding import unframe
from muniment.tlog.heads import Head
from muniment_log.cluster.database import Database, DatabaseConnection
from muniment_log.cluster.lease import Lease, LeaseLostError
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.order import Backlog, PostgresOrder
from muniment_log.cluster.treestore import TreeStore
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.core.ordering import Ordering, StreamsMovedError
from muniment_log.core.ports import NEW_STREAM, StreamKey
from muniment_log.core.runs import ROW_BYTES, rows_of, run_of
from muniment_log.core.streams import digest_of
from muniment_log.errors import OverloadedError, StorageError, UnavailableError
from waiting import until

MAIN = StreamKey(GATEWAY, "main")


@contextlib.asynccontextmanager
async def opened(url: str, patience: float = 5.0) -> AsyncIterator[Database]:
    database = await Database.open(url, patience=patience)
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()


def ordering(stream: GatewayStream, count: int = 1) -> Ordering:
    batch = stream.take(count)
    return Ordering(StreamKey(stream.gateway, stream.label), batch, digest_of(batch))


def losing(database: Database, monkeypatch: pytest.MonkeyPatch, *, persisted: bool) -> None:
    """Loses the next connection: before its transaction, or after its commit."""
    once = database._once
    lost = []

    async def lose(work: Callable[[DatabaseConnection], Awaitable[Any]]) -> Any:
        if lost:
            return await once(work)
        lost.append(True)
        if persisted:
            await once(work)
        raise ConnectionResetError("cut")

    monkeypatch.setattr(database, "_once", lose)


async def test_too_many_early_batches_are_no_gap_that_a_frontend_can_see(
    database: str, bucket: engines.Bucket
) -> None:
    limits = structs.replace(LIMITS, parked_batches=2, parked_seconds=20)
    stream = GatewayStream()
    batches = [stream.take(1) for _ in range(4)]
    async with clustered(database, bucket, limits) as log:
        sequencer = log.sequencers[0]
        waiting = [asyncio.create_task(sequencer.submit(batch)) for batch in batches[1:3]]
        await until(lambda: sum(len(one.parked) for one in sequencer.remembered) >= 2)
        with pytest.raises(OverloadedError, match="before them"):
            await sequencer.submit(batches[3])
        assert (await sequencer.submit(batches[0])).first == 0
        assert [receipt.first for receipt in await asyncio.gather(*waiting)] == [2, 4]
        assert (await sequencer.submit(batches[3])).first == 6


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("signed", [True, False])
async def test_a_lost_connection_orders_nothing_twice(
    database: str, monkeypatch: pytest.MonkeyPatch, *, persisted: bool, signed: bool
) -> None:
    async with opened(database) as opened_:
        order = PostgresOrder(opened_, Backlog())
        one, two = GatewayStream(), GatewayStream("other")
        group = [ordering(one, 3), ordering(two, 2), ordering(one, 1)]
        if not signed:
            group = [entry._replace(digest=None) for entry in group]
        losing(opened_, monkeypatch, persisted=persisted)
        assert await order.order(group) == 0
        assert await ordered_in(opened_) == 4 + 3 + 2
        assert await order.order([ordering(one, 1)]) == 9
        assert await order.stream(MAIN) == (5, one.previous)


async def test_equal_records_of_two_requests_are_two_records(database: str) -> None:
    async with opened(database) as opened_:
        order = PostgresOrder(opened_, Backlog())
        batch = ordering(GatewayStream())._replace(digest=None)
        assert await order.order([batch]) == 0
        with pytest.raises(StreamsMovedError) as moved:
            await order.order([batch])
        assert list(moved.value.states) == [batch.key]


async def test_moved_streams_are_named_and_nothing_of_the_group_is_kept(database: str) -> None:
    async with opened(database) as opened_:
        order = PostgresOrder(opened_, Backlog())
        mine, theirs = GatewayStream(), GatewayStream("theirs")
        stale = theirs.copy()
        await order.order([ordering(theirs, 2)])
        with pytest.raises(StreamsMovedError) as moved:
            await order.order([ordering(mine), ordering(stale, 3)])
        key = StreamKey(GATEWAY, "theirs")
        assert moved.value.states == {key: (2, theirs.previous)}
        assert await order.stream(MAIN) == NEW_STREAM
        assert await ordered_in(opened_) == 3


async def test_what_cannot_be_reached_is_unavailable(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database, patience=0.05) as opened_:

        async def cut(_: object) -> None:
            raise ConnectionRefusedError("cut")

        monkeypatch.setattr(opened_, "_once", cut)
        with pytest.raises(UnavailableError, match="ordering batches: cut"):
            await PostgresOrder(opened_, Backlog()).order([ordering(GatewayStream())])


@pytest.mark.parametrize("backlog", [Backlog(leaves=5), Backlog(bytes=100)])
async def test_a_tree_too_far_behind_refuses_and_keeps_nothing(
    database: str, backlog: Backlog
) -> None:
    async with opened(database) as opened_:
        order = PostgresOrder(opened_, backlog)
        stream = GatewayStream()
        await order.order([ordering(stream, 5)])
        before = stream.copy()
        with pytest.raises(OverloadedError):
            await order.order([ordering(stream)])
        assert await order.stream(MAIN) == (5, before.previous)
        lease = await Lease.acquire(opened_, "me", 30)
        store = TreeStore(opened_, lease.epoch)
        runs = await store.runs(0)
        change = integrate(EMPTY_EDGE, runs)
        await store.move(change, sum(len(run.body) for run in runs), None)
        assert await order.order([ordering(before)]) == 6


async def test_only_the_newest_epoch_moves_the_tree(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as opened_:
        order = PostgresOrder(opened_, Backlog())
        await order.order([ordering(GatewayStream(), 2)])
        first = await Lease.acquire(opened_, "first", 30)
        assert first is not None
        assert await Lease.acquire(opened_, "second", 30) is None
        again = await Lease.acquire(opened_, "first", 30)  # an answer that was lost
        assert again.epoch == first.epoch
        await opened_.transact(lambda db: db.execute("UPDATE lease SET until = now()"), "expiring")
        second = await Lease.acquire(opened_, "second", 30)
        assert second.epoch == first.epoch + 1
        old, new = TreeStore(opened_, first.epoch), TreeStore(opened_, second.epoch)
        change = integrate(EMPTY_EDGE, await old.runs(0))
        for late in (
            old.move(change, 1, b"note"),
            old.put_signed(Head(0, b""), b"note"),
            old.put_published(0, b"note"),
            first.keep(bytes, lambda: 0),
        ):
            with pytest.raises(LeaseLostError):
                await late
        losing(opened_, monkeypatch, persisted=True)
        await new.move(change, 1, b"note")
        loaded = await new.load()
        assert (loaded.head, loaded.signed, loaded.published) == (change.edge.head, b"note", None)
        with pytest.raises(StorageError, match="is not the one of size 0"):
            await new.move(integrate(EMPTY_EDGE, [loaded.tail[0], loaded.tail[0]]), 1, None)
        await second.release()
        assert await Lease.acquire(opened_, "third", 30) is not None


async def test_frontends_that_share_everything_lose_and_double_nothing(
    database: str, bucket: engines.Bucket
) -> None:
    streams = [GatewayStream(f"s{number}") for number in range(4)]
    batches = {
        stream.label: [stream.take(count) for count in (1, 40, 3, 250)] for stream in streams
    }
    texts = [record(f"{number}") for number in range(60)]
    async with clustered(database, bucket, LIMITS, frontends=3) as made:
        jobs: list[Awaitable[Any]] = [
            sequencer.submit(batch)
            for sequencer in made.sequencers  # each batch to each frontend
            for stream in batches.values()
            for batch in stream
        ]
        jobs += [
            made.sequencers[number % 3].submit_records("curl.example/dev", nameless(text))
            for number, text in enumerate(texts)
        ]
        results = await asyncio.gather(*jobs)
        leaves = await all_entries(made.tiles, await ordered_in(made.database))
    each = len(results[: -len(texts)]) // 3
    assert results[:each] == results[each : 2 * each] == results[2 * each : 3 * each]
    for batch, receipt in zip(
        [batch for stream in batches.values() for batch in stream], results, strict=False
    ):
        assert leaves[receipt.first : receipt.size] == entries_of(batch)
    for text, receipt in zip(texts, results[-len(texts) :], strict=True):
        assert leaves[receipt.first] == text
    records = [leaf for leaf in leaves if leaf.startswith(b"{")]
    assert len(records) == len(set(records)) == 60 + 4 * 294


def test_rows_are_small_and_hold_what_they_were_cut_from() -> None:
    stream = GatewayStream()
    sizes = [1, 3000, 2, 40_000, 7, 7]
    batches = [stream.take(1), stream.take(2)]
    batches += [stream.take(100, text="x" * size) for size in sizes]
    assert max(len(batch.body) for batch in batches) > ROW_BYTES
    assert max(len(batch.body) for batch in batches) < MAX_BATCH_BYTES
    rows = rows_of(batches)
    assert b"".join(row.data for row in rows) == b"".join(batch.body for batch in batches)
    assert max(len(row.data) for row in rows) <= ROW_BYTES
    assert len(rows) < len(batches) + 10
    place = 0
    hashes: list[bytes] = []
    for row in rows:
        assert row.place == place
        run = run_of(place, row.leaves, row.data)
        assert [run.body[at : at + 2] for at in run.offsets] == [
            len(entry).to_bytes(2, "big") for entry in unframe(row.data)
        ]
        hashes += run.leaf_hashes
        place += row.leaves
    assert hashes == [leaf for batch in batches for leaf in batch.leaf_hashes]
    with pytest.raises(StorageError, match="not of 2 entries"):
        run_of(0, 2, rows[0].data)
