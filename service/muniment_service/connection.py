"""One HTTP/1.1 connection of a server: aiohttp's parser, with deadlines and bounds of our own.

aiohttp's C parser cuts requests out of what comes, and its `StreamReader` holds their bodies. Its
server is not used: it makes a task, a request, a writer and a timer for each request, which costs
twice what the request does, and does not bound what has to be bounded:

1. *Idle*, or within a request's head: the connection is closed without a word when the time is up.
2. *Receiving* a body that a handler has asked for: the handler gets a 408.
3. *Answering*: the handler works, and has limits of its own; there is no deadline here.
4. *Sending*: the client must take the response in time, or loses the connection.

One task answers a connection's requests in turn, until either side has had enough. A client that
has only finished sending still gets the answers that are due.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final

from aiohttp import HttpVersion10
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError
from aiohttp.tcp_helpers import tcp_keepalive

from muniment.local.logs import event
from muniment_service.answers import BARE, head_of
from muniment_service.bodies import Body, incomplete
from muniment_service.http import Problem, Request, Responder, Response
from muniment_service.limits import Budget, Limits
from muniment_service.requestparser import AHEAD, RequestHead, RequestParser
from muniment_service.wire import CONTINUE, check_head, refusal_of

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

_LOGGER: Final = logging.getLogger(__name__)

LINGER_SECONDS: Final = 2.0
"""How long what a client still sends is thrown away when the server ends a connection."""

_TOGETHER: Final = 32 << 10
"""Bytes of a body that is copied behind its head; a longer one costs less as a write of its own."""

_TURNS: Final = 8
"""Turns of the event loop from accepting a connection to its protocol; it takes two or three."""


class Server:
    """Makes connections, and holds what they share.

    Attributes:
        app: What answers.
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
        self.app: Final = app
        self.limits: Final = limits
        self.budget: Final = Budget(limits.inflight_bytes)
        self.draining = False
        self.emptied: Final = asyncio.Event()
        self.open: Final[set[Connection]] = set()
        self._loop: Final = asyncio.get_running_loop()
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


class Connection(BaseProtocol):
    """One connection; see the module.

    Attributes:
        client: The address that it came from; empty when unknown.
        deadline: When it has waited too long for its client, by the loop's clock.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._requests: Final = RequestParser(self, loop)
        super().__init__(loop, self._requests)  # type: ignore[arg-type]  # it pauses it, no more
        self.client = ""
        self.deadline = inf
        self._server = server
        self._socket: Any = None  # asyncio.Transport, from which uvloop's does not derive
        self._heads: deque[RequestHead | Problem] = deque()  # what is still to be answered
        self._news: asyncio.Future[None] | None = None  # waited for when that is nothing
        self._body: StreamReader | None = None  # of the newest request
        self._task: asyncio.Task[None] | None = None
        self._answering = False
        self._in_head = False
        self._takes = True  # whether what comes is read as requests
        self._ended = False
        self._over = asyncio.Event()  # nothing more comes

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins, unless there are too many already."""
        self._socket = transport
        if not self._server.admits(transport):
            self._socket.abort()
            return
        super().connection_made(transport)
        tcp_keepalive(self._socket)
        self._server.open.add(self)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else ""
        self.deadline = self._server.after(self._server.limits.idle_seconds)
        self._task = self._loop.create_task(self._serve(), name="HTTP connection")

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone; a handler at work finishes for nobody."""
        self.deadline = inf
        self._takes = False  # also of one that was reset, and has not ended
        self._end()
        super().connection_lost(exc)
        self._wake()
        if not self._answering:
            self._server.gone(self)

    def data_received(self, data: bytes) -> None:
        """Parses what came; a head has its own time, however long the connection was idle."""
        if not self._takes:
            return
        if not (self._answering or self._in_head):
            self._in_head = True
            self.deadline = self._server.after(self._server.limits.idle_seconds)
        try:
            heads, is_last = self._requests.feed(data, len(self._heads))
        except HttpProcessingError as error:
            self._takes = False
            if self._body is not None and not self._body.is_eof():
                self._body.set_exception(incomplete())
            self._heads.append(refusal_of(error))
        else:
            if is_last:
                self._takes = False
            elif not heads:
                return
            if heads:
                self._heads.extend(heads)
                self._body = heads[-1][1]
            if len(self._heads) >= AHEAD and not self._buffer_paused:
                self._pause_reading_for_buffer()
        self._wake()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's
        """Reads on, if a body has had the reading paused; it asks each time that it is read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def eof_received(self) -> bool:
        """The client sends no more; it may still want its answers."""
        self._ended = True
        self._end()
        self._wake()
        # With TLS there is no half of a connection to keep.
        return bool(self._socket.can_write_eof())

    def _end(self) -> None:
        """Nothing more comes, so that a body which is not whole never will be."""
        self._over.set()
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(incomplete())

    # What the server and bodies ask.

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to answer."""
        return not (self._answering or self._heads)

    @property
    def has_ended(self) -> bool:
        """Whether the client sends no more."""
        return self._ended

    def send_continue(self) -> None:
        """Tells the client to send the body."""
        if self.transport is not None:
            self._socket.write(CONTINUE)

    def abort(self) -> None:
        """Ends at once, with what is under way."""
        self.deadline = inf
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._socket.abort()

    def finish(self) -> None:
        """Closes, once what was read already is answered."""
        self._takes = False
        self._wake()

    # The task.

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    async def _serve(self) -> None:
        """Answers requests in turn, and closes."""
        try:
            while (head := await self._next()) is not None:
                if not await self._answer(head):
                    break
        except ConnectionError:
            pass  # the client did not wait for its answer
        except Exception as error:  # noqa: BLE001  # nobody else looks at this task
            event(_LOGGER, logging.ERROR, "a connection failed", exc_info=error)
        finally:
            self._takes = False
            self._socket.close()

    async def _next(self) -> RequestHead | Problem | None:
        """What is to be answered next; None when nothing is, and nothing comes."""
        while not self._heads:
            if self._ended or not self._takes:
                return None
            self._news = self._loop.create_future()
            await self._news
        if self.transport is None:
            return None
        head = self._heads.popleft()
        self._requests.consumed()
        if self._buffer_paused and len(self._heads) <= AHEAD // 2:
            self.data_received(b"")  # what the parser has kept back
            if len(self._heads) < AHEAD:
                self._resume_reading_for_buffer()
        return head

    async def _answer(self, head: RequestHead | Problem) -> bool:
        """Answers a request, or what was none; whether another one may follow."""
        self._answering, self._in_head = True, False
        self.deadline = inf
        try:
            if isinstance(head, Problem):
                return await self._refuse(head)
            message, content = head
            minor = 0 if message.version == HttpVersion10 else 1
            try:
                stays = check_head(message)
            except Problem as problem:
                return await self._refuse(problem, message.method, minor)
            body = Body(self, message.headers, content, self._server.limits, self._server.budget)
            try:
                request = Request(message.method, message.path, body.headers, body, self.client)
                response = await self._respond(request)
                stays &= not message.should_close and message.method != "CONNECT"
                stays &= not self._server.draining and content.is_eof()
                stays &= self._takes or bool(self._heads)  # else nothing more is read
                await self._send(response, message.method, minor, stays=stays)
            finally:
                body.release()
            if not (stays or (message.should_close and content.is_eof())):
                await self._linger()
            return stays
        finally:
            self._answered()

    async def _respond(self, request: Request) -> Response:
        """The app's answer, which raises nothing but cancellation; a 500 if it does otherwise."""
        try:
            return await self._server.app.respond(request)
        except Exception as error:  # noqa: BLE001  # the client is to have an answer
            event(_LOGGER, logging.ERROR, "a request failed", exc_info=error)
            return _internal()

    def _answered(self) -> None:
        """The response is written, or never will be."""
        self._answering = False
        if self.transport is None:
            self._server.gone(self)
            return
        limits = self._server.limits
        is_idle = not self._socket.get_write_buffer_size()
        self.deadline = self._server.after(limits.idle_seconds if is_idle else limits.send_seconds)

    async def _send(self, response: Response, method: str, minor: int, *, stays: bool) -> None:
        """Writes a response, and waits until the client takes what it may have to wait for.

        Raises ConnectionError when the client is gone.
        """
        try:
            head = head_of(response, minor, stays=stays)
        except ValueError as error:
            event(_LOGGER, logging.ERROR, "a response could not be written", exc_info=error)
            response = _internal()
            head = head_of(response, minor, stays=stays)
        if self.transport is None or self._socket.is_closing():
            raise ConnectionResetError("the client is gone")
        self.deadline = self._server.after(self._server.limits.send_seconds)  # see `expire`
        body = b"" if method == "HEAD" or response.status in BARE else response.body
        if len(body) > _TOGETHER:
            self._socket.write(head)
            self._socket.write(body)
        else:
            self._socket.write(head + body)
        if self._paused:
            await self._drain_helper()

    async def _refuse(self, problem: Problem, method: str = "", minor: int = 1) -> bool:
        """Says why what came is no request; none may follow."""
        await self._send(problem.response(), method, minor, stays=False)
        await self._linger()
        return False

    async def _linger(self) -> None:
        """Throws away for a moment what the client still sends, which does not know of the end.

        Closing at once resets the connection, which could take its answers from the client.
        """
        self._takes = False
        if self._ended or self.transport is None:
            return
        if self._socket.can_write_eof():  # not with TLS
            self._socket.write_eof()
        self._resume_transport_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._over.wait()


def _internal() -> Response:
    """What is told to a client when something is wrong here."""
    return Problem(500, "internal", HTTPStatus.INTERNAL_SERVER_ERROR.description).response()


async def drain(server: Server) -> None:
    """Lets requests in flight finish, for a bounded time; then no connection is left."""
    server.draining = True
    for connection in [one for one in server.open if one.is_idle]:
        connection.finish()
    if server.open:
        with suppress(TimeoutError):
            async with asyncio.timeout(server.limits.grace_seconds):
                await server.emptied.wait()
    for connection in list(server.open):
        connection.abort()
    if server.open:
        await server.emptied.wait()
    for _ in range(_TURNS):  # what had just been accepted is known by then, and refused
        await asyncio.sleep(0)
