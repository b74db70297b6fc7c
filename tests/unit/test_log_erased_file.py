"""The file of addenda that are erased: its rows, one by one and together, of before and of now."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from erasing_tools import ORIGIN, START, bench, damage_of
from muniment.local.sqlitefile import DatabaseError
from muniment_log.core.addenda import Addendum, Erased, Sent
from muniment_log.core.erasable import Selection, Totals
from muniment_log.errors import StorageError
from muniment_log.storage import packs
from muniment_log.storage.addendacontents import AddendaContents
from muniment_log.storage.addendafile import APPLICATION_ID
from muniment_log.storage.addendarows import migrations
from muniment_log.storage.snapshot import SnapshotAddenda
from packing import ALICE, BOB, DAY, made, stored


def change(path: Path, statement: str, *values: object) -> None:
    """Changes a file that nobody has open, or that somebody has."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


def file_of_before(path: Path, version: int, *addenda: Addendum) -> None:
    """Makes the file that a program of an earlier schema version had, with addenda of before."""
    with closing(sqlite3.connect(path)) as db, db:
        for script in migrations()[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(
            "INSERT INTO log (one, origin, addenda) VALUES (0, ?, ?)", (ORIGIN, len(addenda))
        )
        db.executemany(
            "INSERT INTO addendum (digest, subject, time, size, data) VALUES (?, ?, ?, 0, ?)",
            [(one.digest, one.subject, START, one.data) for one in addenda],
        )
        if version > 2:
            db.execute(
                "INSERT INTO subjects SELECT id, subject FROM addendum WHERE subject NOTNULL"
            )


async def test_a_check_sees_what_a_subject_would_not_find(tmp_path: Path) -> None:
    one, two = made(1), made(2)
    async with bench(tmp_path) as at:
        await at.keep(one)
        await at.keep(two)
        assert damage_of(at.path) == []
    change(at.path, "DELETE FROM subjects WHERE first = 2")
    assert damage_of(at.path) == [f"{two.digest.hex()}: not found by its subject"]


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_a_file_of_before_goes_on_and_forgets_too(tmp_path: Path, version: int) -> None:
    mine, other, later = made(1, size=5000), made(2, subject=None), made(3)
    file_of_before(tmp_path / "addenda.db", version, other, mine)
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
    async with bench(tmp_path, together=True) as at:
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
    async with bench(tmp_path, together=True) as at:
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
    async with bench(tmp_path, together=True) as at:
        await at.keep(one, two, three)
        change(at.path, "UPDATE pack SET ends = substr(ends, 9, 8) || substr(ends, 9)")
        with pytest.raises(StorageError, match="row 1 of pack is damaged"):
            await at.erase(one)
        assert all(data in at.bytes() for data in (one.data, two.data, three.data))


async def test_who_had_a_number_of_before_has_not_what_has_it_now(tmp_path: Path) -> None:
    others = [made(n, subject=BOB) for n in range(3)]
    async with bench(tmp_path, together=True) as at:
        await at.keep(*others)
    # As a log of before left it, which gave the numbers of what was refused out again.
    change(at.path, "INSERT INTO subjects VALUES (0, ?)", ALICE * 9)
    async with bench(tmp_path, log=at.log) as at:
        assert await at.stored.find(Selection(subject=ALICE), 9) == []
        found = await at.stored.find(Selection(subject=BOB), 9)
        assert [one.digest for one in found] == [one.digest for one in others]


async def test_ids_behind_the_mark_of_what_is_sorted_are_not_given_out_again(
    tmp_path: Path,
) -> None:
    one, two = made(1, subject=None, run="a"), made(2, subject=None, run="b")
    async with bench(tmp_path) as at:
        await at.refuse(one)
    change(at.path, "UPDATE log SET sorted = 1")  # as a file of before has it when it is opened
    async with bench(tmp_path, log=at.log) as at:
        await at.keep(two)
    async with bench(tmp_path, log=at.log) as at:
        assert await at.store.read(two.digest) == two.data
        assert damage_of(at.path) == []


@pytest.mark.parametrize(
    ("statement", "finding"),
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
    tmp_path: Path, statement: str, finding: str
) -> None:
    one = made(1)
    async with bench(tmp_path, together=True) as at:
        await at.keep(one)
    assert damage_of(at.path) == []
    change(at.path, statement)
    assert any(finding in found for found in damage_of(at.path))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_no_byte_of_what_was_erased_is_left_whatever_its_size(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """SQLite moves rows between pages as it inserts and removes: none may stay behind."""
    sizes = st.sampled_from([40, 60, 300, 900, 3000, 4500, 20_000])
    place = tmp_path_factory.mktemp("disk")
    addenda = [made(n, size=data.draw(sizes)) for n in range(data.draw(st.integers(5, 60)))]
    async with bench(place, together=data.draw(st.booleans())) as at:
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
    file_of_before(path, 4, early)
    reader = await SnapshotAddenda.open(path)
    assert reader is not None
    try:
        assert await reader.addendum(early.digest) == early.data
        assert await reader.addendum(late[0].digest) is None
        async with bench(tmp_path, together=True) as at:
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
    change(at.path, f"PRAGMA user_version = {version}")
    told = f"schema version {version} is newer than this program's {version - 1}"
    assert damage_of(at.path) == [told]
    with pytest.raises(DatabaseError, match=told):
        await SnapshotAddenda.open(at.path)
    with pytest.raises(StorageError, match=told):
        AddendaContents(at.path).log()
