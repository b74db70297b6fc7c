"""Forks programs from a process that has imported everything they need (POSIX fork, Linux pidfd).

`forking` is the other side. Its requests come over one socket, each with four descriptors: stdin,
stdout and stderr of the program, and a socket over which the new process tells its ID, and then
this one how it has ended. The ended process is waited for only when that socket is closed: until
then nobody else gets its number.

No thread runs here before a fork, so nothing can be held by one that is lost. All that was forked
ends with this process.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forking import LONGEST, NUMBER, PROGRAMS

_MODULES = (
    "muniment_log.app.embedded",
    "muniment_log.app.cluster",
    "muniment_witness.app",
    *(f"muniment_gateway.app.{name}" for name in ("authority", "doctor", "mcp", "serving")),
    *(f"muniment_gateway.cli.{name}" for name in ("init", "keys", "mcp", "running", "serve")),
    "muniment_gateway.engines.cedar",
    *(f"muniment.cli.{name}" for name in ("audit", "evidence", "follow", "lineage", "monitor")),
    *(f"muniment.cli.{name}" for name in ("permit", "policy", "prove", "submit", "verify")),
    # What these import when they need it.
    *("muniment.audit.auditor", "muniment.gateway.gateway", "muniment.http.logclient"),
    "muniment.monitor",
    *("aiohttp", "uvloop", "cryptography.hazmat.backends.openssl.backend", "encodings.idna"),
)
_PR_SET_PDEATHSIG = 1


def main() -> None:
    for module in (*PROGRAMS, *_MODULES):
        importlib.import_module(module)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread runs"
    gc.freeze()
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        _become(*asked)


def _serve(requests: socket.socket) -> tuple[dict[str, Any], Sequence[int]] | None:
    """Answers until nobody can ask any more; in a new process, what it shall become."""
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    running: dict[int, tuple[int, int]] = {}  # by what polls its end: the process, its socket
    ended: dict[int, int] = {}  # by its socket: the process
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in running:
                pid, status = running.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, NUMBER.pack(_code(pid)))
                ended[status] = pid
                poll.register(status, select.POLLIN)
            elif descriptor in ended:
                poll.unregister(descriptor)
                os.waitpid(ended.pop(descriptor), 0)
                os.close(descriptor)
            else:
                data, passed, _, _ = socket.recv_fds(requests, LONGEST, 4)
                if not data:
                    return None
                pid = os.fork()
                if pid == 0:
                    requests.detach()  # the descriptor is closed with all others
                    return json.loads(data), passed
                for each in passed[:3]:
                    os.close(each)
                watched = os.pidfd_open(pid)
                running[watched] = pid, passed[3]
                poll.register(watched, select.POLLIN)


def _code(pid: int) -> int:
    """How an ended process has ended, as `subprocess` tells it."""
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert result is not None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def _become(asked: dict[str, Any], descriptors: Sequence[int]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.write(descriptors[3], NUMBER.pack(os.getpid()))
    for target, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    module, *arguments = asked["run"]
    sys.argv[1:] = arguments
    # It runs as `__main__` under `python -m`, too.
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
