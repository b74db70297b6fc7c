"""A log whose database is absent, empty or another's does not begin anew under its keys."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import processes
from decisions import decisions
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, Deployment, Stream, ask, deployed
from muniment_log.cli.exits import EXIT_IDENTITY, EXIT_ROLLED_BACK
from muniment_service.exits import EXIT_DATABASE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A log with a past, whose witnesses do not answer when it starts again."""
    with deployed(tmp_path_factory.mktemp("made")) as made:
        batch = made.stream().take(decisions(1, producer=GATEWAY))
        assert made.post(batch, PUBLISHED).status == 200
        assert made.log.terminate() == 0
        for number, witness in enumerate(made.witnesses):
            config = made.folder / f"w{number}" / "witness.toml"
            address = witness.url.removeprefix("http://")
            config.write_text(config.read_text().replace("127.0.0.1:0", address))
            witness.kill()
        yield made


@pytest.fixture
def home(made: Deployment, tmp_path: Path) -> Path:
    """A copy of its folder, to be spoilt."""
    shutil.copytree(made.config.parent, tmp_path / "log")
    return tmp_path / "log"


def absent(home: Path) -> None:
    (home / "log.db").unlink()


def empty(home: Path) -> None:
    (home / "log.db").write_bytes(b"")


def no_tables(home: Path) -> None:
    absent(home)
    with closing(sqlite3.connect(home / "log.db")) as db:
        db.execute("VACUUM")
    assert (home / "log.db").stat().st_size


def no_identity(home: Path) -> None:
    with closing(sqlite3.connect(home / "log.db")) as db:
        db.execute("DELETE FROM identity")
        db.commit()


def only_wal(home: Path) -> None:
    """What is left when the file alone is lost; SQLite would delete the rest."""
    absent(home)
    (home / "log.db-wal").write_bytes(b"committed, not checkpointed")


def unmounted(home: Path) -> None:
    """The database on a volume of its own, which is not there."""
    absent(home)
    config = home / "log.toml"
    config.write_text(config.read_text().replace('"log.db"', '"volume/log.db"'))


def mount_point(home: Path) -> None:
    unmounted(home)
    (home / "volume").mkdir()


@pytest.mark.parametrize(
    "spoil", [absent, empty, no_tables, no_identity, only_wal, unmounted, mount_point]
)
def test_what_has_no_past_is_not_new(home: Path, spoil: Callable[[Path], None]) -> None:
    spoil(home)
    before = sorted(path.name for path in home.rglob("*") if not path.is_dir())
    done = processes.run(
        processes.muniment_log("serve", "--config", home / "log.toml"), code=EXIT_DATABASE
    )
    assert "log.db" in done.stderr
    assert "mount its volume or restore a backup" in done.stderr
    assert f"muniment-log new-database --config {home / 'log.toml'}" in done.stderr
    assert not done.stdout
    after = sorted(path.name for path in home.rglob("*") if not path.is_dir())
    assert [name for name in after if name != "log.db.lock"] == [
        name for name in before if name != "log.db.lock"
    ]


def test_the_database_of_another_log_is_refused(home: Path, tmp_path: Path) -> None:
    for name, origin in (("same", ORIGIN), ("other", "log.example/other")):
        init = ("init", tmp_path / name, "--origin", origin)
        processes.run(processes.muniment_log(*init), code=0)
        shutil.copy(tmp_path / name / "log.db", home / "log.db")
        processes.run(
            processes.muniment_log("serve", "--config", home / "log.toml"), code=EXIT_IDENTITY
        )
    absent(home)
    with closing(sqlite3.connect(home / "log.db")) as db:
        db.executescript(f"CREATE TABLE t (a); PRAGMA application_id={0x4D756E49}")
    done = processes.run(
        processes.muniment_log("serve", "--config", home / "log.toml"), code=EXIT_DATABASE
    )
    assert "database of another program" in done.stderr


def test_a_new_database_is_made_by_command_and_says_so(tmp_path: Path) -> None:
    home = tmp_path / "log"
    init = ("init", home, "--origin", ORIGIN, "--listen", "127.0.0.1:0")
    processes.run(processes.muniment_log(*init), code=0)
    config = home / "log.toml"
    new = processes.muniment_log("new-database", "--config", config)
    assert _status(config)["by"] == "init"
    done = processes.run(new, code=EXIT_DATABASE)
    assert "exists already" in done.stderr
    absent(home)
    (home / "log.db-wal").write_bytes(b"all that is left of it")
    done = processes.run(new, code=EXIT_DATABASE)
    assert "log.db-wal" in done.stderr
    (home / "log.db-wal").unlink()
    processes.run(new, code=0)
    told = _status(config)
    assert told["by"] == "new-database"
    assert told["made"]


def test_a_log_of_before_goes_on(home: Path) -> None:
    """A database that does not say how it came to be, as version 0.1.0 made it."""
    with closing(sqlite3.connect(home / "log.db")) as db:
        db.executescript(
            "DROP TABLE made; DROP TABLE recall; DROP TABLE copied; DROP TABLE pruned; "
            "DROP TABLE recalled; DROP TABLE recalled_by_name; DROP TABLE recalled_state; "
            "PRAGMA user_version=1"
        )
    assert _status(home / "log.toml") == {"made": None, "by": None}


def _status(config: Path) -> dict[str, str | None]:
    with processes.start(processes.muniment_log("serve", "--config", config)) as log:
        done = processes.run(processes.muniment_log("status", "--config", config), code=0)
        assert log.terminate() == 0
    told = json.loads(done.stdout)["database"]
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("left", ["log.db", "log.toml"])
def test_init_makes_nothing_beside_what_is_left_of_a_log(home: Path, left: str) -> None:
    for path in home.iterdir():
        if path.name != left:
            path.unlink()
    done = processes.run(processes.muniment_log("init", home, "--origin", ORIGIN), code=3)
    assert f"{left}: exists already" in done.stderr
    assert [path.name for path in home.iterdir()] == [left]


def test_a_database_that_was_made_in_error_takes_nothing(
    made: Deployment, home: Path, tmp_path: Path
) -> None:
    """Its witnesses do not answer at first, and then know better."""
    absent(home)
    config = home / "log.toml"
    text = config.read_text()
    config.write_text(text.replace("\n[limits]\n", "\n[limits]\nstart_seconds = 0.2\n"))
    processes.run(processes.muniment_log("new-database", "--config", config), code=0)
    with processes.start(processes.muniment_log("serve", "--config", config)) as log:
        body = Stream("fresh", made.signer).take(decisions(1, producer=GATEWAY))
        ask(f"{log.url}/v1/batches", body).problem(503, "unavailable")
        detail = ask(f"{log.url}/readyz").problem(503, "unavailable")["detail"]
        assert "this log is empty" in detail
        with contextlib.ExitStack() as stack:
            for number in range(len(made.witnesses)):
                witness = ("serve", "--config", made.folder / f"w{number}" / "witness.toml")
                stack.enter_context(processes.start(processes.muniment_witness(*witness)))
            assert log.wait() == EXIT_ROLLED_BACK
        assert "rolled back" in log.stderr


def test_a_restored_copy_takes_nothing_while_no_witness_answers(
    made: Deployment, home: Path
) -> None:
    config = home / "log.toml"
    text = config.read_text()
    config.write_text(text.replace("\n[limits]\n", "\n[limits]\nstart_seconds = 0.2\n"))
    backup = ("backup", "--config", config, home / "copy.db")
    processes.run(processes.muniment_log(*backup), code=0)
    (home / "copy.db").rename(home / "log.db")
    with processes.start(processes.muniment_log("serve", "--config", config)) as log:
        body = Stream("another", made.signer).take(decisions(1, producer=GATEWAY))
        told = ask(f"{log.url}/v1/batches", body).problem(503, "unavailable")
        assert "a copy that `backup` or a restore made" in told["detail"]
        assert log.terminate() == 0
