"""One HTTP/1.1 connection of a server (RFC 9112): an asyncio protocol over httptools' parser.

What a connection is doing decides what its deadline means:

1. *Idle*, or within a request's head: it is closed without a word when time is up.
2. *Receiving* a body that a handler has asked for: the handler gets a 408.
3. *Answering*: the handler works, and has limits of its own; there is no deadline here.
4. *Sending*: the client must take the response in time, or loses the connection.
5. *Lingering*: a response was sent before the request had come whole. What still comes is thrown
   away for a moment, because closing at once could take the response from the client.

Requests of one connection are answered one after the other. What a client sends ahead is bounded:
nothing more is read while a complete request waits for its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from muniment.service.http import Problem, Request, Response
from muniment.service.incoming import Incoming
from muniment.service.wire import CONTINUE, MAX_HEAD, check_head, head_too_large, response_head

if TYPE_CHECKING:
    from muniment.service.hub import Hub

MAX_AHEAD: Final = 64
"""Requests that a client may have sent ahead in what was read at once."""

LINGER_SECONDS: Final = 2.0

_FRAMING: Final = 8
"""Bytes on the wire for a byte of a body in chunks; six of them make chunks of a single byte."""

_HELD: Final = 64 << 10
"""Bytes of a body that are read before a handler asks for it."""

_SMALL: Final = 64 << 10
"""Up to this many bytes, head and body are sent as one piece: a copy costs less than a call."""


class Connection(asyncio.Protocol):
    """One connection; see the module.

    Attributes:
        hub: The server's.
        deadline: When it has waited too long for its client, by the loop's clock.
    """

    def __init__(self, hub: Hub) -> None:
        """Belongs to a server."""
        self.hub = hub
        self.deadline = inf
        self._parser = HttpRequestParser(self)
        self._transport: Any = None  # asyncio.Transport, from which uvloop's does not derive
        self._client = ""
        self._target = b""
        self._incoming = Incoming(self)  # what is being read
        self._fed = 0  # bytes of it, framing included
        self._broken: Problem | None = None  # what a callback of the parser objected to
        self._waiting: deque[Incoming] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._lost = False
        self._deaf = False  # what still comes is no request
        self._ended = False  # nothing still comes
        self._paused_reading = False
        self._paused_writing = False

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins, unless there are too many already."""
        hub = self.hub
        self._transport = transport
        if (
            hub.draining
            or len(hub.connections) >= hub.limits.connections
            or not hub.admits(transport)
        ):
            self._deaf = True
            self._transport.abort()
            return
        hub.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        self.deadline = hub.after(hub.limits.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # all are the same
        """The client is gone; a handler at work finishes for nobody."""
        self._lost = self._deaf = True
        self.deadline = inf
        for waiting in self._waiting:
            waiting.release()
        self._waiting.clear()
        self._incoming.fail(_incomplete())
        if self._answering is None:
            self.hub.gone(self)

    def eof_received(self) -> bool:
        """The client sends no more; it may still want its answer."""
        self._deaf = self._ended = True
        self._incoming.fail(_incomplete())
        # With TLS there is no half of a connection to keep.
        return not self.is_idle and bool(self._transport.can_write_eof())

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._paused_writing = False
        if self._answering is None and not self._transport.is_closing():
            self.deadline = self.hub.after(self.hub.limits.idle_seconds)
            self._next()

    def data_received(self, data: bytes) -> None:
        """Parses what came, and answers what is complete."""
        if self._deaf:
            return
        is_new = self._fed == 0
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            # Nothing is upgraded to: the request is answered as it is, and is the last one.
            self._deaf = True
        except HttpParserError as error:
            self._refuse(self._broken or Problem(400, "bad-request", f"not HTTP/1.1: {error}"))
        else:
            self._check_framing()
        if self._answering is None:
            if self._waiting:
                self._next()
            elif is_new:  # a head has its own time, however long the connection was idle
                self.deadline = self.hub.after(self.hub.limits.idle_seconds)
        if self._waiting or (self._incoming.most < 0 and self._incoming.received > _HELD):
            self._pause_reading()

    def _check_framing(self) -> None:
        """Bounds what the parser collects; queues a request whose body is on its way."""
        incoming = self._incoming
        if not incoming.has_head:
            if self._fed > MAX_HEAD:
                self._refuse(head_too_large())
            return
        if incoming.length is None and self._fed > MAX_HEAD + _FRAMING * incoming.received:
            self._refuse(_incomplete())
        elif not incoming.queued:
            incoming.queued = True
            self._waiting.append(incoming)

    # What the parser tells. It gives up when one of these raises.

    def on_url(self, part: bytes) -> None:
        """A part of the request's target."""
        self._target += part
        if len(self._target) > MAX_HEAD:
            raise self._objection(head_too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those behind a body say nothing to us."""
        if not self._incoming.has_head:
            try:
                self._incoming.headers.add(name, value)
            except Problem as problem:
                raise self._objection(problem) from None

    def on_headers_complete(self) -> None:
        """The head is complete."""
        incoming, parser = self._incoming, self._parser
        try:
            incoming.length = check_head(parser.get_http_version(), incoming.headers)
        except Problem as problem:
            raise self._objection(problem) from None
        if incoming.length != 0 and parser.should_upgrade():
            raise self._objection(
                Problem(400, "bad-request", "a request for an upgrade cannot have a body")
            )
        incoming.method = parser.get_method().decode("ascii")
        incoming.target = self._target.decode("utf-8", "surrogateescape")
        incoming.keep_alive = parser.should_keep_alive()
        incoming.has_head = True
        self._target = b""

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._incoming.feed(data)

    def on_message_complete(self) -> None:
        """The request is complete; another may follow in the same data."""
        incoming, self._incoming = self._incoming, Incoming(self)
        self._fed = 0
        incoming.complete()
        if not incoming.queued:
            if len(self._waiting) >= MAX_AHEAD:
                raise self._objection(
                    Problem(400, "bad-request", f"more than {MAX_AHEAD} requests at once")
                )
            incoming.queued = True
            self._waiting.append(incoming)

    def _objection(self, problem: Problem) -> Problem:
        self._broken = problem
        return problem

    def _refuse(self, problem: Problem) -> None:
        """What came is no request: says so in its turn, and reads no further."""
        self._deaf = True
        if self._incoming.queued:
            self._incoming.fail(_incomplete())
        else:
            self._incoming.problem = problem
            self._waiting.append(self._incoming)

    # What a request's body needs.

    def expect_body(self, incoming: Incoming) -> None:
        """A handler waits for the rest of the body."""
        self.deadline = self.hub.after(self.hub.limits.body_seconds)
        if incoming.wants_continue:
            self._transport.write(CONTINUE)
        self._resume_reading()

    def body_ended(self) -> None:
        """No handler waits any more."""
        self.deadline = inf

    # Answering.

    def _next(self) -> None:
        """Answers the next request, if one waits and the last response has gone."""
        if self._waiting and not (self._lost or self._paused_writing):
            self.deadline = inf
            self._answering = self.hub.loop.create_task(self._answer(self._waiting.popleft()))

    async def _answer(self, incoming: Incoming) -> None:
        sent = False
        try:
            response = await self._respond(incoming)
            if not self._lost:
                self._send(incoming, response)
            sent = True
        finally:
            incoming.release()
            self._answering = None
            if self._lost:
                self.hub.gone(self)
            elif sent:
                self._next()
            else:
                self._transport.abort()

    async def _respond(self, incoming: Incoming) -> Response:
        if incoming.problem is not None:
            return incoming.problem.response()
        return await self.hub.app.respond(
            Request(incoming.method, incoming.target, incoming.headers, incoming, self._client)
        )

    def _send(self, incoming: Incoming, response: Response) -> None:
        hub, transport = self.hub, self._transport
        goes_on = (
            incoming.keep_alive
            and incoming.is_complete
            and not hub.draining
            and (bool(self._waiting) or not self._deaf)
        )
        head = response_head(response, keep_alive=goes_on, date=hub.date)
        body = b"" if incoming.method == "HEAD" else response.body
        if len(body) <= _SMALL:
            transport.write(head + body)
        else:
            transport.writelines([head, body])
        limits = hub.limits
        if goes_on:
            seconds = limits.send_seconds if self._paused_writing else limits.idle_seconds
            self.deadline = hub.after(seconds)
            if not self._waiting:
                self._resume_reading()
            return
        self._deaf = True
        for waiting in self._waiting:
            waiting.release()
        self._waiting.clear()
        if incoming.is_complete or self._ended or not transport.can_write_eof():
            self.deadline = hub.after(limits.send_seconds)
            transport.close()
        else:
            self.deadline = hub.after(LINGER_SECONDS)
            transport.write_eof()
            self._resume_reading()

    # Time, and the end.

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to answer."""
        return self._answering is None and not self._waiting

    def expire(self) -> None:
        """The deadline has passed."""
        if self._answering is None:
            self.abort()
        else:
            self.deadline = inf
            seconds = self.hub.limits.body_seconds
            self._incoming.fail(
                Problem(408, "too-slow", f"the body did not arrive within {seconds:g} seconds")
            )

    def close(self) -> None:
        """Ends an idle connection; what was sent still goes out."""
        self._deaf = True
        self._transport.close()

    def abort(self) -> None:
        """Ends at once, with what is under way."""
        self.deadline = inf
        if self._answering is not None:
            self._answering.cancel()
        self._transport.abort()

    def _pause_reading(self) -> None:
        if not (self._paused_reading or self._lost):
            self._paused_reading = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused_reading and not self._lost:
            self._paused_reading = False
            self._transport.resume_reading()


def _incomplete() -> Problem:
    return Problem(400, "incomplete-body", "the body ended early or is malformed")
