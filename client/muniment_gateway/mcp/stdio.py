"""The gate on stdio: a server as a child process, whose client is on our own stdin and stdout.

Everything passes as it came, in both directions, but for requests: each is decided first, up to
MOST_PENDING at one time; then nothing more is read. A cancellation of a call that is still being
decided is held back with it, and neither reaches the server.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from muniment.errors import MunimentError
from muniment.local.logs import event
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.mcp.gate import McpGate
from muniment_gateway.mcp.mapping import Caller
from muniment_gateway.mcp.messages import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    MAX_ANSWER,
    MAX_MESSAGE,
    Message,
    MessageError,
    error_answer,
    read_message,
)
from muniment_gateway.mcp.passage import PassedMessage

MOST_PENDING: Final = 256
"""Requests that are decided, or answered by the server, at one time."""

MOST_LATE: Final = 1024
"""Cancelled requests whose answers still pass, if they come: some servers answer them."""

END_SECONDS: Final = 5.0
"""How long a server may take to end once its stdin is closed; then terminated; then killed."""

CANCELLED: Final = "notifications/cancelled"

_LOGGER: Final = logging.getLogger(__name__)


CHUNK: Final = 64 << 10
"""Bytes read at one time."""


class MessageLines:
    """Reads lines; one that is too long is skipped to its end, and reported by None."""

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        """Reads from `reader` lines of at most so many bytes."""
        self._reader = reader
        self._most = most
        self._ready: list[bytes | None] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._is_over = False

    async def next(self) -> bytes | None:
        """The next line that is not empty; None for one that is too long.

        Raises EOFError at the end; what has no line end by then is no message.
        """
        while not self._ready:
            if self._is_over:
                raise EOFError
            chunk = await self._reader.read(CHUNK)
            if not chunk:
                self._is_over = True
                continue
            self._take(chunk)
        return self._ready.pop(0)

    def _take(self, chunk: bytes) -> None:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._add(line)
            if self._size > self._most:
                self._ready.append(None)
            elif whole := b"".join(self._parts).strip():
                self._ready.append(whole)
            self._parts, self._size = [], 0
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._most:
            self._parts = []  # nothing of it is kept
        elif part:
            self._parts.append(part)


class StdioGate:
    """One server, and its one client."""

    def __init__(
        self,
        gate: McpGate,
        caller: Caller,
        call: RequestDetails,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Stands between `client` and `server`."""
        self._gate = gate
        self._caller = caller
        self._call = call
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._deciding: dict[tuple[type, object], asyncio.Task[None]] = {}
        self._running: dict[tuple[type, object], PassedMessage] = {}
        self._cancelled: set[tuple[type, object]] = set()
        self._late: dict[tuple[type, object], None] = {}
        self._room = asyncio.Semaphore(MOST_PENDING)
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Carries messages until the client or the server ends."""
        sides = [
            asyncio.create_task(self._client()),
            asyncio.create_task(self._server()),
        ]
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            rest = [*sides, *self._deciding.values()]
            for one in rest:
                one.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for passage in self._running.values():
                await passage.end("unknown")

    async def _client(self) -> None:
        lines = MessageLines(self._from_client, MAX_MESSAGE)
        while True:
            try:
                line = await lines.next()
            except EOFError:
                return
            try:
                if line is None:
                    text = f"a message of more than {MAX_MESSAGE} bytes"
                    raise MessageError(INVALID_REQUEST, text)
                message = read_message(line)
                if message.kind == "request":
                    await self._begin(message)
                else:
                    await self._pass(message)
            except MessageError as error:
                await self._tell_client(error.answer())

    async def _begin(self, message: Message) -> None:
        key = message.key
        # Until a cancelled one is answered, its answer would be taken for this one's.
        if key in self._deciding or key in self._running or key in self._late:
            raise MessageError(INVALID_REQUEST, "id: that of a request under way", message.id)
        await self._room.acquire()
        self._deciding[key] = asyncio.create_task(self._request(message))

    async def _request(self, message: Message) -> None:
        key = message.key
        passes = False
        try:
            judged = await self._gate.judge(message, self._caller, self._call)
            if key in self._cancelled:
                if isinstance(judged, PassedMessage):
                    await judged.end("not_run")
            elif isinstance(judged, bytes):
                await self._tell_client(judged)
            else:
                passes = True
                self._running[key] = judged
                await _write(self._to_server, judged.data)
        except MessageError as error:
            await self._tell_client(error.answer())
        except ConnectionError as error:
            event(_LOGGER, logging.ERROR, "a request is lost", reason=str(error))
            await self._tell_client(error_answer(message.id, INTERNAL_ERROR, str(error)))
        finally:
            self._cancelled.discard(key)
            self._deciding.pop(key, None)
            if not passes:
                self._room.release()

    async def _pass(self, message: Message) -> None:
        if message.method == CANCELLED:
            id_ = message.params.get("requestId")
            key = (type(id_), id_) if isinstance(id_, str | int) else None
            if key in self._deciding and key not in self._running:
                self._cancelled.add(key)
                return
            if key is not None and (passage := self._running.pop(key, None)) is not None:
                # An answer may still come, or not: what became of it is not known.
                self._room.release()
                self._late[key] = None
                if len(self._late) > MOST_LATE:
                    del self._late[next(iter(self._late))]
                await passage.end("unknown")
        judged = await self._gate.judge(message, self._caller, self._call)
        if isinstance(judged, PassedMessage):
            await _write(self._to_server, judged.data)

    async def _server(self) -> None:
        lines = MessageLines(self._from_server, MAX_ANSWER)
        while True:
            try:
                line = await lines.next()
            except EOFError:
                return
            try:
                if line is None:
                    raise MessageError(INVALID_REQUEST, f"more than {MAX_ANSWER} bytes")
                message = read_message(line, MAX_ANSWER)
            except MessageError as error:
                event(_LOGGER, logging.WARNING, "the server wrote no message", reason=str(error))
                continue
            await self._from(message)

    async def _from(self, message: Message) -> None:
        data = message.data
        if message.kind == "response" and message.id is not None:
            passage = self._running.pop(message.key, None)
            if passage is not None:
                self._room.release()
                data = await self._gate.answered(passage, message)
            elif message.key in self._late:
                del self._late[message.key]
            else:
                event(_LOGGER, logging.WARNING, "the server answered what nobody asked")
                return
        await self._tell_client(data)

    async def _tell_client(self, data: bytes) -> None:
        async with self._writing:
            await _write(self._to_client, data)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    # JSON text has line ends only between its tokens.
    writer.write(data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
    await writer.drain()


async def serve_stdio(
    gate: McpGate, caller: Caller, call: RequestDetails, command: Sequence[str]
) -> int:
    """Runs a server behind the gate until it ends or its client does; the server's exit code.

    Raises:
        OSError: If the server cannot be started.
        MunimentError: If our own stdin or stdout is a file.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - pipes
    try:
        try:
            client = await _standard_streams()
        except ValueError:
            raise MunimentError(
                "stdin and stdout: expected pipes or a terminal, as MCP hosts give them, and got a "
                "file; by hand, `cat FILE |` before the command and `| cat` behind it help"
            ) from None
        await StdioGate(gate, caller, call, client, (process.stdout, process.stdin)).run()
    finally:
        code = await _end(process)
    return code


async def _standard_streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    flow: Any = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # its half that writes
    transport, protocol = await loop.connect_write_pipe(lambda: flow, sys.stdout)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


async def _end(process: asyncio.subprocess.Process) -> int:
    assert process.stdin is not None  # noqa: S101 - a pipe
    with suppress(OSError):
        process.stdin.close()
    for stop in (None, process.terminate, process.kill):
        if stop is not None:
            with suppress(ProcessLookupError):
                stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                code = await process.wait()
                return code if 0 <= code < 256 else 1
    return 1
