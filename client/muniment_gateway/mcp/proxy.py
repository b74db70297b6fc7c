"""The gate on streamable HTTP: a reverse proxy in front of one server.

Requests are decided on their bodies, which the headers must repeat, and then go on with their
permit. Answers come as JSON or as events, and pass as they came; a client that goes away takes its
request with it. Nobody's token is passed on: a client's is for the gate, see `Clients`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from muniment.local.logs import event
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.mcp.events import Events, EventTooLongError, data_of, has_id, with_data
from muniment_gateway.mcp.gate import PATIENCE, McpGate
from muniment_gateway.mcp.headers import check_headers
from muniment_gateway.mcp.mapping import Caller
from muniment_gateway.mcp.messages import (
    DENIED,
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
from muniment_gateway.mcp.stdio import CANCELLED
from muniment_gateway.mcp.unanswered import Unanswered

BODY_SECONDS: Final = 30.0
"""How long a request's body may take to come."""

CONNECT_SECONDS: Final = 5.0
"""How long connecting to the server may take; how long its answer takes is for clients to bound."""

MOST_PENDING: Final = 1024
"""Requests under way at one time; more are refused."""

MOST_SESSIONS: Final = 10_000
"""Sessions that are known; the oldest one is forgotten, and its client begins anew."""

SESSION: Final = "Mcp-Session-Id"

_REQUEST_HEADERS: Final = frozenset(
    {"accept", "last-event-id", "traceparent", "tracestate", "user-agent"}
)
_RESPONSE_HEADERS: Final = ("Content-Type", "Cache-Control", "Allow", "X-Accel-Buffering", SESSION)
_JSON: Final = "application/json"

Named = Callable[[web.BaseRequest], str | None]
"""Tells the client's name by its token; None when it has none that is known."""


class McpProxy:
    """The handler of every request to one gate."""

    def __init__(
        self,
        gate: McpGate,
        upstream: str,
        http: aiohttp.ClientSession,
        *,
        named: Named,
        caller: Callable[[str], Caller],
        hosts: frozenset[str],
        withheld: tuple[str, ...],
    ) -> None:
        """Stands before the server at `upstream`, as one of `hosts` (names with ports)."""
        self._gate = gate
        self._upstream = upstream
        self._path = urlsplit(upstream).path or "/"
        self._http = http
        self._named = named
        self._caller = caller
        self._hosts = hosts
        self._withheld = withheld
        self._sessions: dict[str, str] = {}
        self._deciding: set[tuple[str, type, object]] = set()
        self._cancelled: set[tuple[str, type, object]] = set()
        self._unanswered = Unanswered()
        self._pending = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers a request; whatever goes wrong is an error in the protocol's form."""
        if request.host not in self._hosts:
            return _refused(421, "this server is not of that name")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc not in self._hosts:
            return _refused(403, "a page of another origin may not ask")
        if request.path != self._path:
            return _refused(404, f"the server is at {self._path}")
        client = self._named(request)
        if client is None:
            return _refused(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        session, *others = request.headers.getall(SESSION, [""])
        if others:  # the server may go by another one than is looked at here
            return _refused(400, f"the header {SESSION} is there twice")
        if session and self._sessions.get(session) != client:
            return _refused(404, "no such session")
        if self._pending >= MOST_PENDING:
            return _refused(503, "too many requests are under way", {"Retry-After": "1"})
        self._pending += 1
        try:
            if request.method == "POST":
                return await self._post(request, client, session)
            if request.method in ("GET", "DELETE"):
                if request.method == "DELETE":
                    await self._unanswered.give_up_all(session)
                return await self._forward(request, client, self._of(client, session), None)
            return _refused(405, "expected POST", {"Allow": "DELETE, GET, POST"})
        finally:
            self._pending -= 1

    async def _post(self, request: web.Request, client: str, session: str) -> web.StreamResponse:
        try:
            message = read_message(await _body(request))
            check_headers(message, request.headers.items())
        except MessageError as error:
            return _malformed(error)
        key = (session, *message.key)
        if message.method == CANCELLED and message.kind == "notification":
            id_ = message.params.get("requestId")
            cancelled = (session, type(id_), id_ if isinstance(id_, str | int) else None)
            if cancelled in self._deciding:
                self._cancelled.add(cancelled)
                return web.Response(status=202)
            await self._unanswered.give_up(cancelled)
        caller = self._of(client, session)
        is_tracked = bool(session) and message.kind == "request"
        if is_tracked:
            # Else the answer to an earlier one could be taken for this one's.
            if key in self._deciding or key in self._unanswered:
                twice = MessageError(INVALID_REQUEST, "id: that of another request", message.id)
                return _malformed(twice)
            self._deciding.add(key)
        try:
            asked = RequestDetails(client, "mcp", withheld=self._withheld, patience=PATIENCE)
            judged = await self._gate.judge(message, caller, asked)
            is_cancelled = key in self._cancelled
        except MessageError as error:
            return _malformed(error)
        finally:
            self._deciding.discard(key)
            self._cancelled.discard(key)
        if isinstance(judged, bytes):
            return web.Response(body=judged, content_type=_JSON)
        if is_cancelled:
            await judged.end("not_run")
            told = error_answer(message.id, DENIED, "cancelled by its client")
            return web.Response(body=told, content_type=_JSON)
        try:
            return await self._forward(request, client, caller, judged)
        finally:
            await asyncio.shield(self._unanswered.leave(key, judged))

    async def close(self) -> None:
        """Says of requests whose answers did not come that their end was not seen."""
        await self._unanswered.give_up_all()

    def _of(self, client: str, session: str) -> Caller:
        found = self._caller(client)
        return Caller(found.claims, session or None)

    async def _forward(
        self,
        request: web.Request,
        client: str,
        caller: Caller,
        passage: PassedMessage | None,
    ) -> web.StreamResponse:
        id_ = passage.message.id if passage is not None and passage.is_of_request else None
        try:
            async with self._http.request(
                request.method,
                self._upstream,
                data=None if passage is None else passage.data,
                headers=_passed_on(request),
                allow_redirects=False,
            ) as answer:
                self._note_session(request, answer, client)
                return await self._answer(request, answer, caller, passage)
        except (aiohttp.ClientError, TimeoutError, EventTooLongError) as error:
            event(_LOGGER, logging.WARNING, "the MCP server gave no answer", reason=str(error))
            told = error_answer(id_, INTERNAL_ERROR, "the server gave no answer")
            return web.Response(status=502, body=told, content_type=_JSON)

    def _note_session(
        self, request: web.Request, answer: aiohttp.ClientResponse, client: str
    ) -> None:
        session = answer.headers.get(SESSION)
        if session and self._sessions.setdefault(session, client) != client:
            raise aiohttp.ClientError("the server gives two clients one session")
        if request.method == "DELETE" and answer.status < 300:
            self._sessions.pop(request.headers.get(SESSION, ""), None)
        while len(self._sessions) > MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    async def _answer(
        self,
        request: web.Request,
        answer: aiohttp.ClientResponse,
        caller: Caller,
        passage: PassedMessage | None,
    ) -> web.StreamResponse:
        headers = {
            name: answer.headers[name] for name in _RESPONSE_HEADERS if name in answer.headers
        }
        if answer.content_type == "text/event-stream":
            sent = web.StreamResponse(status=answer.status, headers=headers)
            await sent.prepare(request)
            return await self._stream(sent, answer, caller, passage)
        body = await _whole(answer)
        if passage is not None and passage.is_of_request:
            response = _response(body)
            if response is not None and response.key == passage.message.key:
                told = await self._gate.answered(passage, response)
                body = body if told is response.data else told
            else:
                await passage.end("failed" if answer.status >= 400 else "unknown")
        return web.Response(status=answer.status, body=body, headers=headers)

    async def _stream(
        self,
        sent: web.StreamResponse,
        answer: aiohttp.ClientResponse,
        caller: Caller,
        passage: PassedMessage | None,
    ) -> web.StreamResponse:
        events = Events()
        try:
            async for chunk in answer.content.iter_any():
                for one in events.feed(chunk):
                    await sent.write(await self._event(one, caller, passage))
        except (aiohttp.ClientError, EventTooLongError) as error:
            # The head is sent: the client sees a stream that ends, and asks again or gives up.
            event(_LOGGER, logging.WARNING, "a stream of the MCP server broke", reason=str(error))
        await sent.write_eof()
        return sent

    async def _event(self, one: bytes, caller: Caller, passage: PassedMessage | None) -> bytes:
        session = caller.session or ""
        if session and passage is not None and passage.is_of_request and has_id(one):
            await self._unanswered.keep((session, *passage.message.key), passage)
        data = data_of(one)
        response = _response(data) if data else None
        if response is None:
            return one
        if passage is None or passage.message.key != response.key:
            passage = self._unanswered.take((session, *response.key))
        if passage is None:
            told = await self._gate.replayed(caller, response)
        else:
            told = await self._gate.answered(passage, response)
        return one if told is response.data else with_data(one, told)


def _response(data: bytes) -> Message | None:
    """What a server answers; None for what is no response."""
    try:
        message = read_message(data, MAX_ANSWER)
    except MessageError:
        return None
    return message if message.kind == "response" else None


async def _body(request: web.Request) -> bytes:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise MessageError(INVALID_REQUEST, "send the body without content encoding")
    if request.content_type != _JSON or (request.charset or "utf-8").lower() != "utf-8":
        raise MessageError(INVALID_REQUEST, f"the Content-Type must be {_JSON}, in UTF-8")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        text = f"a message of more than {MAX_MESSAGE} bytes"
        raise MessageError(INVALID_REQUEST, text) from None
    except TimeoutError:
        text = f"the body did not come within {BODY_SECONDS:g} seconds"
        raise MessageError(INVALID_REQUEST, text) from None


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise aiohttp.ClientError(f"an answer of more than {MAX_ANSWER} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _passed_on(request: web.Request) -> list[tuple[str, str]]:
    """The headers that go on; the type is ours: a server reads a body as that says."""
    kind = [("Content-Type", _JSON)] if request.method == "POST" else []
    return kind + [
        (name, value)
        for name, value in request.headers.items()
        if name.lower() in _REQUEST_HEADERS or name.lower().startswith("mcp-")
    ]


def _malformed(error: MessageError) -> web.Response:
    return web.Response(status=error.status, body=error.answer(), content_type=_JSON)


def _refused(
    status: int, text: str, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    told = error_answer(None, INVALID_REQUEST, text)
    return web.Response(status=status, body=told, content_type=_JSON, headers=headers)


_LOGGER: Final = logging.getLogger(__name__)
