"""Starts services quickly: a process that has imported everything forks for each (POSIX fork).

A request is a line of JSON on stdin, `{"wait": pid}` or `{"run": [module, argument, ...], ..}` with
`folder`, `environment`, `pages` and `clock_off` (see `faults.launch`); an answer is a line on
stdout. What a service writes goes to files in the folder. No thread runs here before a fork, so
nothing can be held by one that is lost. Services end with it.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from faults import launch

MODULES = ("muniment_log.cli", "muniment_log.app", "muniment_witness.cli", "muniment_witness.app")
_PR_SET_PDEATHSIG = 1
_WAIT_SECONDS = 30.0


def main() -> None:
    for module in MODULES:
        importlib.import_module(module)
    libc = ctypes.CDLL(None)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        answer = _wait(asked["wait"]) if "wait" in asked else _run(libc, asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _run(libc: ctypes.CDLL, asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        folder = Path(asked["folder"])
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(asked["environment"])
        module, *arguments = asked["run"]
        launch.main(asked["pages"], module, arguments, clock_off=asked["clock_off"])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int | None:
    """The exit code as `subprocess` tells it; None when it did not end in time."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


if __name__ == "__main__":
    main()
