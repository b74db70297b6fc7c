"""A request and its answer over a connection of aiohttp's, with less around aiohttp's parser.

aiohttp's own protocol makes a parser for each answer, and twice each has the transport read on and
the parser look at nothing: together as much as the answer itself costs. So a transport has this
protocol for as long as somebody may be asked over it.

Importing this imports aiohttp, 0.2 s, which commands that ask nobody do without.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, TypeAlias

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

MAX_HEAD: Final = 64 << 10
"""Bytes of one line or header of a response."""

MAX_HEADERS: Final = 256
"""Headers of a response."""

_READ_AHEAD: Final = 256 << 10
"""Bytes of a body that are taken before somebody reads them; it stops at twice that."""

Head: TypeAlias = tuple[RawResponseMessage, StreamReader]


class HttpExchange(BaseProtocol):
    """The protocol of a connection's transport, until it is given back or closed.

    One request after the other is made; `expire` may be called when one has taken too long.

    Attributes:
        is_idle: Whether nothing is asked now: whatever comes then ends the connection.
        is_reusable: Whether the parser is surely as a new one between answers: not behind a chunked
            answer, which may have a trailer, nor at times when reading was paused.
    """

    def __init__(self, connection: Connection, *, bodiless: bool = False) -> None:
        """Takes a connection over; `bodiless` answers have no body whatever they say, as to HEAD.

        Raises ServerDisconnectedError if it has ended, and closes it.
        """
        handler = connection.protocol
        if handler is None or handler.transport is None or handler.transport.is_closing():
            connection.close()
            raise aiohttp.ServerDisconnectedError
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        # None once nothing more is read.
        self._parser: HttpResponseParser | None = HttpResponseParser(
            self,
            loop,
            _READ_AHEAD,
            payload_exception=aiohttp.ClientPayloadError,
            response_with_body=not bodiless,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEADERS,
        )
        self.is_idle = False
        self.is_reusable = not bodiless
        self._connection: Final = connection
        self._heads: Final[deque[Head]] = deque()
        self._news: asyncio.Future[None] | None = None  # waited for when there is no head
        self._failure: Exception | None = None
        self._body: StreamReader | None = None  # of the newest head
        self._may_have_trailer = False  # the newest head that was given out
        self._is_last = False
        self._handler: Final = handler
        self.transport = handler.transport
        self.transport.set_protocol(self)

    @property
    def is_free(self) -> bool:
        """Whether another request can be made.

        It cannot if less than was asked for has come, or more, be it the first byte of an answer.
        """
        if self.transport is None or self._parser is None or self._is_last:
            return False
        if self._heads or (self._body is not None and not self._body.is_eof()):
            return False
        if self._paused:  # answered before the request was sent
            return False
        if self.transport.is_closing():  # TLS may be about to tell its end to this protocol only
            return False
        try:
            return self._parser.feed_eof() is None
        except Exception:  # noqa: BLE001  # of what has come of another answer
            return False

    def give_back(self) -> None:
        """Leaves a connection that `is_free` to others; any other one is closed."""
        if self.transport is None or not self.is_free:
            self.close()
            return
        self.transport.set_protocol(self._handler)
        self.transport = self._parser = self._body = None  # the latter two have this for their own
        self._connection.release()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def expire(self) -> None:
        """Has whoever waits for something told that it took too long."""
        error = TimeoutError()
        self._fail(error, error)

    def write(self, data: bytes) -> None:
        """Sends a request, or the begin of it."""
        if self.transport is not None:  # else `head` tells
            self.transport.write(data)

    async def head(self) -> Head:
        """The next answer's head, and its body as it comes; raises what kept it from coming."""
        if self._may_have_trailer:  # nothing of it may be taken for the next answer's
            raise HttpProcessingError(message="an answer behind a chunked one")
        if not self._heads:
            if self._failure is None:
                self._news = self._loop.create_future()
                await self._news
            if not self._heads and self._failure is not None:
                raise self._failure
        message, body = self._heads.popleft()
        self._may_have_trailer = message.chunked
        return message, body

    # What asyncio tells.

    def data_received(self, data: bytes) -> None:
        """Parses what came."""
        if self._parser is None:
            return
        if self.is_idle:  # else what nobody asked for would be kept, however much it is
            self._parser = None
            self.close()
            return
        try:
            heads, is_upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001  # whoever waits for the answer is told
            if self.transport is not None:
                self.transport.close()
            is_told = isinstance(error, HttpProcessingError)
            told = error if is_told else HttpProcessingError(message=str(error))
            self._fail(told, told)
            return
        if is_upgraded:
            self._is_last = True
        if heads:
            for message, body in heads:
                self._body = body
                if message.should_close:
                    self._is_last = True
                if message.chunked:
                    self.is_reusable = False
            self._heads.extend(heads)
            self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Ends a body that has no stated length; whoever waits for more is told that none comes."""
        if self._parser is not None and exc is None:  # a reset is the end of no body
            with suppress(Exception):  # of a body that is not whole
                self._parser.feed_eof()
        lost: Exception = aiohttp.ServerDisconnectedError()
        if isinstance(exc, OSError):
            lost = aiohttp.ClientOSError(*exc.args)
            lost.__cause__ = exc
        self._fail(lost, aiohttp.ClientPayloadError())
        super().connection_lost(exc)
        self._handler.connection_lost(exc)
        self.close()

    def pause_reading(self) -> None:
        """Reads no more for now; the parser may find out only at the next body."""
        self.is_reusable = False
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's
        """Reads on, if there was a pause; a body asks for it each time that it is read."""
        if not self.is_reusable:
            super().resume_reading(resume_parser)

    def _fail(self, error: Exception, of_body: Exception) -> None:
        """Tells whoever waits for a head, and whoever reads a body that has not come whole."""
        self._parser = None  # which has this for its own
        body, self._body = self._body, None
        if body is not None and not body.is_eof():
            body.set_exception(of_body)
        if self._failure is None:
            self._failure = error
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)
