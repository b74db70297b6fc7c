"""Bastions for tests: the real litebastion, and an HTTP/2 client that a test drives by hand."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

import foreign
from certificates import Authority
from ports import free_port
from waiting import eventually, listens


class Litebastion:
    """The bastion of filippo.io/torchwood, at one address however often it is started.

    Attributes:
        url: where it listens while it runs.
        ca: the file with the CA of its certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._program = foreign.program("litebastion")
        folder.mkdir()
        self._folder = folder
        authority = Authority(folder)
        self.ca = authority.file
        self._certificate, self._key = authority.issue("bastion")
        self._backends = folder / "backends"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"https://127.0.0.1:{self._port}"
        self.allow()

    def allow(self, *hashes: str) -> None:
        """Lets backends with these keys in, and no others."""
        self._backends.write_text("# those of the test\n" + "".join(f"{one}\n" for one in hashes))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        argv = [
            self._program, "-listen", f"127.0.0.1:{self._port}", "-tls-cert", self._certificate,
            "-tls-key", self._key, "-backends", self._backends,
        ]  # fmt: skip
        with (
            (self._folder / "log").open("ab") as log,
            subprocess.Popen(list(map(str, argv)), stdout=log, stderr=log) as process,
        ):
            self._process = process
            try:
                eventually(partial(listens, self._port), (self._folder / "log").read_text)
                yield
            finally:
                self._process = None
                process.kill()


class Client:
    """The bastion's side of a connection: an HTTP/2 client over streams.

    What the server sends is in `events`, in order; its DATA is acknowledged at once.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.events: list[h2.events.Event] = []
        self.writer = writer
        self.has_ended = False
        self._reader = reader
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def begin(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        with contextlib.suppress(OSError):
            await self.writer.drain()

    def fall_silent(self) -> None:
        """Answers no ping from here on."""
        self._task.cancel()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.writer.close()
        # Closing TLS takes an answer: a loop that ends before it leaves the socket open.
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def _read(self) -> None:
        with contextlib.suppress(OSError, ProtocolError):  # h2 takes nothing after a GOAWAY
            while data := await self._reader.read(65_536):
                for each in self.h2.receive_data(data):
                    self.events.append(each)
                    if isinstance(each, h2.events.DataReceived):
                        size = each.flow_controlled_length or 0
                        self.h2.acknowledge_received_data(size, each.stream_id or 0)
                await self.flush()
                self._news.set()
        self.has_ended = True
        self.writer.close()
        self._news.set()

    def send(
        self,
        path: str,
        body: bytes = b"",
        *,
        method: str = "",
        headers: Sequence[tuple[str, str]] = (),
        ends: bool = True,
    ) -> int:
        """Begins a request; its stream. Nothing is sent before `flush`."""
        stream = self.h2.get_next_available_stream_id()
        method = method or ("POST" if body else "GET")
        fields = [
            (":method", method), (":path", path), (":scheme", "https"), (":authority", "a"),
            *headers,
        ]  # fmt: skip
        self.h2.send_headers(stream, fields, end_stream=ends and not body)
        for at in range(0, len(body), 16_000):
            is_last = at + 16_000 >= len(body)
            self.h2.send_data(stream, body[at : at + 16_000], end_stream=ends and is_last)
        return stream

    async def answer(self, stream: int) -> tuple[int, dict[str, str], bytes]:
        """Waits for the whole answer on a stream; raises ConnectionResetError if there is none."""
        ended = (h2.events.StreamEnded, h2.events.StreamReset)
        while not (found := [one for one in self._of(stream) if isinstance(one, ended)]):
            if self.has_ended:
                raise ConnectionResetError("the connection is closed")
            self._news.clear()
            await self._news.wait()
        if isinstance(found[0], h2.events.StreamReset):
            raise ConnectionResetError(ErrorCodes(int(found[0].error_code or 0)).name)
        [head] = [one for one in self._of(stream) if isinstance(one, h2.events.ResponseReceived)]
        headers = {str(name): str(value) for name, value in head.headers or ()}
        data = [
            one.data or b"" for one in self._of(stream) if isinstance(one, h2.events.DataReceived)
        ]
        return int(headers[":status"]), headers, b"".join(data)

    async def ask(
        self, path: str, body: bytes = b"", **more: object
    ) -> tuple[int, dict[str, str], bytes]:
        stream = self.send(path, body, **more)  # type: ignore[arg-type]
        await self.flush()
        return await self.answer(stream)

    async def ended(self) -> None:
        """Waits until the server has closed the connection."""
        while not self.has_ended:
            self._news.clear()
            await self._news.wait()

    def _of(self, stream: int) -> list[h2.events.Event]:
        return [one for one in self.events if getattr(one, "stream_id", None) == stream]


@contextlib.asynccontextmanager
async def client_of(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[Client]:
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()
