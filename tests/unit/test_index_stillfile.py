"""Replicas where nothing can be written: read as they are, or refused with what to do."""

import asyncio
import contextlib
import os
import pickle
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import index_tools as tools
from logsim import lines
from muniment.index.reader import IndexReader
from muniment.local.sqlitefile import DatabaseError

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path others may walk; not so pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="muniment-still-"))
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def read_only(folder: Path, work: Callable[[], Any], *, hidden: Path | None = None) -> Any:
    """What some work gives, or raises, where it may write nothing in a folder, and not read one."""
    for file in folder.iterdir():
        file.chmod(0 if file == hidden else 0o444)
    folder.chmod(0o555)
    if os.geteuid():
        return _outcome(work)
    # Root may write everywhere; a child that is nobody may not.
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(into, pickle.dumps(_outcome(work)))
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as read:
        data = read.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except DatabaseError as error:
        return str(error)


def replica(folder: Path) -> Path:
    path = folder / "replica #1?.db"
    asyncio.run(tools.follow(path, tools.MemorySource(lines(20))))
    return path


def test_a_replica_of_a_stopped_follower_is_read_where_nothing_can_be_written(
    folder: Path,
) -> None:
    path = replica(folder)

    def work() -> tuple[int, list[bool]]:
        with IndexReader(path) as reader:
            head = reader.head()
            return head.size, [leaf.startswith(b"{") for leaf in reader.leaves([0, 1]).values()]

    size, leaves = read_only(folder, work)
    assert size >= 20
    assert leaves == [True, True]
    assert sorted(file.name for file in folder.iterdir() if file.suffix != ".lock") == [path.name]


def test_a_write_ahead_log_that_cannot_be_read_is_named(folder: Path) -> None:
    path = replica(folder)
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("UPDATE state SET time = time + 1")
    writer.commit()
    copied = folder / "copy.db"
    shutil.copy(path, copied)
    shutil.copy(f"{path}-wal", f"{copied}-wal")
    said = read_only(folder, lambda: IndexReader(copied).head())
    writer.close()
    assert "has a write-ahead log" in said
    assert "let the follower stop" in said


@pytest.mark.parametrize("end", ["", "-wal"])
def test_a_file_that_may_not_be_read_is_named(folder: Path, end: str) -> None:
    path = replica(folder)
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("UPDATE state SET time = time + 1")
        writer.commit()

        def ask() -> Any:
            with IndexReader(path) as reader:
                return reader.head()

        said = read_only(folder, ask, hidden=folder / f"{path.name}{end}")
    assert f"{path.name}{end}: may not be read by this user" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write where others cannot")
def test_a_file_that_changes_after_all_is_no_answer(folder: Path) -> None:
    path = replica(folder)
    told = folder / "told.db"
    shutil.copy(path, told)
    into_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    if not child:  # it writes where its parent's child may not, when it is told to
        os.read(into_child, 1)
        with tools.database(told) as writer:
            writer.execute("UPDATE state SET time = time + 1")
        os.write(from_child, b".")
        os._exit(0)

    def work() -> str:
        with IndexReader(told) as reader:
            assert reader.head() is not None
            os.write(from_parent, b".")
            os.read(to_parent, 1)
            return _outcome(reader.head)  # type: ignore[no-any-return]  # words

    try:
        assert "written to while it was read" in read_only(folder, work)
    finally:
        os.close(from_parent)
        os.waitpid(child, 0)
