"""Services that start in a tenth of a second, for tests that need very many of them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from faults import launch

READY_SECONDS = 30.0


@dataclass
class Service:
    """A running service."""

    forks: "Forks"
    pid: int
    folder: Path
    url: str = ""
    code: int | None = None

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text("utf-8", "replace")

    def signal(self, which: signal.Signals) -> None:
        # Not after it was waited for: the number may be somebody else's then.
        if self.code is None:
            os.kill(self.pid, which)

    def kill(self) -> int:
        """SIGKILL; the exit code, -9 unless it had ended before."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Its exit code; it must end by itself."""
        if self.code is None:
            self.code = self.forks.ask({"wait": self.pid})
        assert self.code is not None, f"still running\n{self.stderr}"
        return self.code

    def wait_ready(self) -> "Service":
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            line = (self.folder / "stdout").read_text() if (self.folder / "stdout").exists() else ""
            if line.endswith("\n"):
                self.url = json.loads(line)["url"]
                return self
            if not Path(f"/proc/{self.pid}").exists() or self._is_zombie():
                break
            time.sleep(0.002)
        raise AssertionError(f"not ready\n{self.stderr}")

    def _is_zombie(self) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return True


class Forks:
    """The process that starts them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **launch.environment()},
            text=True,
        )
        self._number = 0
        self._begun: list[Service] = []

    def ask(self, what: dict[str, object]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer

    def begin(
        self,
        folder: Path,
        module: str,
        *arguments: object,
        pages: int = 1000,
        clock_off: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> Service:
        """Starts a service without waiting for it; what it writes goes below the folder.

        `pages` is how long its write-ahead log grows until a commit checkpoints it; `clock_off` how
        many seconds its clock is ahead.
        """
        self._number += 1
        output = folder / f"output{self._number}"
        output.mkdir(parents=True)
        run = [module, *map(str, arguments)]
        asked = {"run": run, "folder": str(output), "pages": pages, "clock_off": clock_off}
        pid = self.ask({**asked, "environment": dict(environment or {})})
        assert pid is not None
        service = Service(self, pid, output)
        self._begun.append(service)
        return service

    def kill_all(self) -> None:
        """Ends whatever still runs."""
        for service in self._begun:
            if service.code is None:
                service.kill()
        self._begun.clear()

    def log(self, config: Path, *, pages: int = 1000, clock_off: int = 0) -> Service:
        serve = ("muniment_log.cli", "serve", "--config", config)
        return self.begin(config.parent, *serve, pages=pages, clock_off=clock_off).wait_ready()

    def witness(self, config: Path, *, pages: int = 1000, clock_off: int = 0) -> Service:
        serve = ("muniment_witness.cli", "serve", "--config", config)
        return self.begin(config.parent, *serve, pages=pages, clock_off=clock_off).wait_ready()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


@contextlib.contextmanager
def forks() -> Iterator[Forks]:
    """Everything that is still running ends with it."""
    made = Forks()
    try:
        yield made
    finally:
        made.close()
