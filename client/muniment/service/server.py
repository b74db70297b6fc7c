"""The HTTP/1.1 server below `App`: aiohttp's low-level server, with limits and a graceful stop.

The low-level server (no router, no middleware) answers about half as many requests again as
aiohttp's application does.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from muniment.service.config import Address
from muniment.service.http import App, Problem, Request, overloaded

_SECURITY_HEADERS: Final = (
    ("Server", "muniment"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)

_SMALL: Final = 64 << 10
"""Bodies up to this many bytes are left to the server's own buffering."""

_TIDY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes at most.

    Attributes:
        inflight_bytes: Bytes of request bodies held at one time, over all requests.
        body_seconds: Time for a body to arrive.
        idle_seconds: Time for a connection to be idle, or in the middle of a request's head.
        send_seconds: Time for a client to take a response.
        connections: Open connections; more are closed at once.
        grace_seconds: Time for requests in flight to finish when the server stops.
    """

    inflight_bytes: int = 256 << 20
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    send_seconds: float = 60.0
    connections: int = 4096
    grace_seconds: float = 10.0


@asynccontextmanager
async def serving(
    app: App,
    address: Address,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serves `app` while the context is open; yields the URL, without a final slash.

    On the way out it stops listening, lets requests in flight finish (bounded by
    `grace_seconds`), and closes all connections.

    Raises:
        OSError: If the address cannot be bound.
    """
    limits = limits or Limits()
    adapter = _Adapter(app, limits)
    # By then requests have had their time to finish; this is for aiohttp's own tidying up.
    runner = web.ServerRunner(_Server(adapter, limits), shutdown_timeout=_TIDY_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, backlog=1024, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        finally:
            await site.stop()
            await adapter.drain(limits.grace_seconds)
    finally:
        await runner.cleanup()


class _Server(web.Server):
    """aiohttp's server with a bound on the number of connections."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], limits: Limits
    ) -> None:
        # No access log (metrics count), and no decompression: a bomb must not get past the limits.
        super().__init__(
            handler,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=2.0,
        )
        self._most = limits.connections

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            transport.abort()


class _Adapter:
    """Converts between aiohttp's requests and responses and ours."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._budget = _Budget(limits.inflight_bytes)
        self._requests = 0
        self._drained: asyncio.Event | None = None

    async def drain(self, seconds: float) -> None:
        """Waits until no request is in progress, at most some seconds.

        aiohttp's own shutdown stops reading at once, so that a request whose body was on its way
        would wait for it in vain.
        """
        self._drained = asyncio.Event()
        if self._requests:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), seconds)

    async def __call__(self, raw: web.BaseRequest) -> web.StreamResponse:
        self._requests += 1
        try:
            return await self._answer(raw)
        finally:
            self._requests -= 1
            if self._drained is not None and not self._requests:
                self._drained.set()

    async def _answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        body = _Body(raw, self._budget, self._limits.body_seconds)
        try:
            request = Request(raw.method, raw.raw_path, raw.headers, body, raw.remote or "")
            response = await self._app.respond(request)
        finally:
            body.release()
        headers: CIMultiDict[str] = CIMultiDict(_SECURITY_HEADERS)
        headers["Content-Type"] = response.content_type
        headers["Cache-Control"] = "no-store"
        headers.update(response.headers)
        answer = web.Response(status=response.status, body=response.body, headers=headers)
        if self._drained is not None:
            answer.force_close()
        if len(response.body) > _SMALL:
            await self._send(raw, answer)
        return answer

    async def _send(self, raw: web.BaseRequest, answer: web.Response) -> None:
        """Sends a large response within a deadline; small ones fit into the socket's buffers."""
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await answer.prepare(raw)
                await answer.write_eof()
        except TimeoutError:
            if raw.transport is not None:
                raw.transport.abort()


class _Budget:
    """How many bytes of request bodies may be held at one time."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> None:
        if count > self._left:
            raise overloaded("busy", "too many request bodies are in flight; try again")
        self._left -= count

    def give(self, count: int) -> None:
        self._left += count


class _Body:
    """The body of one request: bounded in size, time and share of the budget."""

    __slots__ = ("_budget", "_held", "_raw", "_seconds")

    def __init__(self, raw: web.BaseRequest, budget: _Budget, seconds: float) -> None:
        self._raw = raw
        self._budget = budget
        self._seconds = seconds
        self._held = 0

    def release(self) -> None:
        """Gives the share of the budget back; the response is ready then."""
        self._budget.give(self._held)
        self._held = 0

    async def read(self, most: int) -> bytes:
        raw = self._raw
        length = raw.content_length
        if length is not None and length > most:
            raise _too_large(most)
        if raw.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Problem(415, "content-encoding", "send the body without content encoding")
        content: Any = raw.content
        if content.is_eof():  # common: head and body came together
            data: bytes = content.read_nowait(-1)
            self._hold(len(data), most)
            return data
        try:
            async with asyncio.timeout(self._seconds):
                return await self._read_all(most)
        except TimeoutError as error:
            raise Problem(
                408, "too-slow", f"the body did not arrive within {self._seconds:g} seconds"
            ) from error
        except (web.RequestPayloadError, HttpProcessingError, OSError) as error:
            raise Problem(400, "incomplete-body", "the body ended early or is malformed") from error

    async def _read_all(self, most: int) -> bytes:
        raw = self._raw
        if raw.headers.get("Expect", "").lower() == "100-continue":
            await raw.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw.writer.output_size = 0
        chunks: list[bytes] = []
        while chunk := await raw.content.readany():
            self._hold(len(chunk), most)
            chunks.append(chunk)
        return b"".join(chunks)

    def _hold(self, count: int, most: int) -> None:
        # What has arrived counts, not what was announced: a client that announces much and sends
        # nothing must not keep the others out.
        if self._held + count > most:
            raise _too_large(most)
        self._budget.take(count)
        self._held += count


def _too_large(most: int) -> Problem:
    return Problem(
        413, "too-large", f"the body is larger than {most} bytes", members={"limit": most}
    )
