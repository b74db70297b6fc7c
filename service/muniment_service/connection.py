"""One HTTP/1.1 connection of a server: aiohttp's protocol, with deadlines and bounds of our own.

aiohttp parses, pipelines and writes. What it does not bound is bounded here, by its public classes:

1. *Idle*, or within a request's head: aiohttp gives a slow head all the time it wants; here the
   connection is closed without a word when the time is up.
2. *Receiving* a body that a handler has asked for: the handler gets a 408.
3. *Answering*: the handler works, and has limits of its own; there is no deadline here.
4. *Sending*: the client must take the response in time, or loses the connection.

aiohttp closes a connection as soon as its client sends no more, with the answers that are due;
here a client that has only finished sending still gets them.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from math import inf
from typing import Any, Final, cast

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader

from muniment.local.logs import event
from muniment_service.answers import Answer
from muniment_service.bodies import READ_AHEAD, Body, Received, incomplete
from muniment_service.http import Problem, Request, Responder, Response
from muniment_service.limits import Budget, Limits
from muniment_service.wire import (
    MAX_HEAD,
    MAX_HEADERS,
    check_head,
    head_too_large,
)

_LOGGER: Final = logging.getLogger(__name__)

LINGER_SECONDS: Final = 2.0
"""How long what a client still sends is thrown away after its refusal: closing at once could take
the response from it."""

_UNPARSED: Final = "UNKNOWN"
"""The method that aiohttp gives to what was no request; the parser knows no such method."""

_VERSION: Final = web.RequestKey("version", HttpVersion)
"""Where a request keeps the version that it came in."""

_TURNS: Final = 8
"""Turns of the event loop within which aiohttp begins the next of several pipelined requests; it
takes two or three."""


class Server(web.Server):
    """Makes connections, and holds what they share.

    Attributes:
        limits: What is taken at most.
        budget: Bytes of bodies held, over all connections.
        draining: Whether the server is stopping, so that no connection is kept alive.
        emptied: Set when the last connection of a server that stops has gone.
        open: The connections that are open.
    """

    def __init__(
        self,
        app: Responder,
        limits: Limits,
        admits: Callable[[asyncio.BaseTransport], bool] = lambda _: True,
    ) -> None:
        super().__init__(self._answer, request_factory=self._request_of)
        self.limits: Final = limits
        self.budget: Final = Budget(limits.inflight_bytes)
        self.draining = False
        self.emptied: Final = asyncio.Event()
        self.open: Final[set[Connection]] = set()
        self._app: Final = app
        self._admits: Final = admits

    def __call__(self) -> "Connection":
        """Makes the protocol of a new connection."""
        return Connection(self, self._loop)

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether one more connection may stay."""
        is_full = len(self.open) >= self.limits.connections
        return not (self.draining or is_full) and self._admits(transport)

    def after(self, seconds: float) -> float:
        """The time in so many seconds, by the loop's clock."""
        return self._loop.time() + seconds

    def expire(self) -> None:
        """Cuts off every connection whose deadline has passed."""
        now = self._loop.time()
        for connection in [one for one in self.open if one.deadline < now]:
            connection.abort()

    def gone(self, connection: "Connection") -> None:
        """Forgets a connection."""
        self.open.discard(connection)
        if self.draining and not self.open:
            self.emptied.set()

    def _request_of(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        version = message.version
        # aiohttp answers in the version that it was asked in, and what it could not parse as
        # HTTP/1.0; this server speaks 1.1 and says so.
        if message.method == _UNPARSED or version not in {HttpVersion10, HttpVersion11}:
            message = message._replace(version=HttpVersion11)
        received = web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        received[_VERSION] = version
        return received

    async def _answer(self, received: web.BaseRequest) -> web.StreamResponse:
        connection = received.protocol
        assert isinstance(connection, Connection)  # noqa: S101  # made above
        # pyright does not see that aiohttp's cached properties are properties (3.14.5).
        body = Body(connection, cast("Received", received), self.limits, self.budget)
        connection.begin(received.content)
        goes_on, is_request = False, True
        try:
            try:
                goes_on = check_head(received[_VERSION], received.raw_path, received.raw_headers)
            except Problem as problem:
                response, is_request = problem.response(), False
            else:
                goes_on &= received.method != "CONNECT"
                response = await self._app.respond(
                    Request(
                        received.method,
                        received.raw_path,
                        body.headers,
                        body,
                        connection.client,
                    )
                )
            answer = Answer(response)
            if not goes_on or self.draining or not received.content.is_eof():
                answer.force_close()
            await self._send(connection, received, answer)
            if not is_request:
                await connection.linger()
            return answer
        finally:
            body.release()
            connection.end()

    async def _send(
        self, connection: "Connection", received: web.BaseRequest, answer: Answer
    ) -> None:
        connection.deadline = self.after(self.limits.send_seconds)  # see `expire`
        await answer.prepare(received)
        await answer.write_eof()


class Connection(web.RequestHandler):
    """One connection; see the module.

    Attributes:
        client: The address that it came from; empty when unknown.
        deadline: When it has waited too long for its client, by the loop's clock.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own runner passes None too
            auto_decompress=False,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEADERS + 1,
            read_bufsize=READ_AHEAD,
        )
        self.client = ""
        self.deadline = inf
        self._server = server
        self._socket: Any = None  # asyncio.Transport, from which uvloop's does not derive
        self._answering = False
        self._begun = 0
        self._in_head = False
        self._ended = False
        self._over = asyncio.Event()  # nothing more comes
        self._content: StreamReader | None = None
        self._task: asyncio.Task[Any] | None = None

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins, unless there are too many already."""
        self._socket = transport
        if not self._server.admits(transport):
            self._socket.abort()
            return
        self._server.open.add(self)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else ""
        self.deadline = self._server.after(self._server.limits.idle_seconds)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone; a handler at work finishes for nobody."""
        self.deadline = inf
        self._over.set()
        super().connection_lost(exc)
        if not self._answering:
            self._server.gone(self)

    def data_received(self, data: bytes) -> None:
        """Parses what came; a head has its own time, however long the connection was idle."""
        if not (self._answering or self._in_head):
            self._in_head = True
            self.deadline = self._server.after(self._server.limits.idle_seconds)
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio reads the answer
        """The client sends no more; it may still want its answers."""
        self._ended = True
        self._over.set()
        if self._content is not None and not self._content.is_eof():
            self._content.set_exception(incomplete())
        # With TLS there is no half of a connection to keep.
        if not self._socket.can_write_eof():
            return False
        if not self._answering:
            self._close_soon()
        return True

    # What the server tells.

    def begin(self, content: StreamReader) -> None:
        """A request is being answered."""
        self._answering, self._in_head = True, False
        self._begun += 1
        self._content = content
        self._task = asyncio.current_task()
        self.deadline = inf
        if self._server.draining and not self._socket.is_closing():
            self._socket.resume_reading()  # its body may still come

    def end(self) -> None:
        """The response is written, or never will be."""
        self._answering = False
        if self._ended and self._content is not None and not self._content.is_eof():
            # Nothing more comes. aiohttp would read on, and log what it finds as a defect.
            self._content.feed_eof()
        self._content = self._task = None
        if self.transport is None:
            self._server.gone(self)
            return
        limits = self._server.limits
        is_idle = not self._socket.get_write_buffer_size()
        self.deadline = self._server.after(limits.idle_seconds if is_idle else limits.send_seconds)
        if self._ended:
            self._close_soon()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to answer."""
        return not self._answering

    @property
    def has_ended(self) -> bool:
        """Whether the client sends no more."""
        return self._ended

    def abort(self) -> None:
        """Ends at once, with what is under way."""
        self.deadline = inf
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self.force_close()
        self._socket.abort()

    def finish(self) -> None:
        """Closes, unless a request that was read already begins to be answered now.

        aiohttp answers what it has parsed even on a closed connection: closing at once would let
        a request take effect whose answer nobody gets. So nothing more is read meanwhile.
        """
        if not self._socket.is_closing():
            self._socket.pause_reading()
        self._close_soon()

    async def linger(self) -> None:
        """Throws away for a moment what a client still sends behind its refusal.

        Closing at once resets the connection, which could take the response from the client.
        """
        self.close()  # aiohttp drops what comes from here on
        if self.transport is None or self._ended or not self._socket.can_write_eof():
            return
        self._socket.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._over.wait()

    def _close_soon(self) -> None:
        """Closes, unless a request that came before the end begins to be answered now."""
        self._close_after(_TURNS, self._begun)

    def _close_after(self, turns: int, begun: int) -> None:
        if self._answering or self._begun != begun:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._close_after, turns - 1, begun)
        else:
            self.force_close()

    # What aiohttp asks.

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What came is no request: says so as a problem, and reads no further."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun already")
        if status != HTTPStatus.BAD_REQUEST:
            event(_LOGGER, logging.ERROR, "a response could not be written", exc_info=exc)
            problem = Problem(500, "internal", HTTPStatus.INTERNAL_SERVER_ERROR.description)
        elif isinstance(exc, LineTooLong) or "Too many headers" in (message or ""):
            problem = head_too_large()
        else:
            reason = str(message or exc).partition("\n")[0].rstrip(":")
            problem = Problem(400, "bad-request", f"not HTTP/1.1: {reason}")
        answer = _LastAnswer(self, problem.response())
        answer.force_close()
        return answer


class _LastAnswer(Answer):
    """The refusal of what is no request, which aiohttp writes by itself."""

    def __init__(self, connection: Connection, response: Response) -> None:
        super().__init__(response)
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        """Sends it, and lingers."""
        await super().write_eof(data)
        await self._connection.linger()


async def drain(server: Server) -> None:
    """Lets requests in flight finish, for a bounded time; then no connection is left."""
    server.draining = True
    for connection in [one for one in server.open if one.is_idle]:
        connection.finish()
    if server.open:
        with suppress(TimeoutError):
            await asyncio.wait_for(server.emptied.wait(), server.limits.grace_seconds)
    for connection in list(server.open):
        connection.abort()
    if server.open:
        await server.shutdown(0)
        await server.emptied.wait()
    for _ in range(_TURNS):  # what had just been accepted is known by then, and refused
        await asyncio.sleep(0)
