"""Starts our own programs quickly: by a fork of a process that has imported what they need.

    program = forking.spawn([sys.executable, "-m", "muniment_log.cli", "serve", ...], ...)

The result is used like a `subprocess.Popen`, and what runs is a process like any other, in a
session of its own; it is spared the second of processor time that the imports take. Other command
lines, and all of them on a system without pidfd, start as they always do.
"""

import atexit
import contextlib
import functools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PROGRAMS: Final = (
    "faults.launch",
    "muniment",
    "muniment_gateway.cli",
    "muniment_log.cli",
    "muniment_witness.cli",
)
"""The modules that are run so."""

LONGEST: Final = 1 << 20  # bytes of a request
NUMBER: Final = struct.Struct("<q")  # a process ID, or an exit code


class Forked:
    """A program in a forked process."""

    def __init__(self, argv: Sequence[str], status: socket.socket) -> None:
        self.args = list(argv)
        self.returncode: int | None = None
        self._status = status
        self._reading = threading.Lock()
        self.pid = self._number()

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; the exit code.

        Raises subprocess.TimeoutExpired if it still runs after so many seconds.
        """
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        try:
            if self.returncode is None:
                self._status.settimeout(timeout)
                self.returncode = self._number()
                self._status.close()
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
        finally:
            self._reading.release()
        return self.returncode

    def _number(self) -> int:
        data = self._status.recv(NUMBER.size)
        assert data, "the process that forks has ended"
        return NUMBER.unpack(data)[0]


def spawn(
    argv: Sequence[str],
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> "Forked | subprocess.Popen[bytes]":
    """Starts a program in a session of its own, on three open files given by their descriptors.

    Args:
        argv: the command line.
        stdin: what it reads.
        stdout: where it writes.
        stderr: where it writes.
        cwd: its folder, otherwise ours.
        environment: its variables, otherwise ours.
    """
    variables = dict(os.environ if environment is None else environment)
    run = argv[2:] if list(argv[:2]) == [sys.executable, "-m"] else []
    if not run or run[0] not in PROGRAMS or not hasattr(os, "pidfd_open"):
        return subprocess.Popen(
            argv, cwd=cwd, env=variables, stdin=stdin, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
    asked = {"run": list(run), "cwd": str(Path(cwd or ".").absolute()), "environment": variables}
    status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        descriptors = [stdin, stdout, stderr, theirs.fileno()]
        socket.send_fds(_server(), [json.dumps(asked).encode()], descriptors)
    return Forked(argv, status)


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
        process = subprocess.Popen(
            [sys.executable, "-m", "forkserver", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def close() -> None:
        ours.close()
        process.wait()

    atexit.register(close)
    return ours
