"""A file system that is full or read-only ends a service for now, and loses nothing.

The volume is a small tmpfs, so these tests need the right to mount one; they are skipped without.
"""

import os
import urllib.error
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

import processes
from decisions import decisions
from faults.volume import fill, make_room, mounted, remount
from log_deployment import GATEWAY, PUBLISHED, Deployment, ask, deployed
from muniment_service.exits import EXIT_UNWRITABLE

MIB = 1 << 20
MOST_BATCHES = 200
"""Far more than fill what a test leaves free."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB: less than a write-ahead log of full length."""
    with mounted(tmp_path / "volume") as folder:
        yield folder


def submit_until_it_ends(made: Deployment) -> int:
    """Logs until the log ends; the leaves that it has acknowledged."""
    stream = made.stream()
    records = decisions(100, producer=GATEWAY)
    acknowledged = 0
    for _ in range(MOST_BATCHES):
        try:
            answer = made.post(stream.take(records))
        except (OSError, HTTPException, urllib.error.URLError):
            return acknowledged
        if answer.status != 200:
            assert answer.status in {500, 503}, answer.body
            return acknowledged
        acknowledged = answer.json["first"] + len(records)
    raise AssertionError("the log goes on for ever")


def serve(config: Path) -> processes.Done:
    return processes.run(processes.muniment_log("serve", "--config", config))


def test_a_log_gives_way_to_a_full_disk_and_comes_back(volume: Path) -> None:
    with deployed(volume) as made:
        batch = made.stream().take(decisions(1, producer=GATEWAY))
        assert made.post(batch, PUBLISHED).status == 200
        # Full: it answers with an error, and ends with a code after which it is started again.
        fill(volume, 100_000)
        acknowledged = submit_until_it_ends(made)
        assert made.log.wait() == EXIT_UNWRITABLE, made.log.stderr
        assert "the file system is full" in made.log.stderr
        assert "Fatal Python error" not in made.log.stderr
        # There is room again, and much less than a write-ahead log takes as a rule.
        make_room(volume)
        fill(volume, 6 * MIB)
        made.start_log()
        size = int(ask(f"{made.url}/readyz").json["integrated"])
        assert size >= acknowledged
        assert made.post(made.stream().take(decisions(1, producer=GATEWAY))).status == 200
        assert made.log.terminate() == 0
        check = processes.muniment_log("check", "--config", made.config)
        assert processes.run(check).returncode == 0


def test_a_backup_says_that_there_is_no_room_for_it(tmp_path: Path, volume: Path) -> None:
    folder = tmp_path / "log"
    init = ("init", folder, "--origin", "log.example/a", "--listen", "127.0.0.1:0")
    processes.run(processes.muniment_log(*init), code=0)
    backup = ("backup", "--config", folder / "log.toml", volume / "copy.db")
    for left in (0, 8192):
        fill(volume, left)
        done = processes.run(processes.muniment_log(*backup), code=EXIT_UNWRITABLE)
        assert "the file system is full" in done.stderr
        assert sorted(path.name for path in volume.iterdir()) == ["another"]
        make_room(volume)
    processes.run(processes.muniment_log(*backup), code=0)


def test_a_witness_gives_way_to_a_full_disk_and_comes_back(volume: Path) -> None:
    with deployed(volume) as made:
        config = volume / "w0" / "witness.toml"
        assert made.witnesses[0].terminate() == 0
        start = processes.muniment_witness("serve", "--config", config)
        fill(volume, 0)
        done = processes.run(start, code=EXIT_UNWRITABLE)
        assert "the file system is full" in done.stderr
        make_room(volume)
        processes.start(start).kill()


def test_what_makes_keys_says_that_there_is_no_room_for_them(volume: Path) -> None:
    log = processes.muniment_log("init", volume / "log", "--origin", "log.example/a")
    witness = processes.muniment_witness("init", volume / "w", "--name", "witness.example/w")
    fill(volume, 0)
    for line in (log, witness):
        done = processes.run(line, code=EXIT_UNWRITABLE)
        assert "No space left" in done.stderr
    make_room(volume)
    for line in (log, witness):
        processes.run(line, code=0)
    rotate = ("rotate-key", "--config", volume / "log" / "log.toml", "--add", "ed25519")
    remount(volume, "ro")
    processes.run(processes.muniment_log(*rotate), code=EXIT_UNWRITABLE)


@pytest.mark.parametrize("program", ["log", "witness"])
def test_a_file_system_that_is_read_only_now_is_no_broken_database(
    tmp_path: Path, volume: Path, program: str
) -> None:
    command = getattr(processes, f"muniment_{program}")
    name = {"log": ("--origin", "log.example/a"), "witness": ("--name", "witness.example/w")}
    folder = volume / program
    listen = ("--listen", "127.0.0.1:0")
    processes.run(command("init", folder, *name[program], *listen), code=0)
    start = command("serve", "--config", folder / f"{program}.toml")
    assert processes.start(start).terminate() == 0
    remount(volume, "ro")
    config = ("--config", folder / f"{program}.toml")
    backup = command("backup", *config, tmp_path / "copy.db")
    for line in (start, command("check", *config), backup):
        done = processes.run(line, code=EXIT_UNWRITABLE)
        assert "the file system is read-only" in done.stderr
    remount(volume, "rw")
    processes.start(start).kill()


def test_what_is_not_ours_to_write_needs_a_person(tmp_path: Path) -> None:
    """A missing right looks like a read-only file system to SQLite; it does not pass."""
    if not os.geteuid():
        pytest.skip("everything may be written by root")
    folder = tmp_path / "log"
    init = ("init", folder, "--origin", "log.example/a", "--listen", "127.0.0.1:0")
    processes.run(processes.muniment_log(*init), code=0)
    (folder / "log.db").chmod(0o400)
    assert serve(folder / "log.toml").returncode == 4
