"""Starts real processes for tests and never leaves one behind.

    with processes.start([python, "-m", "muniment_witness.cli", "serve", "--config", path]) as p:
        requests to p.url ...

A process that dies, or is not ready in time, fails with everything it wrote to stderr.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import forking

# Only a failure waits so long: on a machine with much else to do, Python alone takes seconds.
READY_SECONDS = 120.0
STOP_SECONDS = 120.0
OUTPUT_SECONDS = 120.0


def muniment_witness(*arguments: object) -> list[str]:
    """The command line of `muniment-witness` under this interpreter."""
    return [sys.executable, "-m", "muniment_witness.cli", *map(str, arguments)]


def muniment_log(*arguments: object) -> list[str]:
    """The command line of `muniment-log` under this interpreter."""
    return [sys.executable, "-m", "muniment_log.cli", *map(str, arguments)]


def muniment_gateway(*arguments: object) -> list[str]:
    """The command line of `muniment-gateway` under this interpreter."""
    return [sys.executable, "-m", "muniment_gateway.cli", *map(str, arguments)]


def muniment(*arguments: object) -> list[str]:
    """The command line of `muniment` under this interpreter."""
    return [sys.executable, "-m", "muniment", *map(str, arguments)]


def children_of(pid: int, module: str) -> list[int]:
    """The running processes of one module that another process has started."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                found.append(int(child))
    return found


Done = subprocess.CompletedProcess[str]


class ProcessFailedError(AssertionError):
    """A process ended, or was not ready in time; the message holds its stderr."""


class Process:
    """A running process whose stdout and stderr are collected.

    Attributes:
        url: From its ready line, without a final slash; empty when none was awaited.
        ready: The members of its ready line.
    """

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.argv = list(argv)
        self.url = ""
        self.ready: dict[str, object] = {}
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        (out, stdout), (err, stderr) = os.pipe(), os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            # In a session of its own: a kill reaches whatever it may have started, and Ctrl-C in
            # the terminal of the tests does not reach it before the tests clean up.
            self._popen = forking.spawn(
                self.argv,
                stdin=nothing,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                environment={**os.environ, **(environment or {})},
            )
        finally:
            for each in (nothing, stdout, stderr):
                os.close(each)
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(out,), daemon=True),
            threading.Thread(target=self._read_stderr, args=(err,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    @property
    def stdout(self) -> str:
        """All of stdout so far."""
        return "".join(self._stdout)

    @property
    def stderr(self) -> str:
        """All of stderr so far."""
        return "".join(self._stderr)

    def wait_ready(self, seconds: float = READY_SECONDS) -> "Process":
        """Waits for the ready line.

        Raises ProcessFailedError if the process ends or the time passes before it.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise ProcessFailedError(f"not ready in {seconds} s\n{self._describe()}") from None
            if line is None:
                self.wait(STOP_SECONDS)
                raise ProcessFailedError(f"ended before it was ready\n{self._describe()}")
            with contextlib.suppress(ValueError):
                members = json.loads(line)
                if isinstance(members, dict) and members.get("event") == "ready":
                    self.ready = members
                    self.url = members["url"]
                    return self

    def terminate(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and waits; the exit code. Killed when it does not end in time."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> int:
        """SIGKILL to the whole group, and waits; the exit code, -9."""
        self.signal(signal.SIGKILL)
        return self.wait(STOP_SECONDS)

    def signal(self, which: int) -> None:
        """A signal to the whole group, if the process still runs."""
        # Only while it has not been waited for: afterwards the number may be somebody else's.
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, which)

    def pause(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for the end; the exit code.

        Raises ProcessFailedError if it did not end in time (it has been killed then).
        """
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._popen.wait(STOP_SECONDS)
            self._collect()
            raise ProcessFailedError(f"did not end in {seconds} s\n{self._describe()}") from None
        self._collect()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_SECONDS)
        self._collect()
        if error is not None and not isinstance(error, ProcessFailedError):
            error.add_note(self._describe())

    def _collect(self) -> None:
        for reader in self._readers:
            reader.join(STOP_SECONDS)

    def _read_stdout(self, descriptor: int) -> None:
        with _lines(descriptor) as lines:
            for line in lines:
                self._stdout.append(line)
                self._lines.put(line)
        self._lines.put(None)

    def _read_stderr(self, descriptor: int) -> None:
        with _lines(descriptor) as lines:
            self._stderr.extend(lines)

    def _describe(self) -> str:
        return f"{' '.join(self.argv)} (exit code {self.returncode})\nstderr:\n{self.stderr}"


def _lines(descriptor: int) -> TextIO:
    return open(descriptor, encoding="utf-8", errors="replace")  # not a path


def start(
    argv: Sequence[str],
    cwd: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    seconds: float = READY_SECONDS,
) -> Process:
    """Starts a service and waits for its ready line; use the result as a context manager.

    Raises ProcessFailedError if it is not ready in time; nothing is left running.
    """
    process = Process(argv, cwd, environment)
    try:
        return process.wait_ready(seconds)
    except BaseException:
        process.kill()
        raise


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    code: int | None = None,
    timeout: float = STOP_SECONDS,
) -> Done:
    """Runs a command to its end, as `subprocess.run` does; `environment` adds to ours.

    Raises:
        AssertionError: it ended otherwise than with `code`, or with a traceback beside it.
        subprocess.TimeoutExpired: it did not end in time; it has been killed then.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
        given, stdout, stderr = files
        given.write(stdin)
        given.seek(0)
        process = forking.spawn(
            argv,
            stdin=given.fileno(),
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
            cwd=cwd,
            environment={**os.environ, **(environment or {})},
        )
        try:
            ended = process.wait(timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)
            raise
        for file in (stdout, stderr):
            file.seek(0)
        done = subprocess.CompletedProcess(argv, ended, stdout.read(), stderr.read())
    if code is not None:
        told = done.stdout + done.stderr
        assert done.returncode == code, told
        assert "Traceback" not in told, told
    return done


@dataclasses.dataclass(frozen=True)
class Programs:
    """Python programs that begin alike, and may import what tests may."""

    begin: str

    def argv(self, program: str, *arguments: object) -> list[str]:
        path = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        return [sys.executable, "-c", path + self.begin + program, *map(str, arguments)]

    async def run(self, program: str, *arguments: object) -> list[str]:
        """The lines that a program writes, which must end well."""
        return (await output(self.argv(program, *arguments))).splitlines()


@contextlib.contextmanager
def started(argvs: Sequence[Sequence[str]], cwd: Path | None = None) -> Iterator[list[Process]]:
    """Starts several services at the same time and waits for all of them."""
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(Process(argv, cwd)) for argv in argvs]
        yield [process.wait_ready() for process in running]


@contextlib.asynccontextmanager
async def piped(
    argv: Sequence[str], cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command whose output is read while it runs; killed at the end, if it still does."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def first_line(process: asyncio.subprocess.Process) -> str:
    """The first line that a `piped` command writes, without its end."""
    return (await asyncio.wait_for(process.stdout.readline(), OUTPUT_SECONDS)).decode().rstrip("\n")


async def output(argv: Sequence[str]) -> str:
    """What a command writes that must end well, while the test's own loop goes on."""
    async with piped(argv) as process:
        out, err = await asyncio.wait_for(process.communicate(), OUTPUT_SECONDS)
    assert process.returncode == 0, err.decode()
    for defect in (b"never awaited", b"Task exception", b"Traceback"):
        assert defect not in err, err.decode()
    return out.decode()
