"""An HTTP/1.1 client of one server: kept-alive connections, bounded answers, deadlines, no more.

No redirects, cookies or proxies: what a log, a witness or a peer says is checked by what it is, and
a base URL is its owner's word. It costs a fifth of what a general client does, and a lone decision
waits for two requests in a row.

A request that finds its kept connection closed before any answer is sent again on a new one; so
only what may be repeated must be sent. All calls of ours may: reads, and writes that the receiver
recognises.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from muniment.httpexchange import Answer, Exchange, HttpError
from muniment.urls import check_url

if TYPE_CHECKING:
    from collections.abc import Mapping


class HttpClient:
    """Connections to one server; close it when done.

    Args:
        url: The base URL, http or https; what `urls.check_url` accepts.
        headers: Sent with every request.
        tls: For https: a context, or True for the system's CAs.
        connections: Most connections open at one time; None for no bound.

    Raises:
        ValueError: If the URL is no base URL.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | Literal[True] = True,
        connections: int | None = None,
    ) -> None:
        parts = urlsplit(check_url(url))
        host = (parts.hostname or "").encode("idna").decode()
        self._host = host
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context() if tls is True else tls
        self._base = parts.path.rstrip("/")
        literal = f"[{host}]" if ":" in host else host
        authority = literal if parts.port is None else f"{literal}:{parts.port}"
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._head = f" HTTP/1.1\r\nHost: {authority}\r\n{''.join(lines)}"
        if {self._head.count("\n"), self._head.count("\r")} != {len(lines) + 2}:
            raise ValueError("a line end within a header")
        self._idle: list[Exchange] = []
        self._turn = nullcontext() if connections is None else asyncio.Semaphore(connections)
        self._closed = False

    def close(self) -> None:
        """Closes the connections that are idle, and no request can be made any more."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()  # at once: nothing is on its way

    async def request(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        seconds: float,
        body: bytes | None = None,
        media_type: str = "application/octet-stream",
    ) -> Answer:
        """Makes one request.

        Args:
            method: The method.
            path: Path and query below the base URL, encoded.
            limit: Most bytes of the answer's body.
            seconds: Time for all of it, connecting included.
            body: The body; None for none.
            media_type: The type of the body.

        Raises:
            TimeoutError: It took too long.
            TooLongError: The answer is longer than the limit.
            HttpError: No answer came, or none that is HTTP.
        """
        request = self._request(method, path, body, media_type)
        try:
            async with asyncio.timeout(seconds), self._turn:
                return await self._ask(request, limit)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise HttpError(str(error) or type(error).__name__) from error

    def _request(self, method: str, path: str, body: bytes | None, media_type: str) -> bytes:
        target = self._base + path
        if not (target.isascii() and target.isprintable()) or " " in target:
            raise ValueError(f"not a path: {target!r}")
        head = f"{method} {target or '/'}{self._head}"
        if body is None:
            return f"{head}\r\n".encode()
        head += f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def _ask(self, request: bytes, limit: int) -> Answer:
        while self._idle:
            kept = self._idle.pop()
            if kept.is_reusable:
                try:
                    return await self._use(kept, request, limit)
                except HttpError:
                    # Servers close idle connections, perhaps just as a request sets out.
                    if kept.has_answered:
                        raise
        return await self._use(await self._connect(), request, limit)

    async def _use(self, exchange: Exchange, request: bytes, limit: int) -> Answer:
        answer = await exchange.ask(request, limit)
        if self._closed:
            exchange.abort()
        elif exchange.is_reusable:
            self._idle.append(exchange)
        return answer

    async def _connect(self) -> Exchange:
        if self._closed:
            raise HttpError("the client is closed")
        _, exchange = await asyncio.get_running_loop().create_connection(
            Exchange, self._host, self._port, ssl=self._tls
        )
        return exchange
