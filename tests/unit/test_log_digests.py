"""Which row an addendum has, wherever its digest is: in memory, in the table, after a start."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment_log.storage import digests
from muniment_log.storage.addendarows import migrations
from muniment_log.storage.digests import ROW, Digests


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MOST_RECENT", 8)


@contextmanager
def file() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in migrations():
            db.executescript(script)
        db.execute("INSERT INTO log (one, origin) VALUES (0, 'log.example/x')")
        yield db


def digest(number: int) -> bytes:
    """Two numbers in turn have the same first eight bytes."""
    return (
        bytes([number * 37 % 256, *(number // 2).to_bytes(7, "big")]) + bytes(23) + bytes([number])
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 200), min_size=1, max_size=12)),
        st.tuples(st.just("drop"), st.lists(st.integers(0, 200), min_size=1, max_size=12)),
        st.tuples(st.sampled_from(["start", "load"]), st.just([])),
    ),
    max_size=30,
)


@given(steps)
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_digest_has_its_row_whatever_was_moved(steps: list[tuple[str, list[int]]]) -> None:
    rows: dict[bytes, int] = {}
    following = 1
    with file() as db:
        at, beside = Digests(db), Digests(db)
        for what, chosen in steps:
            some = [*dict.fromkeys(map(digest, chosen))]
            if what == "add":
                new = [one for one in some if one not in rows]
                ids = range(following, following + len(new))
                db.executemany(
                    "INSERT INTO addendum (id, digest, time, size) VALUES (?, ?, 0, 0)",
                    zip(ids, new, strict=True),
                )
                at.add(db, new, following)
                rows.update(zip(new, ids, strict=True))
                following += len(new)
            elif what == "drop":
                gone = {one: rows.pop(one) for one in some if one in rows}
                db.executemany("DELETE FROM addendum WHERE id = ?", [(n,) for n in gone.values()])
                at.drop(db, gone)
            elif what == "load":
                beside.load(db)
                found = beside.find(db, [*rows])  # also what was dropped and has come again
                assert found == rows
            else:
                at = Digests(db)
            everything = [digest(number) for number in range(201)]
            assert at.find(db, everything) == rows
        beside.load(db)
        assert beside.find(db, [*rows]) == rows


def test_whoever_reads_beside_finds_what_was_dropped_and_has_come_again() -> None:
    def put(at: Digests, numbers: range, first: int) -> None:
        some = [digest(number) for number in numbers]
        db.executemany(
            "INSERT INTO addendum (id, digest, time, size) VALUES (?, ?, 0, 0)",
            enumerate(some, first),
        )
        at.add(db, some, first)

    with file() as db:
        at = Digests(db)
        put(at, range(3), 1)
        beside = Digests(db)
        db.execute("DELETE FROM addendum WHERE id = 2")
        at.drop(db, {digest(1): 2})
        put(at, range(1, 2), 4)
        put(at, range(100, 108), 5)  # as many as may wait: all before go to the table
        put(at, range(110, 118), 13)
        assert db.execute("SELECT sorted FROM log").fetchone() == (4,)
        beside.load(db)
        assert beside.find(db, [digest(1)]) == {digest(1): 4}


def test_whoever_reads_finds_what_is_moved_and_not_committed_yet(tmp_path: Path) -> None:
    every = [bytes([number]) * 32 for number in range(64)]
    with (
        closing(sqlite3.connect(tmp_path / "it.db", isolation_level=None)) as db,
        closing(sqlite3.connect(tmp_path / "it.db")) as reader,
    ):
        db.execute("PRAGMA journal_mode=WAL")
        for script in migrations():
            db.executescript(script)
        db.execute("INSERT INTO log (one, origin) VALUES (0, 'log.example/x')")
        at = Digests(db)
        for start in range(0, 64, 16):
            db.execute("BEGIN")
            at.add(db, every[start : start + 16], start + 1)
            for number, one in enumerate(every[: start + 16], 1):
                found = reader.execute(f"SELECT {number} IN {ROW}", (at.recent(one), one))
                assert found.fetchone() == (1,)
            db.execute("COMMIT")


def test_a_full_memory_goes_to_the_table_part_by_part() -> None:
    with file() as db:
        at = Digests(db)
        every = [bytes([number]) * 32 for number in range(64)]
        for number, one in enumerate(every, 1):
            db.execute(
                "INSERT INTO addendum (id, digest, time, size) VALUES (?, ?, 0, 0)", (number, one)
            )
            at.add(db, [one], number)
        (moved,) = db.execute("SELECT count(*) FROM by_digest").fetchone()
        (mark,) = db.execute("SELECT sorted FROM log").fetchone()
        assert moved >= 64 - digests.MOST_RECENT
        assert 0 <= mark < 64
        assert Digests(db).find(db, every) == {one: n for n, one in enumerate(every, 1)}
