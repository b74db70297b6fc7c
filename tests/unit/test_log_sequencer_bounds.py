"""The sequencer's bounds: groups, turns, parked batches, streams, evidence, clients that leave."""

import asyncio
from itertools import accumulate
from pathlib import Path

import pytest
from msgspec.structs import replace

import log_tools
from log_tools import GATEWAY, LIMITS, Embedded, GatewayStream, all_entries, nameless, record
from muniment_log.core.ports import StreamKey
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.errors import StreamConflictError, StreamGapError
from muniment_log.storage import sqlite as store_module
from muniment_log.storage.sqlite import MAX_REFUSED
from waiting import until


async def until_parked(log: Embedded, count: int) -> None:
    streams = log.sequencer.remembered
    await until(lambda: sum(len(one.parked) for one in streams) >= count)


# Bounds


async def test_groups_are_bounded_and_nothing_waits_for_ever(tmp_path: Path) -> None:
    limits = SequencerLimits(commit_leaves=10, commit_bytes=1000)
    streams = [GatewayStream(f"s{i}") for i in range(30)]
    async with log_tools.embedded(tmp_path / "log.db", limits) as log:
        await asyncio.gather(
            *(log.sequencer.submit(stream.take(3)) for stream in streams),
            *(
                log.sequencer.submit_records(f"p{i}.example", nameless(*[b"x" * 400] * 2))
                for i in range(9)
            ),
            log.sequencer.submit(GatewayStream("big").take(200)),
        )
        assert log.head.size == 30 * 4 + 9 * 3 + 201
        sizes = [head.size for head, _ in log.listener.heads]
        steps = [b - a for a, b in zip([0, *sizes], sizes, strict=False)]
        assert max(step for step in steps if step != 201) <= 201
        assert len(sizes) > 10


async def test_batches_and_records_that_fill_commits_take_turns(tmp_path: Path) -> None:
    limits = SequencerLimits(commit_leaves=10)
    streams = [GatewayStream(f"s{i}") for i in range(12)]
    async with log_tools.embedded(tmp_path / "log.db", limits) as log:
        for one in streams:  # whose places are known then
            await log.sequencer.submit(one.take())
        await log.sequencer.submit_records("p.example", nameless(record("known")))
        batches = [asyncio.create_task(log.sequencer.submit(one.take(8))) for one in streams]
        requests = [
            asyncio.create_task(
                log.sequencer.submit_records("p.example", nameless(*[record(f"{i}")] * 8))
            )
            for i in range(12)
        ]
        places = {(await task).first: 1 for task in batches}
        places |= {(await task).first: -1 for task in requests}
    ahead = [*accumulate(places[first] for first in sorted(places))]
    assert max(map(abs, ahead)) <= 2, ahead


async def test_parked_batches_are_bounded(tmp_path: Path) -> None:
    limits = replace(LIMITS, parked_batches=2)
    stream = GatewayStream()
    batches = [stream.take(1) for _ in range(4)]
    async with log_tools.embedded(tmp_path / "log.db", limits) as log:
        waiting = [asyncio.create_task(log.sequencer.submit(b)) for b in batches[1:3]]
        await until_parked(log, 2)
        with pytest.raises(StreamGapError):
            await log.sequencer.submit(batches[3])
        await log.sequencer.submit(batches[0])
        assert [r.first for r in await asyncio.gather(*waiting)] == [2, 4]


async def test_a_parked_fork_is_refused_when_its_turn_comes(tmp_path: Path) -> None:
    stream = GatewayStream()
    fork = stream.copy()
    first = stream.take(1)
    fork.take(1, text="other")
    forked = fork.take(1)
    async with log_tools.embedded(tmp_path / "log.db") as log:
        waiting = asyncio.create_task(log.sequencer.submit(forked))
        await until_parked(log, 1)
        await log.sequencer.submit(first)
        with pytest.raises(StreamConflictError):
            await waiting
        assert (await log.sequencer.submit(stream.take(1))).first == 2


async def test_a_client_that_went_away_does_not_take_its_batch_along(tmp_path: Path) -> None:
    stream = GatewayStream()
    batch = stream.take(2)
    async with log_tools.embedded(tmp_path / "log.db") as log:
        task = asyncio.create_task(log.sequencer.submit(batch))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await log.sequencer.submit(batch)).first == 0
        assert log.head.size == 3


async def test_records_of_a_client_that_went_away_are_logged_and_their_room_is_given_back(
    tmp_path: Path,
) -> None:
    async with log_tools.embedded(tmp_path / "log.db") as log:
        sequencer = log.sequencer
        await sequencer.submit_records("p.example", nameless(record("w")))
        task = asyncio.create_task(sequencer.submit_records("p.example", nameless(record("x"))))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert sequencer.waiting_bytes > 0  # it is still on its way
        assert (await sequencer.submit_records("p.example", nameless(record("y")))).first in {3, 4}
        leaves = await all_entries(log.tiles, log.head.size)
        assert [leaf for leaf in leaves if leaf.startswith(b"{")] == list(map(record, "wxy"))
        assert sequencer.waiting_bytes == 0
        assert all(stream.is_idle for stream in sequencer.remembered)


async def test_memory_of_streams_is_bounded(tmp_path: Path) -> None:
    limits = SequencerLimits(streams=8)
    async with log_tools.embedded(tmp_path / "log.db", limits) as log:
        streams = [GatewayStream(f"s{i}") for i in range(40)]
        await asyncio.gather(*(log.sequencer.submit(stream.take(1)) for stream in streams))
        for stream in streams:
            await log.sequencer.submit(stream.take(1))
        assert len(log.sequencer.remembered) <= 8
        assert log.sequencer.waiting_bytes == 0
        for stream in streams:
            assert (await log.sequencer.stream(StreamKey(GATEWAY, stream.label))).next == 2


async def test_evidence_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_REFUSED >= 100
    monkeypatch.setattr(store_module, "MAX_REFUSED", 3)
    stream = GatewayStream()
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(stream.take(1))
        forks = [GatewayStream().take(1, text=f"fork {i}") for i in range(6)]
        for fork in forks:
            with pytest.raises(StreamConflictError):
                await log.sequencer.submit(fork)
        kept = await log.store.refused(StreamKey(GATEWAY, "main"))
        assert sorted(kept) == sorted((0, fork.manifest_note) for fork in forks[:3])
