"""Erasing addenda: the record first, then the bytes, whatever happens in between."""

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.local.sqlitefile import DatabaseError
from muniment.records.api import Erasure, encode_record, parse_record
from muniment_log.core.addenda import Addendum, Erased, Sent
from muniment_log.core.erasable import Mark, Selection, Totals
from muniment_log.core.erasing import CHECK_SECONDS, Eraser, NotErasableError
from muniment_log.core.naming import subject_key
from muniment_log.core.ports import Receipt
from muniment_log.core.repeats import RequestRecords
from muniment_log.core.retention import Retention, Rule, parse_duration, say_duration
from muniment_log.errors import OverloadedError, StorageError
from muniment_log.storage import packs
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.addendacheck import check_addenda
from muniment_log.storage.addendacontents import AddendaContents
from muniment_log.storage.addendafile import APPLICATION_ID
from muniment_log.storage.addendarows import migrations
from muniment_log.storage.erasing import ErasableAddenda
from muniment_log.storage.snapshot import SnapshotAddenda
from packing import packed, stored
from waiting import until

ORIGIN = "log.example/x"
DAY = 86_400_000
START = 1_790_000_000_000
ALICE, BOB = subject_key("user", "alice"), subject_key("user", "bob")
TWISTED = ALICE[8:] + ALICE[:8]  # is found in two of ALICE, one after the other


def made(
    number: int,
    *,
    subject: bytes | None = ALICE,
    run: str | None = None,
    labels: tuple[str, ...] = (),
    size: int = 60,
) -> Addendum:
    data = random.Random(number).randbytes(size)
    return Addendum(sha256(data).digest(), data, subject, run, labels)


class Log:
    """Takes records, each once by its id, as a sequencer does."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.problem: BaseException | None = None

    async def submit(
        self, producer: str, records: Sequence[bytes], request: RequestRecords
    ) -> Receipt:
        assert producer == ORIGIN
        assert request.records == records
        assert all(one is not None for one in request.said)
        if self.problem is not None:
            raise self.problem
        new = [one for one in records if one not in self.records]
        self.records += new
        indices = tuple(self.records.index(one) for one in records)
        return Receipt(indices[0], len(records), 0, 1, indices)

    async def mark(self) -> Mark:
        return Mark(len(self.records), 0)

    async def leaves(self, start: int) -> AsyncIterator[bytes]:
        for record in self.records[start:]:
            yield record

    def erasures(self) -> list[Erasure]:
        found = [parse_record(one) for one in self.records]
        return [one for one in found if isinstance(one, Erasure)]


class Bench:
    """A store with an eraser, and the log that they belong to."""

    def __init__(self, path: Path, log: Log, rules: Sequence[Rule] = ()) -> None:
        self.log = log
        self.now = START
        self.together = False
        """Whether what may stay together does."""
        self.path = path
        self.store = AddendaStore(
            path, ORIGIN, size=lambda: 7, waiting_bytes=1 << 30, now_ms=lambda: self.now
        )
        self.stored = ErasableAddenda(self.store)
        ids = count(len(log.records))
        self.eraser = Eraser(
            origin=ORIGIN,
            addenda=self.stored,
            submit=log.submit,
            logged=log.mark,
            retention=Retention(rules),
            now_ms=lambda: self.now,
            new_id=lambda: f"e-{next(ids)}",
        )

    async def keep(self, *addenda: Addendum) -> None:
        together = self.together and all(one.subject and not one.labels for one in addenda)
        sent = Sent.packed(packed(addenda)) if together else Sent(addenda, {})
        await self.store.keep(sent)
        await self.store.named(sent, 7)

    async def erase(self, *addenda: Addendum, **selection: Any) -> Any:
        digests = tuple(one.digest for one in addenda)
        found = await self.eraser.select(Selection(digests, **selection))
        return await self.eraser.erase(found, by="root", reason="asked for")

    def bytes(self) -> bytes:
        """All that is on disk."""
        files = self.path.parent.glob(f"{self.path.name}*")
        return b"\0".join(file.read_bytes() for file in sorted(files))


@asynccontextmanager
async def bench(
    tmp_path: Path, rules: Sequence[Rule] = (), log: Log | None = None
) -> AsyncIterator[Bench]:
    one = Bench(tmp_path / "addenda.db", log or Log(), rules)
    await one.store.open()
    running = asyncio.get_running_loop().create_task(one.store.run())
    try:
        yield one
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await one.store.close()


# On command


@pytest.mark.parametrize("together", [False, True])
async def test_the_bytes_are_gone_from_disk_and_the_log_says_so(
    tmp_path: Path, together: bool
) -> None:
    one, two = made(1), made(2)
    async with bench(tmp_path) as at:
        at.together = together
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
        assert [bool(at.bytes().count(one.data)) for one in (*mine, *others)] == [False] * 3 + [
            True
        ] * 2
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
    async with bench(folder) as at:
        at.together = together
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


def damage_of(path: Path) -> list[str]:
    """What a check finds wrong with a file of addenda, of a log without records."""
    log = path.with_name("log.db")
    with closing(sqlite3.connect(log)) as db:
        db.executescript("CREATE TABLE bundle (idx, data); CREATE TABLE tail (first, data)")
    damage = check_addenda(path, ORIGIN, log, full=True).damage
    log.unlink()
    return [one.what for one in damage]


async def test_a_check_sees_what_a_subject_would_not_find(tmp_path: Path) -> None:
    one, two = made(1), made(2)
    async with bench(tmp_path) as at:
        await at.keep(one)
        await at.keep(two)
        assert damage_of(at.path) == []
    with closing(sqlite3.connect(at.path)) as db:
        db.execute("DELETE FROM subjects WHERE first = 2")
        db.commit()
    assert damage_of(at.path) == [f"{two.digest.hex()}: not found by its subject"]


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_a_file_of_before_goes_on_and_forgets_too(tmp_path: Path, version: int) -> None:
    mine, other, later = made(1, size=5000), made(2, subject=None), made(3)
    path = tmp_path / "addenda.db"
    with closing(sqlite3.connect(path)) as db:
        for script in migrations()[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("INSERT INTO log (one, origin, addenda) VALUES (0, ?, 2)", (ORIGIN,))
        db.executemany(
            "INSERT INTO addendum (digest, subject, time, size, data) VALUES (?, ?, ?, 0, ?)",
            [(one.digest, one.subject, START, one.data) for one in (other, mine)],
        )
        if version > 2:
            db.execute(
                "INSERT INTO subjects SELECT id, subject FROM addendum WHERE subject NOTNULL"
            )
        db.commit()
    async with bench(tmp_path) as at:
        assert damage_of(at.path) == []
        await at.keep(later, mine)
        assert at.store.totals.addenda == 3
        await at.erase(subject=ALICE)
        assert mine.data[:40] not in at.bytes()
        assert other.data in at.bytes()
        assert (
            await at.store.read(mine.digest)
            == await at.store.read(later.digest)
            == Erased(START, 0)
        )
        assert await at.store.read(other.digest) == other.data


async def test_what_is_together_goes_one_by_one_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MOST", 3)
    many = [made(n, run=f"run-{n}" if n % 2 else None, size=50 + n) for n in range(10)]
    async with bench(tmp_path) as at:
        at.together = True
        await at.keep(*many)
        for gone, one in enumerate(many):
            await at.erase(one)
            assert damage_of(at.path) == []
            there = at.bytes()
            assert [one.data in there for one in many] == [n > gone for n in range(10)]
            for left in many[gone + 1 :]:
                assert await at.store.read(left.digest) == left.data
        assert [row.execution for row, _ in stored(at.path)] == [one.execution for one in many]
        assert at.eraser.totals == Totals(0, 0, 10)
        await at.keep(*many)  # nothing comes back
        assert at.eraser.totals == Totals(0, 0, 10)
    with closing(sqlite3.connect(at.path)) as db:
        assert db.execute("SELECT count(*) FROM pack").fetchone() == (0,)


async def test_what_is_together_is_looked_through_for_what_is_due(tmp_path: Path) -> None:
    many = [made(n) for n in range(8)]
    async with bench(tmp_path) as at:
        at.together = True
        await at.keep(*many[:4])
        at.now += DAY
        await at.keep(*many[4:])
        await at.erase(many[1])
        found, last = await at.stored.after(0, START, 3)
        assert ([one.digest for one in found], last) == ([many[0].digest, many[2].digest], 3)
        found, last = await at.stored.after(last, START, 3)
        assert ([one.digest for one in found], last) == ([many[3].digest], 4)
        found, last = await at.stored.after(last, START + DAY, 9)
        assert ([one.digest for one in found], last) == ([one.digest for one in many[4:]], 8)


async def test_ids_are_not_given_out_again_when_the_last_were_refused(tmp_path: Path) -> None:
    first, other = made(1), made(2, subject=BOB)
    async with bench(tmp_path) as at:
        await at.keep(first)
        refused = Sent([made(3), made(4)], {})
        await at.store.keep(refused)
        at.store.refused(refused)
    async with bench(tmp_path, log=at.log) as at:
        await at.keep(other)
        found = await at.stored.find(Selection(subject=ALICE), 9)
        assert [one.digest for one in found] == [first.digest]
        assert damage_of(at.path) == []


async def test_nothing_is_overwritten_in_a_row_whose_ends_are_damaged(tmp_path: Path) -> None:
    one, two, three = made(1), made(2), made(3)
    async with bench(tmp_path) as at:
        at.together = True
        await at.keep(one, two, three)
        with closing(sqlite3.connect(at.path)) as db, db:
            db.execute("UPDATE pack SET ends = substr(ends, 9, 8) || substr(ends, 9)")
        with pytest.raises(StorageError, match="row 1 of pack is damaged"):
            await at.erase(one)
        assert all(data in at.bytes() for data in (one.data, two.data, three.data))


async def test_who_had_a_number_of_before_has_not_what_has_it_now(tmp_path: Path) -> None:
    others = [made(n, subject=BOB) for n in range(3)]
    async with bench(tmp_path) as at:
        at.together = True
        await at.keep(*others)
    # As a log of before left it, which gave the numbers of what was refused out again.
    with closing(sqlite3.connect(at.path)) as db, db:
        db.execute("INSERT INTO subjects VALUES (0, ?)", (ALICE * 9,))
    async with bench(tmp_path, log=at.log) as at:
        assert await at.stored.find(Selection(subject=ALICE), 9) == []
        found = await at.stored.find(Selection(subject=BOB), 9)
        assert [one.digest for one in found] == [one.digest for one in others]


async def test_ids_behind_the_mark_of_what_is_sorted_are_not_given_out_again(
    tmp_path: Path,
) -> None:
    one, two = made(1, subject=None, run="a"), made(2, subject=None, run="b")
    async with bench(tmp_path) as at:
        refused = Sent([one], {})
        await at.store.keep(refused)
        at.store.refused(refused)
    with closing(sqlite3.connect(at.path)) as db, db:
        db.execute("UPDATE log SET sorted = 1")  # as a file of before has it when it is opened
    async with bench(tmp_path, log=at.log) as at:
        await at.keep(two)
    async with bench(tmp_path, log=at.log) as at:
        assert await at.store.read(two.digest) == two.data
        assert damage_of(at.path) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE pack SET data = CAST(x'00000001' || data AS BLOB)", "row 1: not what its number"),
        ("UPDATE pack SET digests = x''", "row 1: not what its number"),
        ("UPDATE pack SET ends = '0000000a'", "row 1: not what its number"),
        ("UPDATE pack SET data = zeroblob(length(data))", "other bytes than those of its digest"),
        ("UPDATE pack SET runs = '[]'", "row 1: not what its number"),
        ("UPDATE pack SET runs = 'x'", "row 1: not what its number"),
        (
            """INSERT INTO pack SELECT 0, 2, 0, 0, zeroblob(64), '0000000400000008',
            '["",""]', zeroblob(8) FROM pack""",
            "row 1: not what its number",
        ),
        ("UPDATE pack SET digests = zeroblob(32)", "1: has bytes, and was erased or refused"),
        ("DELETE FROM subjects", "not found by its subject"),
        ("UPDATE log SET sorted = 9", "not found by its digest"),
    ],
)
async def test_a_check_sees_what_is_wrong_with_what_is_together(
    tmp_path: Path, change: str, finding: str
) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        sent = Sent.packed(packed([one]))
        await at.store.keep(sent)
        await at.store.named(sent, 7)
    assert damage_of(at.path) == []
    with closing(sqlite3.connect(at.path)) as db:
        db.execute(change)
        db.commit()
    assert any(finding in found for found in damage_of(at.path))


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
    async with bench(tmp_path) as at:
        at.together = together
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
        running = asyncio.get_running_loop().create_task(at.eraser.run())
        await until(lambda: one.data not in at.bytes())
        running.cancel()


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

    async with bench(tmp_path, log=log) as at:
        at.together = together
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
        running = asyncio.get_running_loop().create_task(at.eraser.run())
        if step == "begin":
            assert await at.store.read(one.digest) == one.data
            assert log.records == []
        else:
            await until(lambda: one.data not in at.bytes())
            await until(lambda: at.eraser.pending == 0)
            assert await at.store.read(one.digest) == Erased(START, 0)
            assert [one.digests for one in log.erasures()] == [(found[0].digest.hex(),)]
        assert await at.store.read(two.digest) == two.data
        running.cancel()


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
        running = asyncio.get_running_loop().create_task(at.eraser.run())
        await until(lambda: one.data not in at.bytes())
        running.cancel()
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
        running = asyncio.get_running_loop().create_task(at.eraser.run())
        with pytest.raises(StorageError, match="full"):
            await at.erase(one)
        with pytest.raises(StorageError, match="full"):
            await running


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


# By schedule


HR = Rule("domain=hr", retain=30 * DAY)


async def test_what_has_been_kept_long_enough_is_erased_and_the_log_says_by_which_rule(
    tmp_path: Path,
) -> None:
    hr, other = made(1, labels=("domain=hr", "mesh=eu")), made(2, labels=("domain=it",))
    async with bench(tmp_path, [HR]) as at:
        await at.keep(hr, other)
        at.now += 30 * DAY - 1
        assert await at.eraser.erase_due() == 0
        at.now += 1
        assert await at.eraser.erase_due() == 1
        assert hr.data not in at.bytes()
        assert other.data in at.bytes()
        assert await at.eraser.erase_due() == 0
    (record,) = at.log.erasures()
    assert (record.by, record.reason) == ("retention of label domain=hr", "retain = 30d")


async def test_what_an_outcome_withholds_has_the_labels_of_the_decisions_on_its_run(
    tmp_path: Path,
) -> None:
    decided = made(1, run="run-1", labels=("domain=hr",))
    again = made(2, subject=BOB, run="run-1", labels=("mesh=eu", "domain=hr"))
    result = made(3, subject=None, run="run-1")
    others = [
        made(4, run="run-2", labels=("domain=it",)),
        made(5, subject=None, run="run-2"),
        made(6, subject=None, run="run-3"),
        made(7, subject=None),
        made(8, run="run-1"),  # a decision says itself how it is labelled
    ]
    async with bench(tmp_path, [Rule("mesh", None, 20 * DAY)]) as at:
        await at.keep(decided)
        await at.keep(again, result, *others)
        at.now += DAY
        labels = {one.digest: one.labels for one in (await at.stored.after(0, at.now, 9))[0]}
        assert sorted(labels.pop(result.digest)) == ["domain=hr", "mesh=eu"]
        assert labels == {
            one.digest: (("domain=it",) if one is others[1] else one.labels)
            for one in (decided, again, *others)
        }
        with pytest.raises(NotErasableError, match="legal minimum of 20d"):
            await at.erase(result)
        await at.erase(decided)
        at.now += 30 * DAY
        at.eraser.use(Retention([HR]))
        assert await at.eraser.erase_due() == 2  # what was erased still has its labels
        assert result.data not in at.bytes()
        assert all(one.data in at.bytes() for one in others)


async def test_until_it_has_looked_an_eraser_may_have_something_to_do(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        assert at.eraser.pending == 1
        running = asyncio.get_running_loop().create_task(at.eraser.run())
        await until(lambda: at.eraser.pending == 0)
        running.cancel()


async def test_a_running_log_looks_at_its_rules_again(tmp_path: Path) -> None:
    one = made(1, labels=("domain=hr",))
    async with bench(tmp_path) as at:
        await at.keep(one)
        at.now += 30 * DAY
        running = asyncio.get_running_loop().create_task(at.eraser.run())
        at.eraser.use(Retention([HR]))
        await until(lambda: one.data not in at.bytes())
        running.cancel()
    assert CHECK_SECONDS > 60  # so that the schedule has not come by in this test


@pytest.mark.parametrize("rule", [Rule("domain", None, 90 * DAY), Rule(None, None, 90 * DAY)])
async def test_nothing_is_erased_before_its_legal_minimum(tmp_path: Path, rule: Rule) -> None:
    one = made(1, labels=("domain=hr",))
    async with bench(tmp_path, [HR, rule]) as at:
        await at.keep(one)
        at.now += 90 * DAY - 1
        assert await at.eraser.erase_due() == 0
        with pytest.raises(NotErasableError, match=r"legal minimum of 90d .* nothing was erased"):
            await at.erase(one)
        with pytest.raises(NotErasableError, match=r"1 of 1 .* until 2026-12-20T14:13:20Z"):
            await at.erase(subject=ALICE)
        assert await at.store.read(one.digest) == one.data
        at.now += 1
        assert await at.eraser.erase_due() == 1


async def test_a_command_may_leave_out_what_the_minimum_keeps(tmp_path: Path) -> None:
    async with bench(tmp_path, [Rule(None, None, DAY)]) as at:
        await at.keep(made(1))
        at.now += DAY
        await at.keep(made(2))
        with pytest.raises(NotErasableError, match=r"--before 2026-09-22T14:13:20Z leaves"):
            await at.erase(subject=ALICE)
        done = await at.erase(subject=ALICE, before_ms=START + DAY)
        assert done.addenda == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_by_schedule_exactly_what_is_due_goes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    days = st.integers(1, 9)
    label = st.sampled_from([None, "a", "a=1", "a=2", "b"])
    rules = [
        Rule(one, retain and retain * DAY, minimum * DAY)
        for one, retain, minimum in data.draw(
            st.lists(st.tuples(label, st.none() | days, st.just(0) | days), max_size=4)
        )
    ]
    labels = st.sampled_from([(), ("a=1",), ("a=2",), ("a=1", "b=x"), ("b=y",)])
    log = Log()
    kept: list[tuple[Addendum, int]] = []
    place = tmp_path_factory.mktemp("schedule")

    def is_due(one: Addendum, age: int) -> bool:
        covering = [rule for rule in rules if rule.covers(one.labels)]
        retain = min((rule.retain for rule in covering if rule.retain is not None), default=None)
        minimum = max((rule.legal_minimum for rule in covering), default=0)
        return retain is not None and age >= max(retain, minimum)

    async with bench(place, rules, log) as at:
        for number in range(data.draw(st.integers(1, 12))):
            one = made(number, labels=data.draw(labels))
            await at.keep(one)
            kept.append((one, at.now))
            at.now += data.draw(st.integers(0, 3)) * DAY
            if data.draw(st.booleans()):
                await at.eraser.erase_due()
        await at.eraser.erase_due()
        for one, since in kept:
            is_kept = await at.store.read(one.digest) == one.data
            assert is_kept is not is_due(one, at.now - since)


def test_durations_are_written_as_they_are_read() -> None:
    for text in ("180d", "1d", "25h", "90s"):
        assert say_duration(parse_duration(text)) == text
    assert say_duration(parse_duration("48h")) == "2d"


# On disk


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_no_byte_of_what_was_erased_is_left_whatever_its_size(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """SQLite moves rows between pages as it inserts and removes: none may stay behind."""
    sizes = st.sampled_from([40, 60, 300, 900, 3000, 4500, 20_000])
    place = tmp_path_factory.mktemp("disk")
    addenda = [made(n, size=data.draw(sizes)) for n in range(data.draw(st.integers(5, 60)))]
    async with bench(place) as at:
        at.together = data.draw(st.booleans())
        left = {one.digest: one for one in addenda}
        for start in range(0, len(addenda), 7):
            await at.keep(*addenda[start : start + 7])
            some = data.draw(st.sets(st.sampled_from(sorted(left)), max_size=5))
            some &= {one.digest for one in addenda[: start + 7]}
            if some:
                await at.erase(*(left.pop(digest) for digest in some))
        found = at.bytes()
        for one in addenda:
            # What is there may stand on two pages, which are not one behind the other.
            if one.digest in left:
                assert await at.store.read(one.digest) == one.data
            else:
                pieces = one.data[:20], one.data[20:40], one.data[-20:]
                assert [piece in found for piece in pieces] == [False] * 3


async def test_a_reader_of_a_file_of_before_sees_what_comes_together_later(
    tmp_path: Path,
) -> None:
    early, late = made(1), [made(n) for n in range(2, 20)]
    path = tmp_path / "addenda.db"
    with closing(sqlite3.connect(path)) as db:
        for script in migrations()[:4]:
            db.executescript(script)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 4")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("INSERT INTO log (one, origin, addenda) VALUES (0, ?, 1)", (ORIGIN,))
        db.execute(
            "INSERT INTO addendum (digest, subject, time, size, data) VALUES (?, ?, ?, 0, ?)",
            (early.digest, early.subject, START, early.data),
        )
        db.execute("INSERT INTO subjects SELECT id, subject FROM addendum")
        db.commit()
    reader = await SnapshotAddenda.open(path)
    assert reader is not None
    try:
        assert await reader.addendum(early.digest) == early.data
        assert await reader.addendum(late[0].digest) is None
        async with bench(tmp_path) as at:
            at.together = True
            await at.keep(*late)
            for one in (early, *late):
                assert await reader.addendum(one.digest) == one.data
            await at.erase(late[3])
            assert await reader.addendum(late[3].digest) is None
    finally:
        await reader.close()


async def test_whoever_reads_beside_finds_what_was_refused_and_came_again(tmp_path: Path) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        sent = Sent((one,), {})
        await at.store.keep(sent)
        reader = await SnapshotAddenda.open(at.path)
        assert reader is not None
        try:
            assert await reader.addendum(one.digest) == one.data
            at.store.refused(sent)
            await at.keep(made(2))  # in one transaction with that
            assert await reader.addendum(one.digest) is None
            await at.keep(one)
            assert await reader.addendum(one.digest) == one.data
        finally:
            await reader.close()


async def test_nobody_reads_the_file_of_a_newer_program(tmp_path: Path) -> None:
    one = made(1)
    async with bench(tmp_path) as at:
        await at.keep(one)
    version = len(migrations()) + 1
    with closing(sqlite3.connect(at.path)) as db, db:
        db.execute(f"PRAGMA user_version = {version}")
    told = f"schema version {version} is newer than this program's {version - 1}"
    assert damage_of(at.path) == [told]
    with pytest.raises(DatabaseError, match=told):
        await SnapshotAddenda.open(at.path)
    with pytest.raises(StorageError, match=told):
        AddendaContents(at.path).log()
