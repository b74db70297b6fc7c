"""A server's side of one HTTP/2 connection that it has opened itself (RFC 9113).

h2 knows states, header compression and flow control. Here are the requests: a task for each, with
the bounds of `limits`, the same bodies, and the same handlers as over HTTP/1.1. A request whose
client gave up is finished for nobody, as there, and counts among the open ones until then: who
opens and resets streams without end gets no further than who leaves them open.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import h2.events as happened
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from multidict import CIMultiDictProxy

from muniment.local.logs import event
from muniment_service.answers import BARE, fields_of
from muniment_service.bodies import Body
from muniment_service.http import Problem, Request, Responder, Response
from muniment_service.http2frames import (
    LAST_STREAM,
    MAX_FRAME,
    NO_ERROR,
    PREFACE,
    FrameReader,
    Http2Error,
    goaway,
    is_malformed,
)
from muniment_service.http2stream import Http2Stream
from muniment_service.limits import Budget, Limits
from muniment_service.wire import MAX_HEAD, MAX_HEADERS, head_too_large

MAX_STREAMS: Final = 100
"""Requests under way at one time; section 6.5.2 advises against less."""

PING_SECONDS: Final = 30.0
"""After which a connection on which nothing has come is asked whether it is still there."""

PONG_SECONDS: Final = 15.0
"""How long it has for the answer."""

_WINDOW: Final = 1 << 20
"""Bytes of all bodies together that may come before handlers read them; of one, 64 KiB."""

_READ: Final = 64 << 10
_LOGGER: Final = logging.getLogger(__name__)


class Http2Connection:
    """One connection; `serve` it once."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        app: Responder,
        limits: Limits,
        budget: Budget,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        """Serves `app` to the client behind a reader and a writer, which `serve` closes.

        `began` is called when the client has begun to speak HTTP/2.
        """
        self._reader = reader
        self._writer = writer
        self._app = app
        self._limits = limits
        self._budget = budget
        self._streams: dict[int, Http2Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest = 0
        self._is_finished = False
        self._began = began
        self._pong = asyncio.Event()
        self._emptied = asyncio.Event()
        self._frames = FrameReader(asyncio.get_running_loop().time)
        # h2 would end the connection, and with it everybody's requests, for one that is malformed.
        self._h2 = H2Connection(H2Configuration(client_side=False, validate_inbound_headers=False))
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
            },
        )
        self._h2.decoder.max_header_list_size = MAX_HEAD

    async def serve(self) -> None:
        """Serves until either side ends the connection; then it is closed.

        Raises Http2Error that says why, unless the client said goodbye and got its answers.
        """
        try:
            self._h2.initiate_connection()
            self._h2.increment_flow_control_window(_WINDOW - 65_535)
            await self._flush()
            await self._read()
        except (OSError, TimeoutError) as error:
            self._writer.transport.abort()  # nobody is there to take leave of
            raise Http2Error(f"the connection broke: {_reason(error)}") from error
        finally:
            for stream in list(self._streams.values()):
                stream.end()
            self._writer.close()
            self._pong.set()
            if self._tasks:  # they finish for nobody
                await asyncio.wait(self._tasks, timeout=self._limits.grace_seconds)
            for task in self._tasks:
                task.cancel()
            await self._closed()

    async def _closed(self) -> None:
        """Waits until the socket is closed, which TLS does when the other side answers."""
        try:
            with suppress(OSError):
                async with asyncio.timeout(self._limits.grace_seconds):
                    await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()

    async def finish(self) -> None:
        """Takes no more requests, answers those that came (within `grace_seconds`), and closes.

        As section 6.8 has it: all that was sent before the client knows comes before its pong.
        """
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._limits.grace_seconds):
                self._put(goaway(LAST_STREAM, NO_ERROR))
                self._pong.clear()
                self._h2.ping(b"finished")
                await self._flush()
                await self._pong.wait()
                while self._tasks:
                    self._emptied.clear()
                    await self._emptied.wait()
                self._put(goaway(self._newest, NO_ERROR))
        self._is_finished = True
        self._writer.close()

    @property
    def is_begun(self) -> bool:
        """Whether the client has begun to speak HTTP/2."""
        return self._frames.is_begun

    # What comes.

    async def _read(self) -> None:
        is_asked = False
        while not (self._frames.is_leaving and not self._tasks):
            try:
                async with asyncio.timeout(PONG_SECONDS if is_asked else PING_SECONDS):
                    data = await self._reader.read(_READ)
            except TimeoutError:
                if is_asked:
                    raise Http2Error("no answer to a ping") from None
                is_asked = True
                self._h2.ping(b"there???")
                await self._flush()
                continue
            is_asked = False
            if not data:
                if self._is_finished or self._frames.is_leaving:
                    return
                raise Http2Error("the other side closed the connection")
            self._take(data)
            await self._flush()

    def _take(self, data: bytes) -> None:
        try:
            for frame in self._frames.cut(data):
                if frame is PREFACE:
                    self._began()
                for each in self._h2.receive_data(frame):
                    self._happened(each)
        except Http2Error as error:
            self._put(goaway(self._newest, error.code))
            raise
        except ProtocolError as error:
            self._write()  # h2's own GOAWAY
            raise Http2Error(f"not HTTP/2: {error}") from error

    def _happened(self, each: happened.Event) -> None:
        match each:
            case happened.RequestReceived():
                self._begin(each)
            case happened.DataReceived(stream_id=number, data=data):
                size = each.flow_controlled_length or 0
                stream = self._streams.get(number or 0)
                if stream is None or stream.is_over:
                    self._consumed(number or 0, size)
                else:
                    stream.feed(data or b"", size)
            case happened.StreamEnded(stream_id=number) if stream := self._streams.get(number or 0):
                stream.feed_eof()
            case happened.StreamReset(stream_id=number) if stream := self._streams.get(number or 0):
                stream.end()
            case happened.WindowUpdated() | happened.RemoteSettingsChanged():
                for stream in self._streams.values():
                    stream.window.set()
            case happened.PingAckReceived():
                self._pong.set()
            case _:
                pass

    def _begin(self, received: happened.RequestReceived) -> None:
        number = received.stream_id or 0
        self._newest = max(self._newest, number)
        if len(self._tasks) >= MAX_STREAMS:
            self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        fields = [(_text(name), _text(value)) for name, value in received.headers or ()]
        stream = Http2Stream(number, partial(self._consumed, number))
        stream.is_malformed = is_malformed(fields)
        pseudo = {name: value for name, value in fields if name.startswith(":")}
        for name, value in fields:
            if not name.startswith(":"):
                stream.named.add(name, value)
        if ":authority" in pseudo and "host" not in stream.named:
            stream.named.add("host", pseudo[":authority"])
        self._streams[number] = stream
        method, target = pseudo.get(":method", ""), pseudo.get(":path", "")
        task = asyncio.create_task(self._answer(stream, method, target), name="HTTP/2 request")
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, number))

    def _consumed(self, number: int, size: int) -> None:
        """A handler has read so many bytes: as many more may come."""
        if size:
            with suppress(ProtocolError):
                self._h2.acknowledge_received_data(size, number)
            self._write()

    def _done(self, number: int, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if (stream := self._streams.pop(number, None)) is not None:
            stream.end()
        if not self._tasks:
            self._emptied.set()
            if self._frames.is_leaving:
                self._writer.close()

    # What goes.

    async def _answer(self, stream: Http2Stream, method: str, target: str) -> None:
        named = CIMultiDictProxy(stream.named)
        body = Body(stream, named, stream, self._limits, self._budget)
        try:
            if stream.is_malformed:
                # Reset with PROTOCOL_ERROR, Go's clients send nothing more on the connection.
                response = Problem(400, "bad-request", "a header field is malformed").response()
            elif len(stream.named) > MAX_HEADERS:
                response = head_too_large().response()
            elif not target or method == "CONNECT":
                response = Problem(400, "bad-request", "a request needs a path").response()
            else:
                request = Request(method, target, body.headers, body)
                response = await self._app.respond(request)
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send(stream, response, with_body=method != "HEAD")
        except (OSError, TimeoutError, ProtocolError):
            stream.end()
            self._reset(stream, ErrorCodes.CANCEL)
        except ValueError as error:
            event(_LOGGER, logging.ERROR, "a response could not be written", exc_info=error)
            self._reset(stream, ErrorCodes.INTERNAL_ERROR)
        finally:
            body.release()

    async def _send(self, stream: Http2Stream, response: Response, *, with_body: bool) -> None:
        if stream.is_over:
            return
        left = memoryview(response.body)
        if not with_body or response.status in BARE:
            left = left[:0]
        self._h2.send_headers(stream.number, fields_of(response), end_stream=not left)
        await self._flush()
        while left and not stream.is_over:
            room = self._h2.local_flow_control_window(stream.number)
            size = min(room, self._h2.max_outbound_frame_size, len(left))
            if size <= 0:
                stream.window.clear()
                await stream.window.wait()
                continue
            is_last = size == len(left)
            self._h2.send_data(stream.number, bytes(left[:size]), end_stream=is_last)
            left = left[size:]
            await self._flush()
        if not stream.is_eof():  # section 8.1: the rest of the request is not wanted
            self._reset(stream, ErrorCodes.NO_ERROR)

    def _reset(self, stream: Http2Stream, error: ErrorCodes) -> None:
        with suppress(ProtocolError):
            self._h2.reset_stream(stream.number, error)
        self._write()

    def _write(self) -> None:
        self._put(self._h2.data_to_send())

    def _put(self, data: bytes) -> None:
        # A transport of TLS that has lost its connection fails to be written to.
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def _flush(self) -> None:
        self._write()
        async with asyncio.timeout(self._limits.send_seconds):
            await self._writer.drain()


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or type(error).__name__


def _text(field: bytes | str) -> str:
    return field if isinstance(field, str) else field.decode("utf-8", "surrogateescape")
