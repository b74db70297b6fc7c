"""One writer on one file: ownership, migrations, transactions, readers, and failing disks."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from muniment.local.sqlitefile import (
    PAGE_BYTES,
    AbsentDatabaseError,
    DatabaseError,
    Expected,
    FatalDatabaseError,
    Writer,
    open_reader,
)
from muniment.local.sqliteopen import reading, select

TABLE = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"
APPLICATION = 0x4D000001


async def opened(folder: Path, *migrations: str, application: int = APPLICATION) -> Writer:
    return await Writer.open(folder / "x.db", migrations or [TABLE], application=application)


def insert(value: int) -> Callable[[sqlite3.Connection], int]:
    return lambda connection: connection.execute("INSERT INTO t (a) VALUES (?)", (value,)).rowcount


def count(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM t").fetchone()[0]


async def test_settings_that_durability_rests_on(tmp_path: Path) -> None:
    writer = await opened(tmp_path)

    def settings(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "application_id", "user_version")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await writer.run(settings) == ["wal", 2, 1, APPLICATION, 1]
    reader = open_reader(tmp_path / "x.db")
    assert reader.execute("PRAGMA query_only").fetchone() == (1,)
    assert reader.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM t")
    reader.close()
    await writer.close()
    assert not (tmp_path / "x.db-wal").exists()


async def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    writer = await opened(tmp_path)

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t (a) VALUES (1)")
        raise KeyError("no")

    with pytest.raises(KeyError):
        await writer.run(half)
    assert await writer.run(count) == 0
    assert await writer.run(insert(1)) == 1
    with pytest.raises(sqlite3.IntegrityError):
        await writer.run(insert(1))
    assert await writer.run(count) == 1
    await writer.close()
    await writer.close()


async def test_a_cancelled_caller_leaves_the_writer_usable(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    task = asyncio.create_task(writer.run(insert(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await writer.run(insert(2)) == 1
    await writer.close()


async def test_only_one_owner_in_this_process_or_another(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    with pytest.raises(DatabaseError, match=r"x\.db: in use by another process \(pid \d+\)"):
        await opened(tmp_path)
    program = (
        "import asyncio, sys, pathlib\n"
        "from muniment.local.sqlitefile import Writer\n"
        "asyncio.run(Writer.open(pathlib.Path(sys.argv[1]), [], application=1))\n"
    )
    other = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, str(tmp_path / "x.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert other.returncode != 0
    assert "in use by another process" in other.stderr
    await writer.close()
    await (await opened(tmp_path)).close()


async def test_migrations_run_once_in_order(tmp_path: Path) -> None:
    second = "ALTER TABLE t ADD COLUMN c; INSERT INTO t (a, c) VALUES (7, 'x')"
    await (await opened(tmp_path, TABLE)).close()
    await (await opened(tmp_path, TABLE, second)).close()
    writer = await opened(tmp_path, TABLE, second)
    assert await writer.run(lambda c: c.execute("SELECT a, c FROM t").fetchall()) == [(7, "x")]
    await writer.close()
    with pytest.raises(DatabaseError, match="schema version 2 is newer than this program's 1"):
        await opened(tmp_path, TABLE)


async def test_a_failed_migration_leaves_the_version_before(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with pytest.raises(DatabaseError, match="migration 2: no such table"):
        await opened(tmp_path, TABLE, "CREATE TABLE u (a); INSERT INTO absent VALUES (1)")
    writer = await opened(tmp_path, TABLE)
    names = await writer.run(lambda c: c.execute("SELECT name FROM sqlite_master").fetchall())
    assert names == [("t",)]
    await writer.close()


async def test_other_files_are_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with pytest.raises(DatabaseError, match="another program"):
        await opened(tmp_path, application=5)
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("PRAGMA application_id=0")
    connection.close()
    with pytest.raises(DatabaseError, match="another program"):
        await opened(tmp_path)
    (tmp_path / "x.db").write_bytes(b"not a database, but longer than its header" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        await opened(tmp_path)
    with pytest.raises(DatabaseError, match="No such file"):
        await Writer.open(tmp_path / "absent" / "x.db", [], application=1)


def every(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(folder: Path) -> set[str]:
    return every(folder) - {"x.db.lock"}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_what_is_no_file_is_no_database(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "x.db"
    make(path)
    for expected in get_args(Expected):
        with pytest.raises(DatabaseError, match=r"x\.db: not a regular file"):
            await Writer.open(path, [TABLE], application=APPLICATION, expected=expected)
    with pytest.raises(DatabaseError, match=r"x\.db: not a regular file"):
        open_reader(path)


async def test_what_is_absent_is_made_only_by_whom_expects_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(AbsentDatabaseError, match=r"x\.db: no such database"):
        await Writer.open(path, [TABLE], application=APPLICATION, expected="old")
    assert not every(tmp_path)  # no lock either: the folder may be a mount point
    await (await Writer.open(path, [TABLE], application=APPLICATION, expected="new")).close()
    assert files(tmp_path) == {"x.db"}
    with pytest.raises(DatabaseError, match="exists already"):
        await Writer.open(path, [TABLE], application=APPLICATION, expected="new")
    found: tuple[Expected, ...] = ("old", "either")
    for expected in found:
        await (await Writer.open(path, [TABLE], application=APPLICATION, expected=expected)).close()


async def test_an_empty_file_is_no_new_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    found: tuple[Expected, ...] = ("old", "either")
    for expected in found:
        with pytest.raises(AbsentDatabaseError, match=r"empty \(0 bytes\)"):
            await Writer.open(path, [TABLE], application=APPLICATION, expected=expected)
        assert path.stat().st_size == 0
    writer = await Writer.open(path, [TABLE], application=APPLICATION, expected="new")
    assert await writer.run(insert(1)) == 1
    await writer.close()


@pytest.mark.parametrize("expected", ["old", "new", "either"])
@pytest.mark.parametrize("empty", [False, True])
async def test_a_log_without_its_database_is_kept(
    tmp_path: Path, expected: Expected, empty: bool
) -> None:
    if empty:
        (tmp_path / "x.db").touch()
    (tmp_path / "x.db-wal").write_bytes(b"all that is left")
    with pytest.raises(AbsentDatabaseError, match=r"x\.db-wal is there"):
        await Writer.open(tmp_path / "x.db", [TABLE], application=APPLICATION, expected=expected)
    assert (tmp_path / "x.db-wal").read_bytes() == b"all that is left"


async def test_a_database_without_content_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    assert (tmp_path / "x.db").stat().st_size
    found: tuple[Expected, ...] = ("old", "either")
    for expected in found:
        with pytest.raises(AbsentDatabaseError, match="without any content"):
            await Writer.open(
                tmp_path / "x.db", [TABLE], application=APPLICATION, expected=expected
            )


async def test_what_a_killed_creation_left_is_in_nobodys_way(tmp_path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        (tmp_path / f".x.db.new{end}").write_bytes(b"half")
    await (await opened(tmp_path)).close()
    assert files(tmp_path) == {"x.db"}
    with pytest.raises(DatabaseError, match="migration 1"):
        await Writer.open(tmp_path / "y.db", ["nonsense"], application=APPLICATION)
    assert files(tmp_path) == {"x.db", "y.db.lock"}


@pytest.mark.parametrize("persisted", [False, True])
async def test_a_failed_commit_is_fatal(
    tmp_path: Path, persisted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await opened(tmp_path)

    def fail(connection: sqlite3.Connection) -> None:
        if persisted:
            connection.execute("COMMIT")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(writer, "commit", fail)
    with pytest.raises(FatalDatabaseError, match="disk I/O error"):
        await writer.run(insert(1))
    monkeypatch.undo()
    with pytest.raises(FatalDatabaseError, match="unusable since"):
        await writer.run(count)
    await writer.close()
    again = await opened(tmp_path)
    assert await again.run(count) == int(persisted)
    await again.close()


async def test_a_file_without_what_its_version_has_is_called_damaged(tmp_path: Path) -> None:
    """A statement that does not fit ends in one line that names the file, wherever it is run."""
    writer = await opened(tmp_path)
    await writer.close()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("PRAGMA writable_schema=1")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'a INTEGER', 'c INTEGER')")
        db.commit()
    again = await opened(tmp_path)
    with pytest.raises(DatabaseError, match=r"x\.db: it is damaged: .* a") as caught:
        await again.run(insert(1))
    assert not isinstance(caught.value, FatalDatabaseError)
    await again.close()


async def test_a_text_that_is_none_is_called_damaged(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    with pytest.raises(DatabaseError, match=r"x\.db: it is damaged: Could not decode"):
        await writer.run(lambda db: db.execute("SELECT CAST(x'ff' AS TEXT)").fetchall())
    assert await writer.run(count) == 0
    await writer.close()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [("SELECT CAST(x'ff' AS TEXT)", "decode"), ("SELECT c FROM t", "no such column: c")],
)
async def test_what_cannot_be_read_names_the_file(tmp_path: Path, sql: str, reason: str) -> None:
    await (await opened(tmp_path)).close()
    path = tmp_path / "x.db"
    with reading(path, "table of ours") as db:
        assert select(db, path, "SELECT count(*) FROM t WHERE 1 = ?", (1,)) == [(0,)]
        with pytest.raises(DatabaseError, match=rf"x\.db: .*{reason}"):
            select(db, path, sql)
    with (
        pytest.raises(DatabaseError, match=rf"x\.db: no table of ours: .*{reason}"),
        reading(path, "table of ours") as db,
    ):
        db.execute(sql).fetchall()


async def test_a_full_disk_is_fatal(tmp_path: Path) -> None:
    writer = await opened(tmp_path)

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count=8")
        connection.execute("INSERT INTO t (b) VALUES (zeroblob(1000000))")

    with pytest.raises(FatalDatabaseError, match="full"):
        await writer.run(fill)
    with pytest.raises(FatalDatabaseError):
        await writer.run(count)
    await writer.close()


async def test_a_lengthened_log_holds_what_is_committed_and_nothing_else(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    assert await writer.run(insert(1)) == 1
    await writer.lengthen_log()
    log = tmp_path / "x.db-wal"
    length = log.stat().st_size
    assert length == 1000 * PAGE_BYTES
    await writer.lengthen_log()
    assert await writer.run(insert(2)) == 1
    assert log.stat().st_size == length
    # As after a crash: another process finds the file as it is.
    (tmp_path / "copy").mkdir()
    for file in (tmp_path / "x.db", log):
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    copy = await opened(tmp_path / "copy")
    assert await copy.run(count) == 2
    assert await copy.run(insert(3)) == 1
    await copy.close()
    await writer.close()
    again = await opened(tmp_path)
    assert await again.run(count) == 2
    await again.close()


async def test_a_log_that_cannot_be_lengthened_is_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await opened(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(FatalDatabaseError, match="No space left"):
        await writer.lengthen_log()
    monkeypatch.undo()
    with pytest.raises(FatalDatabaseError, match="unusable since"):
        await writer.run(count)
    await writer.close()
