"""Entries leave a log for an archive under a retention policy, and come back; proofs stay."""

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import logsim
import processes
from log_deployment import GATEWAY, PUBLISHED, Deployment, ask, deployed
from muniment.tlog.tiles import ENTRIES, Tile
from processes import muniment, muniment_log
from staticserver import static
from waiting import SECONDS

THEN = 1_600_000_000_000
DAY = 86_400_000
COUNT = 700


def record(number: int, stated: int = THEN) -> bytes:
    value = json.loads(logsim.decision(number, producer=GATEWAY))
    return json.dumps({**value, "time": stated + number}, separators=(",", ":")).encode()


def run(*argv: object, code: int = 0) -> str:
    done = processes.run([str(word) for word in argv], code=code)
    return done.stdout + done.stderr


class Log:
    """A log of old entries, its proofs, and the commands about it."""

    def __init__(self, made: Deployment, folder: Path) -> None:
        self.made = made
        self.folder = folder
        self.archive = folder / "archive"
        self.config = ("--config", made.config)
        self.policy = ("--policy", made.folder / "log" / "witnesses.policy")
        self.stream = made.stream()
        self.more(COUNT)

    def more(self, count: int, stated: int = THEN) -> int:
        start = len(self.made.records)
        records = [record(number, stated) for number in range(start, start + count)]
        self.made.records += records
        answer = self.made.post(self.stream.take(records), PUBLISHED)
        assert answer.status == 200, answer.body
        ask(f"{self.made.url}/checkpoint")  # it answers when that is stored
        return int(answer.json["size"])

    def prune(self, *options: object, archive: Path | None = None, code: int = 0) -> str:
        where = ("--archive", archive or self.archive)
        return run(*muniment_log("prune", *self.config, *options, *where), code=code)

    def allow(self, older_than: str = "365d") -> None:
        with self.made.config.open("a") as file:
            file.write(f'[pruning]\nolder_than = "{older_than}"\n')

    def stop(self) -> None:
        self.made.log.terminate()

    def start(self) -> str:
        self.made.start_log()
        return self.made.url

    def audit(self, url: str, *options: object, code: int = 0) -> str:
        argv = muniment("audit", "--log", url, *self.policy, *options)
        return run(*argv, "--gateway", self.made.signer.vkey, code=code)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with deployed(tmp_path / "made") as made:
        yield Log(made, tmp_path)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()


def bundle(index: int) -> str:
    return Tile(ENTRIES, index).path


def test_entries_go_and_proofs_stay(log: Log, tmp_path: Path) -> None:
    proof, entry = tmp_path / "5.tlog-proof", tmp_path / "5.json"
    url = log.made.url
    given = ("--index", "5", "--out", proof, "--entry-out", entry)
    run(*muniment("prove", "--log", url, *log.policy, *given))
    state = tmp_path / "audit.state"
    log.audit(url, "--state", state)
    assert ask(f"{url}/min_index").body == b"0\n"

    # Nothing goes without a policy, under a younger age than its own, or beside the log.
    log.stop()
    assert "no retention policy" in log.prune("--before", "512", code=3)
    log.allow()
    assert "asks for 365d" in log.prune("--older-than", "1d", code=3)
    log.start()
    assert "in use" in log.prune("--before", "512", code=4)
    assert not log.archive.exists()
    log.stop()

    assert "entries from 512 on; 512 went to" in log.prune("--before", "600")
    url = log.start()
    assert ask(f"{url}/min_index").body == b"512\n"
    for path in (bundle(0), bundle(1), "v1/entries/5"):
        ask(f"{url}/{path}").problem(410, "pruned")
    for path in ("tile/0/000", "tile/0/001", f"{bundle(2)}.p/100", "v1/entries/600"):
        assert ask(f"{url}/{path}").status == 200

    # A proof that was given holds, a new one can be made, and the index tells what it can.
    run(*muniment("verify", proof, "--entry", entry, *log.policy))
    with urllib.request.urlopen(f"{url}/v1/proofs/inclusion?index=5", timeout=SECONDS) as answer:
        proof.write_bytes(answer.read())
    run(*muniment("verify", proof, "--entry", entry, *log.policy))
    assert "pruned" in run(*muniment("prove", "--log", url, *log.policy, *given[:2], "--out",
                                     tmp_path / "new", "--entry-out", tmp_path / "new.json"),
                           code=6)  # fmt: skip

    # The log goes on, and whoever was past the minimum index notices nothing.
    log.more(400)
    log.audit(url, "--state", state)
    assert "the log has pruned what this audit has to read" in log.audit(url, code=4)
    log.stop()
    assert "sound" in run(*muniment_log("check", *log.config))
    assert "sound" in run(*muniment_log("check", "--quick", *log.config))
    assert "sound" in run(*muniment_log("repair", *log.config))

    # The archive is the log of that day, whole.
    with static(log.archive) as archived:
        assert "clean" in log.audit(archived)

    # Another archive will not do; the same one takes what has come since.
    assert "lacks entries before 512" in log.prune(
        "--older-than", "365d", archive=tmp_path / "other", code=4
    )
    assert "512 went to" in log.prune("--older-than", "365d")
    assert "nothing to prune" in log.prune("--older-than", "365d")
    log.start()
    log.stop()
    with static(log.archive) as archived:
        assert "clean" in log.audit(archived)

    # Back again: nothing that differs by a bit is taken.
    damaged = log.archive / bundle(1)
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    unprune = muniment_log("unprune", *log.config, log.archive)
    assert "entry bundle 1 is not that of the log's hash tile" in run(*unprune, code=4)
    damaged.write_bytes(data)
    assert "1024 entries are back" in run(*unprune)
    assert "sound" in run(*muniment_log("check", *log.config))
    url = log.start()
    assert ask(f"{url}/{bundle(0)}").status == 200
    assert "clean" in log.audit(url)


def test_what_is_young_stays(log: Log) -> None:
    log.more(300, int(time.time() * 1000))
    log.allow()
    log.stop()
    refused = log.prune("--before", "900", code=4)
    assert "[pruning] older_than keeps: --before 512 at the most" in refused
    assert "entries from 512 on" in log.prune("--older-than", "366d")


def test_nothing_goes_when_the_archive_does_not_hold_it(log: Log, tmp_path: Path) -> None:
    log.allow()
    log.stop()
    run(*muniment_log("export", *log.config, log.archive))
    damaged = log.archive / bundle(0)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert "000 holds something else than what belongs there" in log.prune(
        "--before", "512", code=4
    )
    url = log.start()
    assert ask(f"{url}/min_index").body == b"0\n"
    assert ask(f"{url}/{bundle(0)}").status == 200


def test_an_export_follows_and_its_archive_does_not(log: Log, tmp_path: Path) -> None:
    log.allow()
    public = tmp_path / "public"
    export = muniment_log("export", *log.config, public)
    run(*export)
    log.stop()
    log.prune("--before", "512")
    log.start()
    log.more(10)
    assert (public / bundle(0)).exists()
    run(*export)
    assert (public / "min_index").read_text() == "512\n"
    assert not (public / bundle(0)).exists()
    assert not (public / bundle(1)).exists()
    assert (public / "tile/0/000").exists()
    run(*muniment_log("export", *log.config, log.archive))
    assert (log.archive / bundle(0)).exists()
    assert not (log.archive / "min_index").exists()
    # A new target lacks what nobody has any more, and says so.
    refused = run(*muniment_log("export", *log.config, tmp_path / "late"), code=4)
    assert "lacks entries before 512, which the log has pruned" in refused
    shutil.copytree(log.archive, tmp_path / "copy")
    run(*muniment_log("export", *log.config, tmp_path / "copy"))


def test_what_was_pruned_is_not_in_the_file(log: Log) -> None:
    log.allow()
    log.stop()
    database = log.made.folder / "log" / "log.db"
    assert b'"id":"d-77"' in database.read_bytes()
    log.prune("--before", "512")
    left = database.read_bytes()
    for path in database.parent.glob("log.db-*"):
        left += path.read_bytes()
    assert b'"id":"d-77"' not in left
    assert b'"id":"d-690"' in left
