"""Requests out of the bytes of a connection, by aiohttp's parser.

A chunked request may have a trailer, headers behind its body, which say nothing of the next
request: that may be another client's, as a reverse proxy sends those of many over one connection.
So that nothing of the one can stay for the other, there is another parser behind a chunked request.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from muniment_service.bodies import READ_AHEAD, MalformedBodyError
from muniment_service.wire import MAX_HEAD, MAX_HEADERS

AHEAD: Final = 32
"""Requests of one client that are parsed before they are answered; then it is read no further."""

RequestHead: TypeAlias = tuple[RawRequestMessage, StreamReader]


class RequestParser:
    """Parses the requests of one connection, whose protocol has this for its parser."""

    def __init__(self, protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._loop = loop
        self._parser = self._another()
        self._chunked: StreamReader | None = None  # the body of the newest request, if it is

    def feed(self, data: bytes, ahead: int) -> tuple[Sequence[RequestHead], bool]:
        """Parses what came: the requests that begin in it, and whether they are the last ones.

        Nothing is upgraded to; and a request that had begun when the trailer before it ended is not
        given out. Its client asks again over another connection (RFC 9112 9.3.1). Raises
        HttpProcessingError. Of the requests that were given out, `ahead` are not `consumed`.
        """
        heads, is_last, _ = self._parser.feed_data(data)
        if self._chunked is None:
            for head in heads:
                if head[0].chunked:
                    break
            else:
                return heads, is_last
        for number, (message, body) in enumerate(heads):
            if self._chunked is not None:
                return heads[:number], True
            if message.chunked:
                self._chunked = body
        if self._chunked is not None and self._chunked.is_eof():
            # With so many ahead the parser may keep something back, where nobody can look.
            if ahead + len(heads) >= AHEAD or self._has_begun():
                return heads, True
            self._parser, self._chunked = self._another(), None
        return heads, is_last

    def consumed(self) -> None:
        """Has room for one more request."""
        self._parser.message_consumed()

    def pause_reading(self) -> None:
        """Parses no further for now, as the body that comes is read too slowly."""
        self._parser.pause_reading()

    def _has_begun(self) -> bool:
        """Whether there is something of another request."""
        with suppress(Exception):  # of what it makes of a head that is not whole
            return self._parser.feed_eof() is not None
        return True

    def _another(self) -> HttpRequestParser:
        return HttpRequestParser(
            self._protocol,
            self._loop,
            READ_AHEAD,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEADERS + 1,
            payload_exception=MalformedBodyError,
            auto_decompress=False,
            # It counts one too many, if the body of one that was taken up came later. Were it full
            # before `AHEAD` are, it would keep back what nobody asks it for.
            max_msg_queue_size=AHEAD + 1,
        )
