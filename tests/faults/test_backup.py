"""Backups of a running log: the copy is sound, restores, and is refused when it is old."""

import random
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

import decisions
import processes
from faults.rot import flip
from log_deployment import GATEWAY, PUBLISHED, Deployment, ask, deployed
from muniment_log.cli.exits import EXIT_DAMAGED, EXIT_ROLLED_BACK
from muniment_service.exits import EXIT_DATABASE
from processes import ProcessFailedError

RECORDS = decisions.decisions(600, producer=GATEWAY)


def command(*arguments: object) -> processes.Done:
    argv = processes.muniment_log(*arguments)
    return processes.run(argv)


def restore(made: Deployment, copy: Path) -> None:
    """As the manual says: the copy in the place of the database, the old WAL away."""
    database = made.config.with_name("log.db")
    for old in database.parent.glob("log.db*"):
        old.unlink()
    shutil.copyfile(copy, database)


def test_backup_of_a_running_log(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        stream = made.stream()
        receipt = made.post(stream.take(RECORDS[:300]), PUBLISHED).json
        copy = tmp_path / "copy.db"
        done = threading.Event()

        def load() -> None:
            busy = made.stream()
            while not done.is_set():
                assert made.post(busy.take(RECORDS[:20])).status == 200

        thread = threading.Thread(target=load)
        thread.start()
        try:
            assert command("backup", copy, "--config", made.config).returncode == 0
            checked = command("check", "--config", made.config)
            assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
        finally:
            done.set()
            thread.join()
        assert copy.stat().st_mode & 0o077 == 0
        assert command("backup", copy, "--config", made.config).returncode == EXIT_DATABASE
        # Beside a running log nothing is repaired.
        refused = command("repair", "--config", made.config)
        assert refused.returncode == EXIT_DATABASE
        assert "in use" in refused.stderr

        made.post(stream.take(RECORDS[300:301]), PUBLISHED)
        made.log.terminate()
        newest = tmp_path / "newest.db"
        assert command("backup", newest, "--config", made.config).returncode == 0

        restore(made, copy)
        assert command("check", "--config", made.config).returncode == 0
        with pytest.raises(ProcessFailedError, match=f"exit code {EXIT_ROLLED_BACK}"):
            made.start_log()

        restore(made, newest)
        assert command("check", "--quick", "--config", made.config).returncode == 0
        made.start_log()
        again = made.post(stream.take(RECORDS[301:302]), PUBLISHED)
        assert again.status == 200
        assert ask(f"{made.url}/v1/entries/{receipt['first']}").body == RECORDS[0]

        # A damaged tile is named, rebuilt in so many words, and gone.
        made.log.terminate()
        database = made.config.with_name("log.db")
        sql = (
            "import sqlite3,sys; d=sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); d.commit()"
        )
        spoil = "UPDATE tile SET data = zeroblob(8192) WHERE level = 0 AND idx = 0"
        subprocess.run([processes.sys.executable, "-c", sql, str(database), spoil], check=True)
        checked = command("check", "--config", made.config)
        assert checked.returncode == EXIT_DAMAGED
        assert checked.stdout == "damaged tile: tile 0 of level 0 is missing or damaged\n"
        repaired = command("repair", "--config", made.config)
        assert repaired.returncode == 0, repaired.stderr
        assert repaired.stdout == "rebuilt tile: tile 0 of level 0 is missing or damaged\n"
        assert command("check", "--config", made.config).returncode == 0

        # Damaged leaves are named, and nothing is built on them.
        flip(database, "bundle", "data", "idx = 0", random.Random(6))
        damaged = database.read_bytes()
        repaired = command("repair", "--config", made.config)
        assert repaired.returncode == EXIT_DAMAGED
        assert "leaves are damaged: nothing can be rebuilt" in repaired.stderr
        assert database.read_bytes() == damaged
        checked = command("check", "--config", made.config)
        assert checked.returncode == EXIT_DAMAGED
        assert "damaged bundle: " in checked.stdout
