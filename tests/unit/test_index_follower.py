"""Following a log: verified, resumable, and what becomes of a log that lies."""

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

import index_tools as tools
import logsim
from muniment.audit.trust import ProvenMisbehaviour, StaleCheckpoint
from muniment.errors import BadAnswer, FormatError, Unreachable, VerificationError
from muniment.http.logclient import LogClient
from muniment.index import follower as follower_module
from muniment.index.follower import Follower
from muniment.index.httpsource import HttpSource
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import FactsError
from muniment.tlog.encoding import frame

ENTRIES = tools.make_entries(Random(7), 1500)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "CHUNK_BUNDLES", 2)
    monkeypatch.setattr(follower_module, "WINDOW", 2)


async def test_a_replica_holds_what_the_checkpoint_covers(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES, 700)
    told: list[tuple[int, int]] = []
    async with tools.opened(tmp_path / "replica") as store:
        follower = Follower(store, source)
        done = await follower.step(lambda now, total: told.append((now, total)))
        assert (done.checkpoint.size, done.leaves) == (700, 700)
        assert told == [(512, 700), (700, 700)]
        source.size = 1500
        assert (await follower.step()).leaves == 800
        assert (await follower.step()).leaves == 0
    with tools.reading(tmp_path / "replica") as reader:
        assert reader.head() == (tools.ORIGIN, 1500, tools.NOW)
        assert list(reader.leaves(range(1500)).values()) == ENTRIES


async def test_an_empty_log_is_followed(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES, 0)
    path = tmp_path / "replica"
    assert (await tools.follow(path, source)).leaves == 0
    with tools.reading(path) as reader:
        assert ReplicaFacts(reader).edges_from([]) == []
        assert reader.head() == (tools.ORIGIN, 0, tools.NOW)
    source.size = 3
    assert (await tools.follow(path, source)).leaves == 3


async def test_newer_cosignatures_of_the_same_tree_refresh_the_time(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES, 10)
    await tools.follow(tmp_path / "replica", source)
    source.now += 60
    read = len(source.reads)
    await tools.follow(tmp_path / "replica", source)
    assert len(source.reads) == read
    with tools.reading(tmp_path / "replica") as reader:
        head = reader.head()
        assert head.time == tools.NOW + 60


async def test_partial_bundles_are_read_once_for_each_checkpoint(tmp_path: Path) -> None:
    """tlog-tiles, "Partial Tiles": "MUST NOT fetch arbitrary partial tiles"."""
    source = tools.MemorySource(ENTRIES, 300)
    async with tools.opened(tmp_path / "replica") as store:
        follower = Follower(store, source)
        for size in (300, 300, 310, 520):
            source.size = size
            await follower.step()
    assert source.reads == [
        "tile/entries/000",
        "tile/entries/001.p/44",
        "tile/entries/001.p/54",
        "tile/entries/001",
        "tile/entries/002.p/8",
    ]


@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 1500), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), max_size=5),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
async def test_any_steps_and_crashes_give_the_same_index(
    seed: int, sizes: list[int], failures: list[int], keeps: bool
) -> None:
    """A failure between chunks, and a new process each time, change nothing of what comes out."""
    entries = tools.make_entries(Random(seed), max(sizes))
    with TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("steps", "once")]
        source = tools.MemorySource(entries)
        for number, size in enumerate(sorted(sizes)):
            source.size = size
            source.fail = lambda _path: None
            if number < len(failures):
                source.fail = tools.FailAfter(failures[number])
            async with tools.opened(paths[0], keeps_bundles=keeps) as store:
                try:
                    await Follower(store, source).step()
                except Unreachable:
                    assert (await store.state()).size < size
        source.fail = lambda _path: None
        for path in paths:
            async with tools.opened(path, keeps_bundles=keeps) as store:
                await Follower(store, source).step()
        dumps = [_dump(path) for path in paths]
    assert dumps[0] == dumps[1]


def _dump(path: Path) -> list[object]:
    with tools.database(path) as db:
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("posting", "bundle", "state")
        ]


async def test_what_was_stored_before_a_failure_is_not_read_again(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES)
    source.fail = tools.FailAfter(4)
    with pytest.raises(Unreachable):
        await tools.follow(tmp_path / "replica", source)
    async with tools.opened(tmp_path / "replica") as store:
        state = await store.state()
        assert (state.size, state.pending.size) == (0, 1024)
        source.reads.clear()
        await Follower(store, source).step()
    assert source.reads[0] == "tile/entries/004"


async def cancelled_at(
    step: Coroutine[Any, Any, object], source: tools.MemorySource, reads: int
) -> None:
    """Cancels a step in its next read after some others."""
    task = asyncio.create_task(step)
    left = itertools.count(reads, -1)
    source.fail = lambda _path: task.cancel() if next(left) == 0 else None
    await asyncio.gather(task, return_exceptions=True)
    source.fail = lambda _path: None


async def test_a_cancelled_round_leaves_a_usable_store(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES)
    async with tools.opened(tmp_path / "replica") as store:
        follower = Follower(store, source)
        for reads in range(8):
            await cancelled_at(follower.step(), source, reads)
        await follower.step()
        assert (await store.state()).size == 1500


async def test_pending_leaves_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """A cache may show an older checkpoint after a crash; then that one is what can be had."""
    source = tools.MemorySource(ENTRIES, 1500)
    source.fail = tools.FailAfter(5)
    with pytest.raises(Unreachable):
        await tools.follow(tmp_path / "replica", source)
    source.size = 300
    assert (await tools.follow(tmp_path / "replica", source)).checkpoint.size == 300


# A log that lies


async def test_a_wrong_leaf_is_never_visible(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    source = tools.MemorySource(ENTRIES, 600)
    await tools.follow(path, source)
    source.size = 1500
    wrong = [*ENTRIES[1024:1279], b'{"kind":"decision","id":"forged"}']
    source.tampers["tile/entries/004"] = frame(wrong)
    with pytest.raises(VerificationError, match="the leaves give the root"):
        await tools.follow(path, source)
    async with tools.opened(path) as store:
        state = await store.state()
        assert (state.size, state.pending.size) == (600, 600)
        assert len(await store.suspicions()) == 1
        trust = await store.trust()
        assert trust.misbehaviour is None, "whoever sent the bytes may have spoiled them"
    source.tampers.clear()
    await tools.follow(path, source)
    with tools.reading(path) as reader:
        assert list(reader.leaves(range(1500)).values()) == ENTRIES


async def test_an_older_leaf_changed_in_the_partial_bundle_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    source = tools.MemorySource(ENTRIES, 600)
    await tools.follow(path, source)
    source.size = 700
    source.tampers["tile/entries/002.p/188"] = frame([b"{}", *ENTRIES[513:700]])
    with pytest.raises(VerificationError, match="not those that the log served before"):
        await tools.follow(path, source)
    with tools.reading(path) as reader:
        assert reader.leaves([512]) == {512: ENTRIES[512]}


@pytest.mark.parametrize("bundle", [b"\x00", b"\x00\x05abc", frame(ENTRIES[:255])])
async def test_a_malformed_bundle_is_refused(tmp_path: Path, bundle: bytes) -> None:
    source = tools.MemorySource(ENTRIES, 256)
    source.tampers["tile/entries/000"] = bundle
    with pytest.raises(FormatError):
        await tools.follow(tmp_path / "replica", source)
    source.tampers.clear()
    await tools.follow(tmp_path / "replica", source)


async def test_an_older_checkpoint_is_stale_and_changes_nothing(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES, 600)
    await tools.follow(tmp_path / "replica", source)
    source.size = 599
    with pytest.raises(StaleCheckpoint):
        await tools.follow(tmp_path / "replica", source)
    with tools.reading(tmp_path / "replica") as reader:
        head = reader.head()
        assert head.size == 600


async def test_two_roots_of_one_size_are_proof_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    source = tools.MemorySource(ENTRIES, 600)
    await tools.follow(path, source)
    source.root = b"\x07" * 32
    with pytest.raises(ProvenMisbehaviour) as caught:
        await tools.follow(path, source)
    assert caught.value.misbehaviour.kind == "same-size"
    assert len(caught.value.misbehaviour.notes) == 2
    source.root, source.size = None, 700
    read = len(source.reads)
    with pytest.raises(ProvenMisbehaviour) as again:
        await tools.follow(path, source)
    assert again.value.misbehaviour == caught.value.misbehaviour
    assert len(source.reads) == read
    with tools.reading(path) as reader, pytest.raises(FactsError, match="misbehaviour"):
        ReplicaFacts(reader)


async def test_a_fork_is_proven_by_the_logs_own_tiles(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(ENTRIES, 600))
    forked = tools.MemorySource([*ENTRIES[:100], b"{}", *ENTRIES[101:]], 1200)
    with pytest.raises(ProvenMisbehaviour) as caught:
        await tools.follow(path, forked)
    assert caught.value.misbehaviour.kind == "fork"
    async with tools.opened(path) as store:
        state = await store.state()
        assert (state.size, state.pending.size) == (600, 600)
        trust = await store.trust()
        assert trust.misbehaviour == caught.value.misbehaviour


async def test_a_fork_without_its_tiles_is_a_suspicion(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(ENTRIES, 600))
    forked = tools.MemorySource([*ENTRIES[:100], b"{}", *ENTRIES[101:]], 1200)

    def fail(what: str) -> None:
        if what == "consistency":
            raise BadAnswer("no tiles today")

    forked.fail = fail
    with pytest.raises(VerificationError):
        await tools.follow(path, forked)
    async with tools.opened(path) as store:
        (suspicion,) = await store.suspicions()
        assert suspicion[1] is not None
        assert suspicion[1] != suspicion[2]


async def test_an_empty_tree_with_a_root_is_proof(tmp_path: Path) -> None:
    source = tools.MemorySource(ENTRIES, 0)
    source.root = b"\x01" * 32
    with pytest.raises((ProvenMisbehaviour, FormatError)):
        await tools.follow(tmp_path / "replica", source)


async def test_the_file_stays_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "replica"
    source = tools.MemorySource(ENTRIES, 600)
    source.fail = tools.FailAfter(2)
    with pytest.raises(Unreachable):
        await tools.follow(path, source)  # leaves of this log are pending
    other = tools.MemorySource(ENTRIES, 700)
    head = await other.head()

    async def of_another_log() -> object:
        from dataclasses import replace

        signed = head.signed
        renamed = replace(signed.checkpoint, origin="log.example/other")
        return replace(
            head,
            signed=structs.replace(
                signed, checkpoint=renamed, note=structs.replace(signed.note, text=renamed.text)
            ),
        )

    monkeypatch.setattr(other, "head", of_another_log)
    with pytest.raises(VerificationError, match=r"log\.example/other"):
        await tools.follow(path, other)


# Over HTTP


async def test_a_log_over_http_is_followed(tmp_path: Path) -> None:
    sim = logsim.LogSim()
    sim.append([logsim.decision(n) for n in range(700)])
    sim.drops_partial_tiles = True
    path = tmp_path / "replica"
    async with sim.serve() as url, LogClient(url) as client, tools.opened(path) as store:
        source = HttpSource(client, logsim.POLICY)
        follower = Follower(store, source)
        sim.published_size = 600
        assert (await follower.step()).checkpoint.size == 600
        sim.published_size = 701
        assert (await follower.step()).leaves == 101
        sim.overrides["tile/entries/002.p/189"] = b"\x00"
        sim.frozen = sim.checkpoint(650)
        with pytest.raises(StaleCheckpoint):
            await follower.step()
        sim.frozen = sim.checkpoint(root=b"\x02" * 32)
        with pytest.raises(ProvenMisbehaviour):
            await follower.step()
    with tools.reading(path) as reader:
        assert list(reader.leaves(range(701)).values()) == sim.entries


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        ("checkpoint", 404, VerificationError),
        ("checkpoint", b"nonsense", FormatError),
        ("tile/entries/000.p/11", 404, Unreachable),
        ("tile/entries/000.p/11", b"\x00\x05ab", FormatError),
    ],
)
async def test_what_http_cannot_give(
    tmp_path: Path, path: str, answer: int | bytes, error: type[Exception]
) -> None:
    sim = logsim.LogSim()
    sim.append([logsim.decision(n) for n in range(10)])
    sim.overrides[path] = answer
    sim.overrides["tile/entries/000"] = 404
    path_ = tmp_path / "replica"
    async with (
        sim.serve() as url,
        LogClient(url, pauses=()) as client,
        tools.opened(path_) as store,
    ):
        with pytest.raises(error):
            await Follower(store, HttpSource(client, logsim.POLICY)).step()
