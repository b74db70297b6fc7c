"""One HTTP/1.1 connection of a client (RFC 9112): an asyncio protocol over httptools' parser."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from muniment.formats.encoding import MunimentError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD: Final = 64 << 10
"""Bytes of a response's status line and headers."""

MAX_ERROR: Final = 64 << 10
"""Bytes of the body of a response that is not a 200."""

_GZIP: Final = 16 + zlib.MAX_WBITS


class HttpError(MunimentError):
    """No answer came, or none that is HTTP."""


class TooLongError(HttpError):
    """The answer's body is longer than was allowed."""


class Answer(NamedTuple):
    """A response.

    Attributes:
        status: Its status.
        headers: Its headers by lower-case name; of several with one name the last.
        body: Its body, without content coding.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip()


class Exchange(asyncio.Protocol):
    """A connection, which carries one request at a time.

    Attributes:
        is_reusable: Whether another request may be sent.
        has_answered: Whether anything came in answer to the last request.
    """

    def __init__(self) -> None:
        """Waits to be connected."""
        self.is_reusable = False
        self.has_answered = False
        self._transport: Any = None  # asyncio.Transport, from which uvloop's does not derive
        self._parser = HttpResponseParser(self)
        self._future: asyncio.Future[Answer] | None = None
        self._limit = 0
        self._fed = 0
        self._has_head = False
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._received = 0

    async def ask(self, request: bytes, limit: int) -> Answer:
        """Sends a request and waits for its response.

        Args:
            request: Head and body.
            limit: Most bytes of the body of a 200; of others, MAX_ERROR at least.

        Raises:
            HttpError: No response came, or none that is HTTP.
            TooLongError: Its body is longer than the limit.
        """
        if self._future is not None:
            raise AssertionError("one request at a time")
        self._future = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._fed = 0
        self.is_reusable = self.has_answered = False
        self._begin()
        self._transport.write(request)
        try:
            return await self._future
        finally:
            self._future = None
            if not self.is_reusable:
                self.abort()

    def abort(self) -> None:
        """Closes the connection at once."""
        self.is_reusable = False
        self._transport.abort()

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = transport
        self.is_reusable = True

    def data_received(self, data: bytes) -> None:
        """Parses what came."""
        if self._future is None:  # nobody asked: the next answer could not be told from it
            self.abort()
            return
        self.has_answered = True
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(HttpError("the server changed the protocol"))
        except HttpParserError as error:
            self._fail(HttpError(f"not HTTP/1.1: {error}"))
        # What frames a body is bounded too: endless chunk extensions and trailers, say.
        if self._fed > MAX_HEAD + 8 * self._received:
            self._fail(HttpError("too much that is no body"))

    def eof_received(self) -> None:
        """The server sends no more; that ends a body of no stated length (RFC 9112 6.3)."""
        headers = self._headers
        if (
            self._has_head
            and "content-length" not in headers
            and "transfer-encoding" not in headers
        ):
            self._finish(reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.is_reusable = False
        self._fail(HttpError(str(exc) if exc else "the server closed the connection"))

    # What the parser tells.

    def on_message_begin(self) -> None:
        """A response begins; one that nobody asked for spoils the connection."""
        if self._future is None or self._future.done():
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self._has_head:
            text = value.decode("utf-8", "surrogateescape").strip(" \t")
            self._headers[name.decode("latin-1").lower()] = text

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._has_head = True
        if self._parser.get_status_code() != 200:
            self._limit = max(self._limit, MAX_ERROR)
        if int(self._headers.get("content-length", "0")) > self._limit:
            self._fail(TooLongError(f"the answer is longer than {self._limit} bytes"))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._received += len(data)
        if self._received > self._limit:
            self._fail(TooLongError(f"the answer is longer than {self._limit} bytes"))
        else:
            self._chunks.append(data)

    def on_message_complete(self) -> None:
        """The response is complete."""
        if 100 <= self._parser.get_status_code() < 200:
            self._begin()  # an interim response: the one that counts follows
        else:
            self._finish(reusable=self._parser.should_keep_alive())

    def _begin(self) -> None:
        self._has_head = False
        self._headers = {}
        self._chunks = []
        self._received = 0

    def _finish(self, *, reusable: bool) -> None:
        future = self._future
        if future is None or future.done():
            return
        try:
            body = _decoded(
                b"".join(self._chunks), self._headers.get("content-encoding", ""), self._limit
            )
        except HttpError as error:
            self._fail(error)
            return
        self._chunks = []
        self.is_reusable = reusable
        future.set_result(Answer(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: HttpError) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)
            self._transport.abort()


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Undoes the content coding, to `limit` bytes: a few bytes can decode to very many."""
    if coding.lower() in {"", "identity"}:
        return body
    if coding.lower() != "gzip":
        raise HttpError("a content coding that was not asked for")
    decoder = zlib.decompressobj(_GZIP)
    try:
        data = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise HttpError(f"the answer is no gzip: {error}") from None
    if len(data) > limit:
        raise TooLongError(f"the answer is longer than {limit} bytes")
    if not decoder.eof:
        raise HttpError("the answer's gzip ends early")
    return data
