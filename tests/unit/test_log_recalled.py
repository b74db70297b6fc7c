"""What recognises records is found wherever it is: in memory, in the table, of a log of before."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import signing
from log_tools import ORIGIN, by_hand, open_store
from muniment.local.sqlitefile import DatabaseError
from muniment_log.core.ordering import Kept, KnownError
from muniment_log.core.ports import StreamKey
from muniment_log.core.recall import Recall, RecordSpan, pack_runs, scope_of
from muniment_log.errors import StorageError
from muniment_log.storage import recalled
from muniment_log.storage.contents import Contents
from muniment_log.storage.recalled import Recalled, check_recalled
from muniment_log.storage.schema import APPLICATION_ID, bind, migrations
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.soundness import Findings

BEFORE = 6
"""The last schema that kept each recall in a row with an index."""

KEPT = 20
MOST = 60
KEYS = [StreamKey("a.example", "token:a"), StreamKey("b.example", "token:b")]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalled, "MOST_RECENT", 8)
    monkeypatch.setattr(recalled, "_MOST", 3)


def recall(number: int) -> Recall:
    """Two numbers in turn have the same first six bytes of a name."""
    name = bytes([number // 2 * 37 % 256, *(number // 2).to_bytes(7, "big")]) + bytes([number] * 8)
    return Recall(name, bytes([number] * 32), number, (RecordSpan(number, 1, 1000),))


def kept(key: StreamKey, place: int, numbers: Sequence[int]) -> Kept:
    oldest = max(0, place + len(numbers) - KEPT)
    return Kept(key, place, oldest, [recall(number) for number in numbers])


def is_known(db: sqlite3.Connection, at: Recalled, key: StreamKey, number: int) -> bool:
    try:
        at.check_new(db, [kept(key, 0, [number])])
    except KnownError:
        return True
    return False


@contextmanager
def file(path: Path | str = ":memory:", *, old: int | None = None) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for script in migrations()[:old]:
            db.executescript(script)
        yield db


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "lose", "start"]),
        st.sampled_from(KEYS),
        st.lists(st.integers(0, MOST - 1), min_size=1, max_size=8, unique=True),
    ),
    max_size=40,
)


@given(steps, st.booleans())
@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_what_was_logged_is_known_whatever_was_moved_or_lost(
    steps: list[tuple[str, StreamKey, list[int]]], is_old: bool
) -> None:
    places: dict[tuple[StreamKey, int], int] = {}  # the place of each that may be known
    following = dict.fromkeys(KEYS, 0)
    with file() as db:
        if is_old:
            for number in range(0, 20, 3):
                add_old(db, KEYS[0], 0, number)
                places[KEYS[0], number] = 0
            following[KEYS[0]] = 20
        at = Recalled(db)
        for what, key, chosen in steps:
            known = {number for number in range(MOST) if is_known(db, at, key, number)}
            new = [number for number in chosen if number not in known]
            if what == "start":
                at = Recalled(db)
            elif new:
                db.execute("BEGIN")
                at.add(db, [kept(key, following[key], new)])
                if what == "lose":  # with the process, before the commit
                    db.execute("ROLLBACK")
                    at = Recalled(db)
                else:
                    db.execute("COMMIT")
                    places.update({(key, number): following[key] for number in new})
                    following[key] += len(new)
            for each in KEYS:
                known = {number for number in range(MOST) if is_known(db, at, each, number)}
                assert known <= {number for of, number in places if of == each}
                oldest = following[each] - KEPT
                assert {n for (of, n), place in places.items() if of == each} & known >= {
                    n for (of, n), place in places.items() if of == each and place >= oldest
                }


def add_old(db: sqlite3.Connection, key: StreamKey, place: int, number: int) -> None:
    """As a log of before kept it."""
    one = recall(number)
    db.execute(
        "INSERT INTO recall (stream, name, content, time, place, runs) VALUES (?, ?, ?, ?, ?, ?)",
        (scope_of(key), one.name, one.content, one.time, place, pack_runs(one.runs)),
    )


@pytest.mark.parametrize("step", [1, 4, 16])
def test_what_is_too_old_leaves_no_more_behind_than_half_of_what_is_kept(step: int) -> None:
    with file() as db:
        at = Recalled(db)
        most = 0
        for place in range(0, 4000, step):
            names = [sha256(b"%d" % number).digest()[:16] for number in range(place, place + step)]
            recalls = [Recall(name, bytes(32), 0, ()) for name in names]
            at.add(db, [Kept(KEYS[0], place, max(0, place + step - 400), recalls)])
            (count,) = db.execute("SELECT count(*) FROM recalled_by_name").fetchone()
            most = max(most, count)
        (rows,) = db.execute("SELECT sum(length(names)) / 16 FROM recalled").fetchone()
        assert 400 <= rows <= 400 + step
        assert 400 < most < 640  # half as many again, and what else comes before it is looked at


async def test_whoever_reads_finds_it_before_and_after_it_is_moved(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "log.db")
    try:
        for start in range(0, 60, 5):
            await store.remember(kept(KEYS[0], 0, range(start, start + 5)))
            every = [recall(number) for number in range(start + 5)]
            found = await store.recall(KEYS[0], [one.name for one in every])
            assert found == {one.name: one for one in every}
            assert await store.recall(KEYS[1], [one.name for one in every]) == {}
        # What is there already is not kept twice.
        await store.remember(kept(KEYS[0], 0, range(50, 70)))
    finally:
        await store.close()
    rows = [row for some in Contents(tmp_path / "log.db").recalls() for row in some]
    assert [(row[0], row[1], row[5]) for row in rows] == [
        (scope_of(KEYS[0]), one.name, pack_runs(one.runs)) for one in map(recall, range(70))
    ]


async def test_a_file_of_before_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with file(path, old=BEFORE) as db:
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={BEFORE}")
        bind(db, ORIGIN, [str(signing.log_signer().vkey)])
        for number in range(10):
            add_old(db, KEYS[0], number, number)
    every = [recall(number) for number in range(15)]
    for _ in range(2):
        store = await open_store(path)
        try:
            await store.remember(kept(KEYS[0], 10, range(5, 15)))
            found = await store.recall(KEYS[0], [one.name for one in every])
            assert found == {one.name: one for one in every}
        finally:
            await store.close()
        rows = [row for some in Contents(path).recalls() for row in some]
        assert [row[1] for row in rows] == [one.name for one in every]
    store = await open_store(path)
    try:
        await store.remember(kept(KEYS[0], 25, range(20, 25)))  # now ten are too old
        found = await store.recall(KEYS[0], [one.name for one in every])
        assert set(found) == {one.name for one in every[10:]}
    finally:
        await store.close()
    assert by_hand(path, "SELECT count(*) FROM recall") == [(0,)]


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM recalled_state",
        "UPDATE recalled_state SET sorted = 'x'",
        "UPDATE recalled SET names = 'text'",
        "UPDATE recalled SET names = x'0102'",
        "UPDATE recalled SET stream = 7",
    ],
)
async def test_a_damaged_file_does_not_open(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "log.db"
    store = await open_store(path)
    await store.remember(kept(KEYS[0], 0, [1]))
    await store.close()
    by_hand(path, harm)
    with pytest.raises(DatabaseError, match=r"log\.db: .*damaged"):
        await SQLiteStore.open(path)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("UPDATE recalled SET first = first", None),
        ("DELETE FROM recalled_by_name WHERE id = 2", "row 1: 1 names that would not be found"),
        ("UPDATE recalled_by_name SET prefix = x'00' WHERE id = 1", "row 1: 1 names"),
        ("UPDATE recalled_state SET sorted = 1000", "names that would not be found"),
        ("DELETE FROM recalled_state", "it is not known which names are sorted"),
        ("UPDATE recalled SET data = x'91' WHERE first = 1", "row 1: not what recognises records"),
        ("UPDATE recalled SET stream = x'01' WHERE first = 1", "row 1: not what recognises"),
        ("UPDATE recalled SET names = x'' WHERE first = 1", "row 1: not what recognises records"),
        ("UPDATE recalled SET first = 2 WHERE first = 1", "row 4: not what recognises records"),
    ],
)
def test_a_full_check_tells_of_names_that_nobody_would_find(harm: str, told: str | None) -> None:
    with file() as db:
        at = Recalled(db)
        for place, numbers in ((0, range(3)), (3, range(3, 9)), (9, range(9, 20))):
            db.execute("BEGIN")
            at.add(db, [kept(KEYS[0], place, [*numbers])])
            db.execute("COMMIT")
        assert db.execute("SELECT count(*) FROM recalled_by_name").fetchone() != (0,)
        db.execute(harm)
        findings = Findings()
        check_recalled(db, findings)
        if told is None:
            assert findings.damage == []
        else:
            assert any(told in one.what for one in findings.damage)


def test_a_full_check_of_an_older_file_looks_for_no_names() -> None:
    with file(old=BEFORE) as db:
        findings = Findings()
        check_recalled(db, findings)
        assert findings.damage == []


@pytest.mark.parametrize("harm", ["data = x'91'", "data = 'text'", "names = 7", "names = x'0102'"])
async def test_a_damaged_row_is_told(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "log.db"
    store = await open_store(path)
    try:
        await store.remember(kept(KEYS[0], 0, [1]))
        by_hand(path, f"UPDATE recalled SET {harm}")
        with pytest.raises(StorageError, match=r"recalled (is|are) damaged"):
            await store.recall(KEYS[0], [recall(1).name])
    finally:
        await store.close()
    with pytest.raises(StorageError, match=r"log\.db: .*recalled (is|are) damaged"):
        list(Contents(path).recalls())
