"""Processes that are forked to work in, and what becomes of their calls."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, threading
from concurrent.futures.process import BrokenProcessPool
from muniment.errors import FormatError
from muniment.local.forkpool import ForkedPool, fork_server

begun = []

def begin(*values):
    begun.extend(values)

def tell(number):
    if number == 13:
        raise FormatError("thirteen")
    return number, begun

class TwoWords(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)

def fail(number):
    raise TwoWords("a", "b")

def stand(number):
    return threading.Lock()

def end(number):
    os.kill(os.getpid(), signal.SIGKILL)

with fork_server() as server:
{body}
print("threads", threading.active_count())
"""


def run(tmp_path: Path, body: str) -> list[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(body=body))
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_calls_are_answered_and_errors_are_raised(tmp_path: Path) -> None:
    body = """
    with ForkedPool(server, 2, begin, 7, 8) as pool:
        calls = [pool.submit(tell, number) for number in range(20)]
        print(all(call.result() == (n, [7, 8]) for n, call in enumerate(calls) if n != 13))
        print(repr(calls[13].exception()), begun)
    with ForkedPool(server, 1, begin) as pool:
        print(pool.submit(tell, 1).result())
    """
    told = ["True", "FormatError('thirteen') []", "(1, [])", "threads 1"]
    assert run(tmp_path, body) == told


@pytest.mark.parametrize("count", [1, 3])
def test_a_process_that_is_killed_breaks_the_pool(tmp_path: Path, count: int) -> None:
    body = f"""
    with ForkedPool(server, {count}, begin) as pool:
        calls = [pool.submit(end, number) for number in range(9)]
        print({{type(call.exception()) for call in calls}})
        try:
            pool.submit(tell, 1)
        except BrokenProcessPool as error:
            print(error)
    """
    kind = "<class 'concurrent.futures.process.BrokenProcessPool'>"
    told = [f"{{{kind}}}", "a process of the pool has ended", "threads 1"]
    assert run(tmp_path, body) == told


def test_calls_that_wait_can_be_taken_back(tmp_path: Path) -> None:
    body = """
    pool = ForkedPool(server, 1, begin)
    calls = [pool.submit(tell, 1)] + [pool.submit(tell, n) for n in range(500)]
    calls[0].result()
    pool.shutdown(cancel_futures=True)
    print(all(call.done() for call in calls))
    """
    assert run(tmp_path, body) == ["True", "threads 1"]


def test_a_process_with_threads_forks_none(tmp_path: Path) -> None:
    body = """
        pass
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    with fork_server() as server:
        print(server)
    done.set()
    other.join()
    """
    assert run(tmp_path, body.replace("        pass\n", "    pass\n")) == ["None", "threads 1"]


def test_what_cannot_be_pickled_fails_its_own_call_alone(tmp_path: Path) -> None:
    body = """
    with ForkedPool(server, 1, begin) as pool:
        calls = [pool.submit(fail, 1), pool.submit(stand, 1), pool.submit(tell, lambda: 1)]
        print([type(call.exception(60)).__name__ != "NoneType" for call in calls])
        print(pool.submit(tell, 1).result(60))
    """
    told = ["[True, True, True]", "(1, [])", "threads 1"]
    assert run(tmp_path, body) == told
