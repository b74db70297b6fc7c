"""A log that must not start or go on: it ends, or waits, says why, and loses nothing."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import decisions
import processes
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, ask, deployed, run, start_fails
from muniment.tlog.checkpoint import parse_signed_checkpoint

RECORDS = decisions.decisions(700, producer=GATEWAY)


def test_a_wrong_key_or_origin_for_the_database(tmp_path: Path) -> None:
    for name, origin in (("a", ORIGIN), ("b", ORIGIN), ("c", "log.example/other")):
        run(
            processes.muniment_log(
                "init", tmp_path / name, "--origin", origin, "--listen", "127.0.0.1:0"
            )
        )
    with processes.start(
        processes.muniment_log("serve", "--config", tmp_path / "a" / "log.toml")
    ) as log:
        assert log.terminate() == 0
    for name, word in (("b", "belongs to the keys"), ("c", "not log.example/other")):
        shutil.copy(tmp_path / "a" / "log.db", tmp_path / name / "log.db")
        start_fails(tmp_path / name / "log.toml", 6, word)


def test_a_restored_old_copy_is_refused(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        stream = made.stream()
        made.post(stream.take(RECORDS[:5]), PUBLISHED)
        assert made.log.terminate() == 0
        old = tmp_path / "old.db"
        database = made.config.parent / "log.db"
        shutil.copy(database, old)
        made.start_log()
        receipt = made.post(stream.take(RECORDS[:5]), PUBLISHED).json
        assert receipt["published"]
        assert made.log.terminate() == 0
        new = tmp_path / "new.db"
        shutil.copy(database, new)
        shutil.copy(old, database)
        start_fails(made.config, 7, "rolled back", "witness")
        # With the right database it starts again; without witnesses it only warns.
        shutil.copy(new, database)
        made.start_log()
        assert made.post(stream.take(RECORDS[:1]), PUBLISHED).status == 200
        made.log.terminate()
        for witness in made.witnesses:
            witness.kill()
        made.start_log()
        assert "a witness cannot be asked" in made.log.stderr


def test_without_a_quorum_it_says_so_and_loses_nothing(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        stream = made.stream()
        before = made.post(stream.take(RECORDS[:5]), PUBLISHED).json
        for witness in made.witnesses[:2]:
            witness.kill()
        problem = made.post(stream.take(RECORDS[:5]), "?wait=published&timeout=1").problem(
            503, "not-published"
        )
        receipt = problem["receipt"]
        assert receipt["first"] == before["size"]
        assert (
            parse_signed_checkpoint(ask(f"{made.url}/checkpoint").body).checkpoint.size
            == before["size"]
        )
        waiting = ask(f"{made.url}/readyz").problem(503, "no-quorum")
        assert waiting["integrated"] == receipt["size"]
        assert waiting["published"] == before["size"]
        ask(f"{made.url}/v1/entries/{receipt['first']}").problem(404, "not-published-yet")
        assert made.log.terminate() == 0


def test_a_dead_sequencer_ends_the_process_and_nothing_is_lost(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        stream = made.stream()
        receipt = made.post(stream.take(RECORDS[:5]), PUBLISHED).json
        # Answered when the head is stored: storing it would find the intruder, too.
        assert ask(f"{made.url}/checkpoint").status == 200
        # Somebody else writes to the database, against all locks.
        with contextlib.closing(sqlite3.connect(made.config.parent / "log.db")) as intruder:
            intruder.execute("PRAGMA wal_autocheckpoint=0")
            intruder.execute("UPDATE tree SET size = size + 1")
            intruder.commit()
            made.post(stream.peek(RECORDS[:5])).problem(503, "unavailable")
            assert made.log.wait() == 1
            assert "something else wrote to the database" in made.log.stderr
            start_fails(made.config, 4, "the partial bundle")
            intruder.execute("UPDATE tree SET size = size - 1")
            intruder.commit()
        made.start_log()
        again = made.post(stream.take(RECORDS[:5]), PUBLISHED).json
        assert again["first"] == receipt["size"]
