"""What a scenario stands on: a running deployment in a folder of its own, and its workers."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from deployment import BIN, WITNESSES, Deployment, tie_to_parent

SCRIPTS = Path(__file__).resolve().parents[1]
PRODUCER = "curl.example/bench"


class BenchError(Exception):
    """A result is wrong, or a worker failed: there is no figure to give."""


class Worker:
    """One process that puts load on the log; see load.py."""

    def __init__(self, kind: str, job: dict[str, Any]) -> None:
        self._result = Path(job["result"])
        self._done = False
        file = self._result.with_suffix(".job")
        file.write_text(json.dumps(job))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.load", kind, file],
            cwd=SCRIPTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=tie_to_parent,  # noqa: PLW1509  # no thread starts any
        )
        if self._line() != "ready":
            raise BenchError(f"worker {kind} did not get ready")

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"a worker ended with exit code {self.process.wait()}")
        return line.strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def samples(self) -> Iterator[dict[str, Any]]:
        """Every line of the worker while it works."""
        while not self._done:
            line = json.loads(self._line())
            self._done = "done" in line
            if not self._done:
                yield line

    def result(self) -> dict[str, Any]:
        """Waits for the end; what the worker measured."""
        for _ in self.samples():
            pass
        self.process.wait(timeout=60)
        found: dict[str, Any] = json.loads(self._result.read_text())
        return found


class Rig:
    """A log with its gateways' keys, and witnesses when asked for, all running."""

    def __init__(
        self,
        *,
        witnesses: bool,
        gateways: int = 1,
        more: str = "",
        complete: str = "",
        workers: int = 1,
        deployment: type[Deployment] = Deployment,
        place: Path | None = None,
    ) -> None:
        """Starts it; `complete` has lines of `[complete]`, for a log with an index log.

        What it makes is in a folder of its own, which goes with it, or in `place`, which is empty.
        """
        self.place = Path(tempfile.mkdtemp(prefix="muniment-bench-")) if place is None else place
        self.deployment = deployment(self.place)
        self._workers = workers
        self.token = secrets.token_urlsafe(32)
        self._jobs = 0
        try:
            self._start(witnesses=witnesses, gateways=gateways, more=more, complete=complete)
        except BaseException:
            self.close()
            raise

    def _start(self, *, witnesses: bool, gateways: int, more: str, complete: str) -> None:
        deployment = self.deployment
        log_keys = deployment.make_log()
        both = [*log_keys, *deployment.make_index_log(complete)] if complete else log_keys
        if witnesses:
            keys = {n: deployment.make_witness(n, a, both) for n, a in WITNESSES.items()}
            for name in WITNESSES:
                deployment.start_witness(name)
            deployment.write_policy(log_keys, keys, 2)
        else:
            lines = [*(f"log {key}" for key in log_keys), "quorum none"]
            (self.place / "trust.policy").write_text("\n".join(lines) + "\n")
        self.keys = [f"gateway-{n}.pem" for n in range(gateways)]
        vkeys = [deployment.make_gateway(f"gw.example/{n}", key) for n, key in enumerate(self.keys)]
        digest = sha256(self.token.encode()).hexdigest()
        token = f'\n[[token]]\nproducer = "{PRODUCER}"\nsha256 = "{digest}"\n'
        deployment.configure_log(
            gateways=vkeys, policy=witnesses, more=token + more, workers=self._workers
        )
        deployment.start_log()

    @property
    def url(self) -> str:
        return self.deployment.urls["log"]

    def worker(self, kind: str, gateway: int = 0, **job: Any) -> Worker:
        """Start a worker on a stream of its own; it waits for `go`."""
        self._jobs += 1
        base = {
            "url": self.url,
            "key": str(self.place / self.keys[gateway]),
            "policy": str(self.place / "trust.policy"),
            "stream": f"bench-{self._jobs}",
            "result": str(self.place / f"result-{self._jobs}.json"),
            "token": self.token,
            "producer": PRODUCER,
        }
        return Worker(kind, base | job)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as response:
            data: bytes = response.read()
        return data

    def audit(self) -> dict[str, Any]:
        """Audit the whole log with the command a user has; every figure rests on a clean one."""
        argv = ["muniment", "audit", "--log", self.url, "--policy", "trust.policy", "--json"]
        report: dict[str, Any] = json.loads(self.deployment.command(*argv))
        return report

    def database_bytes(self) -> int:
        """Size of the log's database with its write-ahead log."""
        return sum(f.stat().st_size for f in (self.place / "log").glob("log.db*"))

    def close(self) -> None:
        self.deployment.stop()
        shutil.rmtree(self.place, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def timed_command(*argv: str | Path, cwd: Path) -> dict[str, Any]:
    """Run a command to its end: its seconds, its processor time, its peak memory, its stdout."""
    before = time.perf_counter()
    with (cwd / "command.out").open("w+") as out, (cwd / "command.err").open("w+") as err:
        process = subprocess.Popen([BIN / argv[0], *argv[1:]], cwd=cwd, stdout=out, stderr=err)
        # wait4 gives the usage of this one process and of those that it waited for itself.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - before
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise BenchError(f"{argv[0]}: exit {process.returncode}: {err.read().strip()}")
        return {
            "seconds": took,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * 1024,
            "stdout": out.read(),
        }
