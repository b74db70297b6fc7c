"""One server as the tests run it: started, stopped, killed, paused, and gone with them."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ports import free_port

READY_SECONDS = 60.0  # only a failure waits so long
STOP_SECONDS = 60.0
STARTS = 3  # another program may take a port between our choosing and the server's listening
PASSWORD = "of the tests"

numbers = itertools.count(1)


class EngineError(AssertionError):
    """A server did not start or stop; the message holds the end of what it wrote."""


class Engine:
    """A server in a folder of its own, on ports that stay the same when it starts again."""

    def __init__(self, folder: Path, ports: int = 1, user: str | None = None) -> None:
        self.folder = folder
        self.user = user
        self.ports: list[int] = []
        self._count = ports
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be had; None when it can."""
        raise NotImplementedError

    def argv(self) -> Sequence[str | Path]:
        """Its command line, on `self.ports`."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text("utf-8", "replace")

    def start(self) -> None:
        """Starts it and waits until it serves.

        Raises EngineError if it ends, or does not serve in time.
        """
        for _ in range(1 if self.ports else STARTS):
            ports = self.ports
            self.ports = ports or [free_port() for _ in range(self._count)]
            if self._try():
                return
            self.ports = ports
        raise EngineError(f"{type(self).__name__} does not serve\n{self.output[-4000:]}")

    def _try(self) -> bool:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*bound_to_us(), *(str(word) for word in self.argv())],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(self.user),
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.is_ready():
                return True
            time.sleep(0.05)
        self.kill()
        return False

    def stop(self) -> None:
        """SIGTERM, and waits until it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops it if it runs, and starts it on the same data and ports."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP to it and all that it started: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _end(self, which: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(which)
        if which != signal.SIGKILL:
            self._signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
        if which == signal.SIGKILL:
            self._wait_group()
        self._process = None

    def _signal(self, which: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, which)

    def _wait_group(self) -> None:
        """The children of a killed server may outlive it for a moment, and hold its port."""
        assert self._process is not None
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            time.sleep(0.01)


def bound_to_us() -> list[str]:
    """How to run something that the kernel ends with this process, however that one ends.

    Not by a function that the child runs before its program: with threads about, Python warns of
    that.
    """
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def as_user(user: str | None) -> dict[str, Any]:
    """How `subprocess` runs something as another user."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def program_named(name: str) -> str | None:
    """A program of this environment, or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def unprivileged() -> str | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None
