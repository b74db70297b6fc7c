"""A log on an old copy, whose witnesses were away when it started."""

import shutil
from pathlib import Path

import logsim
from log_deployment import PUBLISHED, deployed


def test_it_ends_when_its_witnesses_are_back(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        stream = made.stream()
        assert made.post(stream.take([logsim.decision(0)]), PUBLISHED).status == 200
        database = tmp_path / "log" / "log.db"
        made.log.terminate()
        shutil.copy(database, tmp_path / "copy.db")
        made.start_log()
        for number in range(1, 4):
            body = stream.take([logsim.decision(number)])
            assert made.post(body, PUBLISHED).status == 200
        made.log.terminate()
        for path in database.parent.glob("log.db*"):
            path.unlink()
        shutil.copy(tmp_path / "copy.db", database)
        for witness in made.witnesses:
            witness.pause()
        made.start_log()
        for witness in made.witnesses:
            witness.resume()
        assert made.log.wait() == 7, made.log.stderr
        assert "the database was rolled back: it holds 2 leaves" in made.log.stderr
