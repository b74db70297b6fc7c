"""No process that the programs start outlives them, whatever ends them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import processes
from log_deployment import deployed
from waiting import eventually

SECONDS = 30.0  # only a failure waits so long

AUDIT = """
import asyncio, os, signal, time
from contextlib import nullcontext
from muniment.audit import reader
from muniment.http.logclient import LogClient
from muniment.local.forkpool import fork_server

reader._cpus = lambda: 2
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, has it ignored

async def main(server):
    async with reader.examiner(LogClient("http://127.0.0.1:9"), reader.POOL_WORTH, server) as pool:
        work = asyncio.get_running_loop().run_in_executor
        await asyncio.gather(*(work(pool, time.sleep, 0.5) for _ in range(2)))
        busy = [work(pool, time.sleep, 3600) for _ in range({busy})]
        print('{{"event": "ready", "url": ""}}', flush=True)
        await asyncio.sleep(3600)

if __name__ == "__main__":
    with {server} as server:
        asyncio.run(main(server))
"""


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def wait_until_gone(pids: list[int]) -> None:
    eventually(lambda: all(state(pid) in {"", "Z"} for pid in pids))


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("busy", [0, 1])
@pytest.mark.parametrize("server", ["nullcontext()", "fork_server()"])
def test_the_pool_of_an_audit_ends_with_it(
    tmp_path: Path, which: signal.Signals, busy: int, server: str
) -> None:
    program = tmp_path / "audit.py"
    program.write_text(AUDIT.format(busy=busy, server=server))
    with processes.start([sys.executable, str(program)]) as audit:
        pids = children(audit.pid)
        if server == "fork_server()":
            (forking,) = pids
            pids = [forking, *children(forking)]
        assert len(pids) == 3  # two that work, and what started them or keeps what they share
        os.kill(audit.pid, which)
        assert audit.wait() == -which
        wait_until_gone(pids)


KILLED = """
import asyncio, os
from contextlib import nullcontext
from muniment.audit import reader
from muniment.errors import MunimentError
from muniment.http.logclient import LogClient
from muniment.local.forkpool import fork_server

reader._cpus = lambda: 2

async def main(server):
    try:
        client = LogClient("http://127.0.0.1:9")
        async with reader.examiner(client, reader.POOL_WORTH, server) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, os._exit, 3)
    except MunimentError as error:
        print(error)

if __name__ == "__main__":
    with {server} as server:
        asyncio.run(main(server))
"""


@pytest.mark.parametrize("server", ["nullcontext()", "fork_server()"])
def test_an_audit_says_that_one_of_its_processes_was_ended(tmp_path: Path, server: str) -> None:
    program = tmp_path / "audit.py"
    program.write_text(KILLED.format(server=server))
    done = processes.run([sys.executable, str(program)], code=0)
    assert "a process of this audit was ended by something else" in done.stdout


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGKILL])
def test_the_index_process_ends_with_the_log(tmp_path: Path, which: signal.Signals) -> None:
    config = tmp_path / "log" / "log.toml"
    init = ("init", config.parent, "--origin", "log.example/a", "--listen", "127.0.0.1:0")
    processes.run(processes.muniment_log(*init), code=0)
    with processes.start(processes.muniment_log("serve", "--config", config)) as log:
        # The log takes requests before its index begins.
        eventually(lambda: len(children(log.pid)) == 1)
        pids = children(log.pid)
        os.kill(log.pid, which)
        assert log.wait() == (0 if which == signal.SIGTERM else -which)
        wait_until_gone(pids)
        assert "Fatal Python error" not in log.stderr


def test_an_index_process_that_fails_says_why_and_ends_in_order(tmp_path: Path) -> None:
    """Its stdin is open all the while, as the log's pipe is."""
    indexer = [sys.executable, "-m", "muniment_log.index.indexer"]
    argv = [*indexer, "--database", str(tmp_path / "absent")]
    with subprocess.Popen(
        [*argv, str(tmp_path / "index.db")], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        told = child.stderr.read().decode()
        assert child.wait(SECONDS) == 1
    assert "the index cannot be kept" in told
    assert "Fatal Python error" not in told


def test_an_index_that_was_emptied_is_built_anew(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        assert made.log.terminate() == 0
        index = made.config.with_name("index.db")
        index.write_bytes(b"")
        made.start_log()
        eventually(lambda: index.exists() and index.stat().st_size > 0)
        assert "the index is empty and is built anew" in made.log.stderr
