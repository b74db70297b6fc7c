"""A witness whose database is not there: it does not start, and begins anew by command alone."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import processes
from byzantine import ByzantineLog
from muniment_service.exits import EXIT_CONFIG, EXIT_DATABASE
from ports import free_port
from processes import muniment_witness
from stand import get, post
from waiting import eventually
from witness_deployment import Deployment


@pytest.fixture
def log() -> ByzantineLog:
    log = ByzantineLog()
    log.main.append(31)
    return log


@pytest.fixture
def made(tmp_path: Path, log: ByzantineLog) -> Deployment:
    made = Deployment(tmp_path, ["w1"], log)
    made.configure("w1", None, [])
    # It is started again and again: a port of the system's choice each time.
    config = made.config("w1")
    config.write_text(config.read_text().replace(f":{made.ports['w1']}", ":0"))
    return made


def database(made: Deployment) -> Path:
    return made.config("w1").with_name("witness.db")


def command(made: Deployment, *arguments: object) -> processes.Done:
    return processes.run(muniment_witness(*arguments, "--config", made.config("w1")))


@contextmanager
def running(made: Deployment) -> Iterator[processes.Process]:
    with processes.start(muniment_witness("serve", "--config", made.config("w1"))) as process:
        made.ports["w1"] = int(process.url.rpartition(":")[2])
        yield process


def ask(made: Deployment, view: Any, old: int = 0) -> tuple[int, bytes]:
    return post(made.url("w1") + "/add-checkpoint", view.add_checkpoint(old).encode())


def lose(made: Deployment) -> None:
    for file in database(made).parent.glob("witness.db*"):
        file.unlink()


def as_empty(path: Path) -> None:
    path.touch()


def as_nothing(_: Path) -> None:
    pass


def as_a_database_without_content(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")


def as_a_log_alone(path: Path) -> None:
    path.with_name("witness.db-wal").write_bytes(b"what was committed last")


@pytest.mark.parametrize(
    ("put", "what"),
    [
        (as_nothing, "no such database"),
        (as_empty, "empty (0 bytes)"),
        (as_a_database_without_content, "without any content"),
        (as_a_log_alone, "witness.db-wal is there"),
    ],
)
def test_without_its_database_a_witness_does_not_start(
    made: Deployment, log: ByzantineLog, put: Any, what: str
) -> None:
    with running(made):
        assert ask(made, log.main)[0] == 200
    lose(made)
    put(database(made))
    before = {file.name: file.stat().st_size for file in database(made).parent.iterdir()}
    for words in (["serve"], ["rotate-key", "--own", "ed25519"]):
        done = command(made, *words)
        assert done.returncode in {EXIT_DATABASE, EXIT_CONFIG}, done
        assert what in done.stderr
        assert "new-database" in done.stderr
    after = {file.name: file.stat().st_size for file in database(made).parent.iterdir()}
    after.pop("witness.db.lock", None)
    assert after == before
    # A copy of it is not made either, and a check does not call it sound.
    for words in (["check"], ["backup", str(made.folder / "copy.db")]):
        assert command(made, *words).returncode == EXIT_DATABASE
    assert not (made.folder / "copy.db").exists()


def test_a_witness_begins_anew_by_command_and_asks_before_it_signs(
    made: Deployment, log: ByzantineLog
) -> None:
    other = log.main.fork(7, 31)
    with running(made):
        assert ask(made, log.main)[0] == 200
    assert command(made, "new-database").returncode == EXIT_DATABASE  # it is there
    lose(made)
    assert command(made, "new-database").returncode == 0
    with running(made):
        for view in (other, log.main):
            status, body = ask(made, view)
            assert (status, json.loads(body)["type"]) == (503, "urn:muniment:problem:begun-anew")
        status, page = get(made.url("w1") + "/")
        assert b"was begun anew" in page
        assert command(made, "declare-new", log.origin).returncode == EXIT_DATABASE  # in use
    # Its log can tell, when it answers; the witness remembers what it was told.
    with log.serve() as stand:
        made.configure("w1", stand.url(), [])
        with running(made):
            made.settle("w1", 31)
            # It shows what it was told a moment before it signs again.
            eventually(lambda: ask(made, log.main.fork(7, 40))[0] != 503)
            assert ask(made, log.main.fork(7, 40)) == (409, b"31\n")
    made.configure("w1", f"http://127.0.0.1:{free_port()}", [])
    with running(made):
        log.main.append(1)
        assert ask(made, log.main, 31)[0] == 200


def test_the_operator_declares_a_log_new_on_record(made: Deployment, log: ByzantineLog) -> None:
    lose(made)
    assert command(made, "new-database").returncode == 0
    done = command(made, "declare-new", "log.example/unknown")
    assert (done.returncode, "no log log.example/unknown" in done.stderr) == (EXIT_CONFIG, True)
    assert command(made, "declare-new", log.origin).returncode == 0
    with closing(sqlite3.connect(database(made))) as db:
        assert db.execute("SELECT origin, by FROM settled").fetchall() == [(log.origin, "operator")]
        assert db.execute("SELECT command FROM made").fetchall() == [("new-database",)]
    with running(made):
        assert ask(made, log.main)[0] == 200
        told = json.loads(command(made, "status", "--json").stdout)["database"]
        assert (told["by"], told["lost"], told["settled"]) == ("new-database", "anew", [log.origin])
        assert "data   made by new-database; an older one" in command(made, "status").stdout
    done = command(made, "declare-new", log.origin)
    assert (done.returncode, "has cosigned size 31" in done.stderr) == (EXIT_DATABASE, True)


def test_a_new_witness_finds_no_database_of_before(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "witness.db").write_bytes(b"of keys of before")
    done = processes.run(muniment_witness("init", tmp_path / "w", "--name", "witness.example/w"))
    assert (done.returncode, "exists already" in done.stderr) == (EXIT_CONFIG, True)
    assert [file.name for file in (tmp_path / "w").iterdir()] == ["witness.db"]
