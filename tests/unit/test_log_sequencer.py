"""The embedded sequencer against a simple model, and every storage step failing in both ways."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

import log_tools
from log_tools import (
    GATEWAY,
    LIMITS,
    Embedded,
    GatewayStream,
    all_entries,
    entries_of,
    hasty,
    nameless,
    record,
)
from muniment.local.sqlitefile import Writer
from muniment.records.manifest import Batch
from muniment.tlog.heads import Head
from muniment_log.core.ports import Receipt, StreamKey
from muniment_log.errors import StorageError, StreamConflictError, StreamGapError, UnavailableError
from muniment_log.storage import sqlite as store_module
from muniment_log.storage.sqlite import SQLiteStore

T = TypeVar("T")
COUNTS = st.integers(1, 5) | st.sampled_from([120, 254, 256, 300])


class SequencerMachine(RuleBasedStateMachine):
    """Any mix of new batches, retries, conflicts, gaps, disorder, tokens and crashes.

    The model is a list of leaves and, for each stream, the batches with their receipts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="muniment-test-"))
        self.generation = 0
        self.leaves: list[bytes] = []
        self.streams = {label: GatewayStream(label) for label in "ab"}
        self.accepted: list[tuple[Batch, Receipt]] = []
        self.open: Any = None
        self.log: Embedded | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.generation}.db"

    @initialize()
    def start(self) -> None:
        self.limits = replace(LIMITS, streams=1, commit_leaves=300)
        self.open = log_tools.embedded(self.path, self.limits)
        self.log = self.run(self.open.__aenter__())

    def note(self, batch: Batch, receipt: Receipt) -> None:
        assert receipt.first == len(self.leaves)
        assert receipt.count == len(batch.records)
        assert receipt.manifest + 1 == receipt.size == len(self.leaves) + len(batch.offsets)
        self.leaves += entries_of(batch)
        self.accepted.append((batch, receipt))

    @rule(label=st.sampled_from("ab"), count=COUNTS)
    def submit(self, label: str, count: int) -> None:
        batch = self.streams[label].take(count)
        self.note(batch, self.run(self.log.sequencer.submit(batch)))

    @rule(
        label=st.sampled_from("ab"), counts=st.lists(COUNTS, min_size=2, max_size=4), data=st.data()
    )
    def submit_together_in_any_order(
        self, label: str, counts: list[int], data: st.DataObject
    ) -> None:
        batches = [self.streams[label].take(count) for count in counts]
        order = data.draw(st.permutations(range(len(batches))))
        sequencer = self.log.sequencer

        async def together() -> list[Receipt]:
            return await asyncio.gather(*(sequencer.submit(batches[i]) for i in order))

        receipts = dict(zip(order, self.run(together()), strict=True))
        for number, batch in enumerate(batches):
            self.note(batch, receipts[number])

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        batch, receipt = data.draw(st.sampled_from(self.accepted))
        assert self.run(self.log.sequencer.submit(batch)) == receipt

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def contradict(self, data: st.DataObject) -> None:
        assert self.log is not None
        batch, _ = data.draw(st.sampled_from(self.accepted))
        manifest = batch.manifest
        fork = GatewayStream(manifest.stream, GATEWAY, manifest.first, manifest.previous)
        forked = fork.take(manifest.count, text="other")
        with pytest.raises(StreamConflictError):
            self.run(self.log.sequencer.submit(forked))
        key = StreamKey(GATEWAY, manifest.stream)
        kept = self.run(self.log.store.refused(key))
        assert (manifest.first, forked.manifest_note) in kept

    @rule(label=st.sampled_from("ab"), count=st.integers(1, 3))
    def leave_a_gap(self, label: str, count: int) -> None:
        assert self.log is not None
        ahead = self.streams[label].copy()
        ahead.take(count)
        with hasty(self.limits), pytest.raises(StreamGapError) as caught:
            self.run(self.log.sequencer.submit(ahead.take(1)))
        assert caught.value.expected == self.streams[label].next

    @rule(requests=st.lists(st.integers(1, 4), min_size=1, max_size=5))
    def submit_with_a_token(self, requests: list[int]) -> None:
        sequencer = self.log.sequencer
        bodies = [
            [record(f"t{len(self.leaves)}/{i}/{j}") for j in range(count)]
            for i, count in enumerate(requests)
        ]

        async def together() -> list[Receipt]:
            return await asyncio.gather(
                *(sequencer.submit_records("curl.example/dev", nameless(*body)) for body in bodies)
            )

        receipts = self.run(together())
        size = max(receipt.size for receipt in receipts)
        tail = self.run(all_entries(self.log.tiles, size))[len(self.leaves) :]
        before = len(self.leaves)
        for body, receipt in zip(bodies, receipts, strict=True):
            assert tail[receipt.first - before :][: receipt.count] == body
            assert tail[receipt.manifest - before].startswith(b"muniment/manifest/v1\n")
        manifests = {receipt.manifest for receipt in receipts}
        assert len(tail) == sum(requests) + len(manifests)
        self.leaves += tail

    @rule()
    def crash_and_start_again(self) -> None:
        """What kill -9 leaves is what the files hold at that moment, log and all."""
        old = self.path
        self.generation += 1
        for suffix in ("", "-wal"):
            source = old.with_name(old.name + suffix)
            if source.exists():
                shutil.copy(source, self.path.with_name(self.path.name + suffix))
        self.run(self.open.__aexit__(None, None, None))
        self.start()

    @invariant()
    def the_tree_is_the_model(self) -> None:
        if self.log is None:
            return
        size = len(self.leaves)
        assert self.log.head == Head(size, log_tools.root(self.leaves))
        assert self.run(all_entries(self.log.tiles, size)) == self.leaves
        for label, stream in self.streams.items():
            state = self.run(self.log.sequencer.stream(StreamKey(GATEWAY, label)))
            assert state == (stream.next, stream.previous)

    def teardown(self) -> None:
        if self.open is not None:
            self.run(self.open.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.folder)


TestSequencer = SequencerMachine.TestCase
TestSequencer.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


# Storage steps: each one failing, and failing although it was persisted.


class Fails:
    """Breaks the writer's commit once, before or after the fact."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, persisted: bool) -> None:
        self.armed = False
        original = Writer.commit

        def commit(writer: Writer, connection: sqlite3.Connection) -> None:
            if self.armed:
                self.armed = False
                if persisted:
                    original(writer, connection)
                raise sqlite3.OperationalError("disk I/O error")
            original(writer, connection)

        monkeypatch.setattr(Writer, "commit", commit)


@pytest.mark.parametrize("persisted", [False, True])
async def test_a_failed_commit_stops_the_log_and_the_retry_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    fails = Fails(monkeypatch, persisted=persisted)
    stream = GatewayStream()
    before, lost, later = stream.take(3), stream.take(300), stream.take(1)
    async with log_tools.embedded(tmp_path / "log.db") as log:
        receipt = await log.sequencer.submit(before)
        signed: list[Head] = []
        log.listener.sign = lambda head: signed.append(head) or b"note"  # type: ignore[func-returns-value]
        fails.armed = True
        results = await asyncio.gather(
            log.sequencer.submit(lost),
            log.sequencer.submit(later),
            log.sequencer.submit_records("p.example", nameless(record("x"))),
            return_exceptions=True,
        )
        assert all(isinstance(result, UnavailableError) for result in results), results
        with pytest.raises(StorageError):
            await log.task
        # Nothing more is taken, and nobody was told of a head.
        for work in (
            log.sequencer.submit(lost),
            log.sequencer.submit_records("p.example", nameless(record("x"))),
        ):
            with pytest.raises(UnavailableError):
                await work
        assert len(log.listener.heads) == 1
        assert log.head.size == 4
    async with log_tools.embedded(tmp_path / "log.db") as log:
        # The records may or may not have been part of that commit.
        assert log.head.size in ({4 + 303, 4 + 303 + 2} if persisted else {4})
        assert await log.sequencer.submit(before) == receipt
        again = await log.sequencer.submit(lost)
        assert again.first == 4
        after = await log.sequencer.submit(later)
        assert after.first == 4 + 301
        leaves = await all_entries(log.tiles, log.head.size)
        assert leaves[4:307] == [*entries_of(lost), *entries_of(later)]
        assert log.head.root == log_tools.root(leaves)


async def test_a_statement_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = GatewayStream()
    original = store_module.write

    def broken(*what: Any) -> bytes | None:
        original(*what)
        raise sqlite3.OperationalError("database or disk is full")

    async with log_tools.embedded(tmp_path / "log.db") as log:
        monkeypatch.setattr(store_module, "write", broken)
        with pytest.raises(UnavailableError):
            await log.sequencer.submit(stream.peek(5))
        with pytest.raises(StorageError, match="full"):
            await log.task
        monkeypatch.setattr(store_module, "write", original)
    async with log_tools.embedded(tmp_path / "log.db") as log:
        assert log.head.size == 0
        assert (await log.sequencer.submit(stream.take(5))).first == 0


@pytest.mark.parametrize("column", ["size = size + 1", "root = x'00'"])
async def test_a_tree_that_somebody_else_moved_is_never_extended(
    tmp_path: Path, column: str
) -> None:
    stream = GatewayStream()
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(stream.take(3))
        log_tools.by_hand(log.store.path, f"UPDATE tree SET {column}")
        with pytest.raises(UnavailableError):
            await log.sequencer.submit(stream.take(1))
        with pytest.raises(StorageError, match="something else wrote"):
            await log.task
    with pytest.raises(StorageError):
        async with log_tools.embedded(tmp_path / "log.db"):
            pass


@pytest.mark.parametrize("persisted", [False, True])
async def test_evidence_that_cannot_be_kept_stops_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    fails = Fails(monkeypatch, persisted=persisted)
    stream = GatewayStream()
    fork = stream.copy()
    forked = fork.take(1, text="other")
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(stream.take(1))
        fails.armed = True
        with pytest.raises(UnavailableError):
            await log.sequencer.submit(forked)
        with pytest.raises(StorageError):
            await log.task
    async with log_tools.embedded(tmp_path / "log.db") as log:
        key = StreamKey(GATEWAY, "main")
        assert await log.store.refused(key) == ([(0, forked.manifest_note)] if persisted else [])
        with pytest.raises(StreamConflictError):
            await log.sequencer.submit(forked)
        assert await log.store.refused(key) == [(0, forked.manifest_note)]


@pytest.mark.parametrize("step", ["put_signed", "put_published"])
@pytest.mark.parametrize("persisted", [False, True])
async def test_a_head_that_cannot_be_stored_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, persisted: bool
) -> None:
    fails = Fails(monkeypatch, persisted=persisted)
    store = await log_tools.open_store(tmp_path / "log.db")
    fails.armed = True
    work = (
        store.put_signed(lambda: b"note") if step == "put_signed" else store.put_published(b"note")
    )
    with pytest.raises(StorageError):
        await work
    await store.close()
    store = await SQLiteStore.open(tmp_path / "log.db")
    loaded = await store.load()
    note = loaded.signed if step == "put_signed" else loaded.published
    assert note == (b"note" if persisted else None)
    await store.close()
