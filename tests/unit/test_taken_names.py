"""What a spool recognises that comes again: a table in memory says what the file says."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.gateway import takennames
from muniment.gateway.spoolfile import SpoolFile
from muniment.gateway.spoolschema import APPLICATION_ID, MIGRATIONS
from muniment.gateway.takennames import TakenNames, read_names, write_names
from muniment.local.sqlitefile import Writer


def name(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


@pytest.fixture
def spool() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
        yield db


@given(st.lists(st.binary(min_size=16, max_size=40)))
def test_a_table_is_a_set_of_beginnings(names: list[bytes]) -> None:
    table = TakenNames()
    known: set[bytes] = set()
    for one in names:
        assert table.unknown([one]) == ([] if one[:16] in known else [one])
        table.add(table.unknown([one]))
        known.add(one[:16])
    assert not table.unknown(names)


def test_names_that_begin_alike_are_told_apart() -> None:
    table = TakenNames()
    firsts = [bytes(8), b"\0" * 7 + b"\1", b"\xff" * 8, (1 << 21).to_bytes(8, "big")]
    names = [first + bytes([second]) * 8 for first in firsts for second in range(5)]
    for number, one in enumerate(names):
        table.add(table.unknown([one]))
        assert not table.unknown(names[: number + 1])
    assert table.unknown([name(1)])


def test_the_newest_are_known_and_the_oldest_forgotten(
    spool: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takennames, "RECOGNISED", 10)
    table = TakenNames()
    for start in range(0, 42, 3):
        names = [name(number) for number in range(start, start + 3)]
        write_names(names, spool)
        table.add(names)
        for known in (table, read_names(spool)):
            newest = range(max(0, start + 3 - 10), start + 3)
            assert not known.unknown(map(name, newest))
            others = [name(number) for number in (start + 3, *range(start + 3 - 20))]
            assert known.unknown(others) == others
    (rows,) = spool.execute("SELECT count(*) FROM recognised").fetchone()
    assert rows == 4


async def test_names_of_an_older_file_stay_known(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    old = await Writer.open(path, MIGRATIONS[:4], application=APPLICATION_ID)
    rows = [(name(number),) for number in range(100)]
    await old.run(lambda db: db.executemany("INSERT INTO taken (name) VALUES (?)", rows) and None)
    await old.close()
    new = await Writer.open(path, MIGRATIONS, application=APPLICATION_ID)
    known = await new.run(read_names)
    await new.run(lambda db: write_names([name(100)], db))
    assert (await new.run(SpoolFile.load)).names is None
    again = await new.run(read_names)
    await new.close()
    assert not known.unknown(map(name, range(100)))
    assert again.unknown(map(name, range(102))) == [name(101)]
