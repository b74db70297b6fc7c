"""The witness's store: guarded moves, durable before anything is told, and a model to compare."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from judging import HeadState, decide
from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, Writer
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.heads import Head
from muniment.tlog.note import SignatureLine, VKey, verify_note
from muniment_witness.judge.decide import NEVER, Acceptance, KnownLog, Refusal
from muniment_witness.store.check import check
from muniment_witness.store.database import MIGRATIONS, rebind
from muniment_witness.store.heads import CosignedHead, HeadStore
from witness_tools import ORIGIN, GrowingLog, opened_store, witness_signer

SIGNER = witness_signer()
LOG = GrowingLog()
KNOWN = KnownLog(LOG.origin, LOG.verifiers)
NOW = 1_700_000_000


def sign(accepted: Acceptance) -> tuple[SignatureLine, ...]:
    return (SIGNER.sign(accepted.request.note.text, accepted.now),)


def accept(head: Head, new: int, now: int = NOW, log: GrowingLog = LOG) -> Acceptance:
    outcome = decide(
        HeadState(KnownLog(log.origin, log.verifiers), head), log.request(head.size, new), now
    )
    assert isinstance(outcome, Acceptance)
    return outcome


async def open_store(folder: Path, *keys: VKey) -> HeadStore:
    return await opened_store(folder / "w.db", keys or [SIGNER.vkey])


def head_of(size: int) -> Head:
    return Head(size, LOG.root(size)) if size else NEVER


async def test_a_commit_survives_reopening(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    assert store.head(ORIGIN) == NEVER
    [done] = await store.commit([accept(NEVER, 5)], sign)
    await store.close()
    again = await open_store(tmp_path)
    assert again.latest[ORIGIN] == done.latest
    assert again.signed == NOW
    await again.close()
    signed = parse_signed_checkpoint(done.latest.note)
    assert {v.vkey for v in verify_note(signed.note, [verifier_for(SIGNER.vkey)]).signatures} == {
        SIGNER.vkey
    }
    assert done.lines[0] in signed.note.signatures
    assert LOG.checkpoint(5).note.signatures[0] in signed.note.signatures


async def test_a_group_of_one_origin_is_one_chain(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    chain = [accept(NEVER, 0), accept(NEVER, 3), accept(head_of(3), 3), accept(head_of(3), 8)]
    results = await store.commit(chain, sign)
    assert [result.latest.head.size for result in results] == [0, 3, 3, 8]
    assert store.head(ORIGIN) == head_of(8)
    await store.close()


@pytest.mark.parametrize("old", [0, 2, 7])
async def test_a_guard_that_fails_writes_nothing_and_is_fatal(tmp_path: Path, old: int) -> None:
    store = await open_store(tmp_path)
    await store.commit([accept(NEVER, 5)], sign)
    with pytest.raises(FatalDatabaseError):
        await store.commit([accept(head_of(5), 6), accept(head_of(old), 9)], sign)
    assert store.head(ORIGIN) == head_of(5)
    await store.close()
    again = await open_store(tmp_path)
    assert again.head(ORIGIN) == head_of(5)
    await again.close()


async def test_a_guard_also_compares_the_root(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.commit([accept(NEVER, 5)], sign)
    fork = LOG.fork(1)
    with pytest.raises(FatalDatabaseError):
        await store.commit([accept(Head(5, fork.root(5)), 6, log=fork)], sign)
    await store.close()


async def test_replays_do_not_grow_the_history(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.commit([accept(NEVER, 5)], sign)
    for later in range(20):
        await store.commit([accept(head_of(5), 5, NOW + later)], sign)
    assert store.latest[ORIGIN].time == NOW + 19
    await store.commit([accept(head_of(5), 8, NOW + 20)], sign)
    await store.close()
    with sqlite3.connect(tmp_path / "w.db") as connection:
        rows = connection.execute(
            "SELECT size, old_size, proof, time FROM history ORDER BY size"
        ).fetchall()
    connection.close()
    assert rows == [(5, 0, b"", NOW), (8, 5, b"".join(LOG.proof(5, 8)), NOW + 20)]


def accept_with(head: Head, size: int, extension: str) -> Acceptance:
    """Another text of a tree: logs choose the extension lines."""
    request = LOG.request(head.size, size, checkpoint=LOG.checkpoint(size, extensions=[extension]))
    outcome = decide(HeadState(KNOWN, head), request, NOW)
    assert isinstance(outcome, Acceptance)
    return outcome


async def test_texts_of_one_tree_do_not_push_its_head_out_of_the_history(tmp_path: Path) -> None:
    """A log may sign one tree with as many extension lines as it likes; it costs only itself."""
    store = await open_store(tmp_path)
    path = tmp_path / "w.db"
    await store.close()
    store = await HeadStore.open(path, [SIGNER.vkey], history=16)
    await store.commit([accept(NEVER, 5), accept(head_of(5), 8)], sign)
    for number in range(200):
        await store.commit([accept_with(head_of(8), 8, f"text {number}")], sign)
    notes = await store.notes_at(ORIGIN, 8)
    await store.close()
    assert notes
    with closing(sqlite3.connect(path)) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM history")
    assert 16 <= rows <= 16 + 65
    again = await open_store(tmp_path)
    assert again.head(ORIGIN) == head_of(8)
    await again.commit([accept(head_of(8), 9)], sign)
    await again.close()
    assert not check(path, MIGRATIONS, [SIGNER.vkey], {ORIGIN: KNOWN}, full=True).damage


async def test_a_tree_that_was_cosigned_again_with_other_texts_is_no_damage(tmp_path: Path) -> None:
    """Whatever order their digests have: the step that led to a tree comes before its repeats."""
    store = await open_store(tmp_path)
    texts = [accept_with(head_of(5), 5, f"text {number}") for number in range(8)]
    await store.commit([accept(NEVER, 5), *texts, accept(head_of(5), 8)], sign)
    await store.close()
    report = check(tmp_path / "w.db", MIGRATIONS, [SIGNER.vkey], {ORIGIN: KNOWN}, full=True)
    assert (report.damage, report.steps) == ([], 10)


@pytest.mark.parametrize("persisted", [False, True])
async def test_a_commit_that_fails_is_fatal_whatever_the_disk_holds(
    tmp_path: Path, persisted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed, and failed but persisted: nothing is released, and a restart tells the truth."""
    store = await open_store(tmp_path)
    await store.commit([accept(NEVER, 5)], sign)

    def fail(_: Writer, connection: sqlite3.Connection) -> None:
        if persisted:
            connection.execute("COMMIT")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Writer, "commit", fail)
    with pytest.raises(FatalDatabaseError):
        await store.commit([accept(head_of(5), 8)], sign)
    assert store.head(ORIGIN) == head_of(5)
    monkeypatch.undo()
    with pytest.raises(FatalDatabaseError):
        await store.commit([accept(head_of(5), 6)], sign)
    await store.close()
    again = await open_store(tmp_path)
    assert again.head(ORIGIN) == head_of(8 if persisted else 5)
    await again.close()


async def test_another_witness_cannot_open_it(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.close()
    other = witness_signer(name="witness.example/w2").vkey
    with pytest.raises(DatabaseError, match=r"w\.db: belongs to .*witness\.example/w1"):
        await open_store(tmp_path, other)


async def test_keys_come_deliberately_and_go(tmp_path: Path) -> None:
    second = witness_signer("mldsa44").vkey
    store = await open_store(tmp_path, SIGNER.vkey)
    with pytest.raises(DatabaseError, match="in use"):
        await rebind(tmp_path / "w.db", [SIGNER.vkey, second], lambda: None)
    await store.close()
    with pytest.raises(DatabaseError, match=f"the key {second.key_id:08x} is not recorded"):
        await open_store(tmp_path, SIGNER.vkey, second)

    def fail() -> None:
        raise ValueError("the configuration could not be written")

    with pytest.raises(ValueError, match="could not"):
        await rebind(tmp_path / "w.db", [SIGNER.vkey, second], fail)
    with pytest.raises(DatabaseError, match="not recorded"):
        await open_store(tmp_path, SIGNER.vkey, second)
    await rebind(tmp_path / "w.db", [SIGNER.vkey, second], lambda: None)
    for keys in ((SIGNER.vkey, second), (second,), (SIGNER.vkey,)):
        store = await open_store(tmp_path, *keys)
        await store.close()


async def test_one_owner_at_a_time(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    with pytest.raises(DatabaseError, match="in use by another process"):
        await open_store(tmp_path)
    await store.close()


class WitnessModel(RuleBasedStateMachine):
    """Store and judgement against a dictionary, through groups, forks, replays and restarts."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        self.logs = {origin: GrowingLog(origin, fork_at=None) for origin in ("a", "b")}
        self.store = self.loop.run_until_complete(open_store(Path(self.folder.name)))
        self.model: dict[str, tuple[int, bytes, int]] = {}
        self.clock = NOW
        self.released: list[tuple[str, int, bytes]] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.loop.run_until_complete(self.store.close())
            self.loop.close()
            self.folder.cleanup()

    @rule(seconds=st.integers(-2, 3))
    def time_passes(self, seconds: int) -> None:
        self.clock += seconds

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.store = self.loop.run_until_complete(open_store(Path(self.folder.name)))

    @rule(
        asked=st.lists(
            st.tuples(
                st.sampled_from(["a", "b"]),
                st.none() | st.integers(0, 9),
                st.integers(0, 9),
                st.none() | st.integers(0, 6),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def ask(self, asked: list[tuple[str, int | None, int, int | None]]) -> None:
        """A group of requests; old None means the size that the witness would tell."""
        accepted: list[Acceptance] = []
        heads: dict[str, Head] = {}
        for origin, old, new, fork in asked:
            log = self.logs[origin] if fork is None else self.logs[origin].fork(fork)
            size, root, _ = self.model.get(origin, (0, LOG.root(0), 0))
            claimed = size if old is None else old
            newest = max((time for _, _, time in self.model.values()), default=0)
            head = heads.get(origin, self.store.head(origin))
            state = HeadState(KnownLog(origin, log.verifiers), head, self.store.signed)
            outcome = decide(state, log.request(claimed, new), self.clock)
            good = claimed == size <= new and log.root(size) == root and self.clock >= newest
            assert isinstance(outcome, Acceptance) == good
            if isinstance(outcome, Refusal):
                if outcome.size is not None:
                    assert outcome.size == size
                continue
            accepted.append(outcome)
            heads[origin] = outcome.head
            self.model[origin] = (new, log.root(new), self.clock)
        if accepted:
            results = self.loop.run_until_complete(self.store.commit(accepted, sign))
            for item, result in zip(accepted, results, strict=True):
                self.check_reply(item, result)

    def check_reply(self, accepted: Acceptance, result: CosignedHead) -> None:
        text = accepted.request.note.text
        assert verifier_for(SIGNER.vkey).verify(text, result.lines[0].signature) == self.clock
        origin, head = accepted.request.checkpoint.origin, accepted.head
        self.released.append((origin, head.size, head.root))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        stored: dict[str, Any] = {
            origin: (*entry.head, entry.time) for origin, entry in self.store.latest.items()
        }
        assert stored == self.model

    @invariant()
    def never_two_histories(self) -> None:
        roots: dict[tuple[str, int], bytes] = {}
        sizes: dict[str, int] = {}
        for origin, size, root in getattr(self, "released", []):
            assert roots.setdefault((origin, size), root) == root
            assert sizes.get(origin, 0) <= size
            sizes[origin] = size


TestWitnessModel = WitnessModel.TestCase
TestWitnessModel.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
