"""A gateway's files after an error of their disk: the next use opens them anew."""

import sqlite3
from functools import partial
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NoReturn

import pytest

from muniment.local.mending import MendingWriter
from muniment.local.sqlitefile import DatabaseError, Writer
from muniment_gateway.store import held
from muniment_gateway.store.database import open_database
from muniment_gateway.store.inforce import InForceStore
from muniment_gateway.store.originals import Originals, read_original


def failing(_: Connection) -> NoReturn:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    raise error


async def break_(of: Any) -> None:
    """Has a transaction end as one does when the disk fails."""
    with pytest.raises(DatabaseError, match="disk I/O error"):
        await of.run(failing)


async def test_what_could_not_be_kept_is_kept_once_the_disk_works(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    database = await open_database(path)
    originals = await Originals.read(database)
    assert await originals.keep([b"before"]) == 0
    await break_(database)
    assert await originals.keep([b"after", b"before"]) == 0
    assert originals.size == len(b"before") + len(b"after")
    store = await InForceStore.read(database)
    await database.close()
    assert store is not None
    assert read_original(path, sha256(b"after").digest()) == b"after"


async def test_a_file_that_cannot_be_opened_anew_is_tried_again_at_each_use(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    database = await open_database(path)
    originals = await Originals.read(database)
    await break_(database)
    away = path.rename(tmp_path / "away.db")
    path.mkdir()
    for _ in range(2):
        with pytest.raises(DatabaseError):
            await originals.keep([b"meanwhile"])
    path.rmdir()
    away.rename(path)
    assert await originals.keep([b"meanwhile"]) == 0
    await database.close()


async def test_held_calls_go_on(tmp_path: Path) -> None:
    file = partial(
        Writer.open,
        tmp_path / "held.db",
        held.MIGRATIONS,
        application=held.APPLICATION,
        shared=True,
    )
    writer = await MendingWriter.open(file)
    calls = held.HeldCalls(writer)
    await break_(writer)
    assert await calls.get("none") is None
    await calls.close()
