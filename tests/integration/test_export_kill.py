"""`muniment export` is killed (kill -9) at each step that matters, and loses nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

import export_tools as tools
import index_tools
from muniment.cli.exits import BAD_INPUT
from stand import Answer, Asked, Stand
from waiting import eventually

COUNT = 150
STARTS = 40  # at most: one at a time ends at a later step

# Ends its own process at the n-th of the calls that make things durable, before it or behind it.
KILLED = """
import os, signal, sys
from pathlib import Path
at, behind = int(sys.argv.pop(1)), sys.argv.pop(1) == "behind"
calls = 0
def dying(call):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == at and not behind:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*args, **kwargs)
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped
os.fsync, Path.replace = dying(os.fsync), dying(Path.replace)
from muniment.cli import main
main()
"""

# A disk that has room for 64 KiB of a file.
FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
from muniment.cli import main
main()
"""


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    return index_tools.make_entries(Random(9), COUNT)


@pytest.fixture
def command(tmp_path: Path, entries: list[bytes]) -> list[str]:
    replica = tmp_path / "replica.db"
    tools.follow(replica, index_tools.MemorySource(entries))
    return [
        *("export", "--replica", str(replica), "--format", "jsonl", "--batch", "40"),
        *("--cursor", str(tmp_path / "cursor")),
    ]


@pytest.mark.parametrize("side", ["before", "behind"])
def test_a_file_gets_every_record(
    command: list[str], entries: list[bytes], tmp_path: Path, side: str
) -> None:
    out = tmp_path / "out.jsonl"
    killed, code = 0, -signal.SIGKILL
    for at in range(1, STARTS):
        # Each run is killed at a later call; it goes on behind what the runs before acknowledged.
        argv = [sys.executable, "-c", KILLED, str(at % 7 + 1), side, *command, "--to", str(out)]
        code = subprocess.run(argv, capture_output=True, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            break
        killed += 1
    assert code == 0
    assert killed >= 3
    found = [json.loads(line)["index"] for line in out.read_bytes().splitlines()]
    assert sorted({*found}) == index_tools.known_indices(entries)
    assert found[0] == index_tools.known_indices(entries)[0]


def test_a_file_for_which_the_disk_is_full_is_named_and_gone_on_with(
    command: list[str], entries: list[bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    earlier = b'{"n":1}\n' * ((1 << 13) - 10)
    out.write_bytes(earlier)
    # A request that the file's buffer holds as a whole: closing the file would write it again.
    argv = [sys.executable, "-c", FULL, *command, "--batch", "1", "--to", str(out)]
    done = subprocess.run(argv, capture_output=True, check=False, text=True)
    assert done.stderr.endswith(f"muniment: {out}: File too large\n")
    assert "Traceback" not in done.stderr
    assert done.returncode == BAD_INPUT
    argv = [sys.executable, "-m", "muniment", *command, "--to", str(out)]
    subprocess.run(argv, capture_output=True, check=True)
    found = [json.loads(line) for line in out.read_bytes().removeprefix(earlier).splitlines()]
    assert [one["index"] for one in found] == index_tools.known_indices(entries)


@pytest.mark.parametrize("acknowledges", [False, True])
def test_an_endpoint_gets_every_record(
    command: list[str], entries: list[bytes], acknowledges: bool
) -> None:
    """Killed while the receiver has a request: before its answer, or as that is on its way."""
    taken: list[list[int]] = []
    process: subprocess.Popen[bytes] | None = None
    requests = 0

    def answer(asked: Asked) -> Answer:
        nonlocal requests
        requests += 1
        taken.append([json.loads(line)["index"] for line in asked.body.splitlines()])
        if requests % 2 == 0 and process is not None:
            process.send_signal(signal.SIGKILL)
            if not acknowledges:
                process.wait()
        return Answer(204)

    kills = 0
    with Stand(answer).serve() as stand:
        for _ in range(STARTS):
            process = subprocess.Popen(
                [sys.executable, "-m", "muniment", *command, "--to", stand.url()],
                stderr=subprocess.DEVNULL,
            )
            if process.wait() == 0:
                break
            kills += 1
        assert process.returncode == 0
    assert kills
    assert sorted({index for request in taken for index in request}) == index_tools.known_indices(
        entries
    )
    assert all(_in_order(request) for request in taken)


def _in_order(request: list[int]) -> bool:
    return request == sorted(request)


def test_a_follower_goes_on_and_stops_when_asked(
    command: list[str], entries: list[bytes], tmp_path: Path
) -> None:
    """With --follow: what a replica gains is exported; SIGTERM ends it, cursor and all."""
    out = tmp_path / "out.jsonl"
    argv = [sys.executable, "-m", "muniment", *command, "--follow", "--interval", "0.1"]
    process = subprocess.Popen([*argv, "--to", str(out)], stderr=subprocess.PIPE)
    try:
        eventually(lambda: _lines(out) == len(index_tools.known_indices(entries)))
        more = [*entries, *entries[:50]]
        tools.follow(tmp_path / "replica.db", index_tools.MemorySource(more))
        eventually(lambda: _lines(out) == len(index_tools.known_indices(more)))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0
        assert f"{len(index_tools.known_indices(more))} records exported" in stderr.decode()
        assert json.loads((tmp_path / "cursor").read_text())["next"] == len(more)
    finally:
        process.kill()
        process.communicate()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
