"""Query-only connections: they share the work, and an error leaves none behind busy."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from muniment.local.sqlitefile import AbsentDatabaseError, Writer
from muniment_service.readers import Readers

COUNT = "SELECT count(*) FROM t"


async def opened(folder: Path) -> Writer:
    return await Writer.open(
        folder / "x.db", ["CREATE TABLE t (a INTEGER PRIMARY KEY)"], application=0x4D000001
    )


async def test_readers_share_the_work(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    readers = await Readers.open(tmp_path / "x.db", 3)
    for number in range(5):
        await writer.run(lambda db, value=number: db.execute("INSERT INTO t VALUES (?)", (value,)))  # type: ignore[misc]
        assert set(await asyncio.gather(*(readers.row(COUNT) for _ in range(20)))) == {
            (number + 1,)
        }
    for _ in range(5):
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await readers.rows("SELECT * FROM u")
    assert await readers.rows(COUNT) == [(5,)]
    assert await readers.row("SELECT a FROM t WHERE a = ?", (17,)) is None
    await readers.close()
    await writer.close()


async def test_readers_write_nothing(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    readers = await Readers.open(tmp_path / "x.db", 1)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await readers.rows("INSERT INTO t VALUES (1)")
    await readers.close()
    await writer.close()


async def test_a_question_that_is_given_up_keeps_no_connection(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    readers = await Readers.open(tmp_path / "x.db", 1)
    slow = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
    asked = asyncio.create_task(readers.rows(slow + "SELECT count(*) FROM n"))
    await asyncio.sleep(0)
    asked.cancel()
    assert await readers.rows(COUNT) == [(0,)]
    assert asked.cancelled()
    await readers.close()
    await writer.close()


def assert_threads_ended() -> None:
    """No thread of aiosqlite goes on; one that outlives its event loop fails the test of pytest."""
    for thread in threading.enumerate():
        if "connection_worker" in thread.name:
            thread.join(60)
            assert not thread.is_alive()


async def test_what_is_no_database_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(AbsentDatabaseError, match="no such database"):
        await Readers.open(tmp_path / "x.db", 2)
    # A thread of aiosqlite that outlives its event loop ends in a traceback.
    assert_threads_ended()


@pytest.mark.parametrize("steps", range(6))
async def test_an_opening_that_is_given_up_leaves_no_thread(tmp_path: Path, steps: int) -> None:
    writer = await opened(tmp_path)
    opening = asyncio.create_task(Readers.open(tmp_path / "x.db", 2))
    for _ in range(steps):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert_threads_ended()
    await writer.close()


async def test_a_closing_that_is_given_up_leaves_no_thread(tmp_path: Path) -> None:
    writer = await opened(tmp_path)
    readers = await Readers.open(tmp_path / "x.db", 2)
    closing = asyncio.create_task(readers.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert_threads_ended()
    await writer.close()
