"""A program that is run for each request: an AuthZEN request on stdin, a response on stdout.

The request is canonical JSON (RFC 8785), as records have it.
"""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Final

from muniment.records.artifact import PolicyRef
from muniment.tlog.encoding import FormatError
from muniment_gateway.authorities import Authority
from muniment_gateway.core.anyjson import parse_any
from muniment_gateway.engines.port import (
    Evaluation,
    JsonObject,
    NoAnswerError,
    PassedOn,
    UnfitError,
    as_recorded,
    response_of,
)

MAX_OUTPUT: Final = 1 << 20
"""Largest response, in bytes."""

MAX_COMMANDS: Final = 16
"""Programs that one authority runs at one time."""

_TOLD: Final = 200  # characters of its last line of stderr


class CommandEngine:
    """A program and its arguments; with a status that is not 0 it has not answered."""

    def __init__(self, authority: Authority) -> None:
        """Runs nothing yet."""
        self._name = authority.entry.name
        self._argv = authority.entry.command
        self._slots = asyncio.Semaphore(MAX_COMMANDS)

    async def evaluate(self, request: JsonObject, asked: PassedOn) -> Evaluation:  # noqa: ARG002
        """See `Engine`."""
        async with self._slots:
            output = await self._run(as_recorded(request, self._name))
        try:
            return Evaluation(response_of(parse_any(output, "its output"), self._name))
        except FormatError as error:
            raise NoAnswerError(f"{self._name}: {error}") from error

    async def policy(self) -> PolicyRef | None:
        """See `Engine`: a program says nothing of its policy."""
        return None

    async def _run(self, data: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise NoAnswerError(f"{self._name}: {self._argv[0]}: {error.strerror}") from error
        try:
            output, errors = await _communicate(process, data)
            code = await process.wait()
        finally:
            if process.returncode is None:  # nobody waits for it any more
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())
        if code != 0:
            last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:_TOLD]
            text = f"{self._name}: exit code {code}"
            raise UnfitError(f"{text}: {last}" if last else text, text)
        if len(output) > MAX_OUTPUT:
            raise NoAnswerError(f"{self._name}: more than {MAX_OUTPUT} bytes of output")
        return output


async def _communicate(process: asyncio.subprocess.Process, data: bytes) -> tuple[bytes, bytes]:
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None  # noqa: S101
    assert stdout is not None  # noqa: S101
    assert stderr is not None  # noqa: S101

    async def write() -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(data)
            await stdin.drain()
        stdin.close()

    _, output, errors = await asyncio.gather(
        write(), _read(stdout, MAX_OUTPUT + 1), _read(stderr, MAX_OUTPUT)
    )
    return output, errors


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """The beginning of what comes; the rest is read, too, and dropped, so that nobody blocks."""
    kept = bytearray()
    while piece := await stream.read(64 << 10):
        kept += piece[: most - len(kept)]
    return bytes(kept)
