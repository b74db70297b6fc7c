"""Responses on the wire: the head and the body go out in one write.

aiohttp makes the head of its own responses header by header, which costs a tenth of what a small
request does. So only what its server asks of a response is here: `prepare`, `write_eof`,
`keep_alive`, `force_close`.
"""

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter

from muniment_service.http import Response
from muniment_service.wire import COMMON_HEADERS

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may have (RFC 9110 section 5.5): a line end would begin another one."""

_TOGETHER: Final = 32 << 10
"""Bytes of a body that is copied behind its head; a longer one costs less as a write of its own."""

BARE: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
"""What has no body, and no length of one (RFC 9110 section 8.6)."""

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


class Answer(web.StreamResponse):
    """A response, once for one request."""

    def __init__(self, response: Response) -> None:
        super().__init__(status=response.status)
        self._response: Final = response
        self._closes = False
        self._stays = False
        self._writer: AbstractStreamWriter | None = None

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open behind it; known when it is prepared."""
        return self._stays

    def force_close(self) -> None:
        """Closes the connection behind it."""
        self._closes = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Writes it, once, to the request's connection.

        Raises:
            ConnectionError: The connection is closed.
            ValueError: A header has a control character.
        """
        writer = request.writer
        if self._writer is None:
            self._writer = writer
            self._stays = not self._closes and request.keep_alive
            response = self._response
            body = response.body
            head = self._head(request)
            if request.method == "HEAD" or response.status in BARE:
                body = b""
            if len(body) > _TOGETHER:
                await writer.write(head)
                await writer.write(body)
            else:
                await writer.write(head + body)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002  # as aiohttp names it
        """Waits until the client takes what was written."""
        if self._writer is not None:
            await self._writer.drain()

    def _head(self, request: web.BaseRequest) -> bytes:
        response = self._response
        minor = 0 if request.version == HttpVersion10 else 1
        lines = _first_lines(minor, response.status, response.content_type)
        if response.headers:
            lines = _status_line(minor, response.status) + _lines(_headers_of(response))
        if response.status not in BARE:
            lines += f"Content-Length: {len(response.body)}\r\n"
        lines += f"Date: {_date(int(time.time()))}\r\n"
        if self._stays and minor == 0:
            lines += "Connection: keep-alive\r\n"
        elif not self._stays and minor == 1:
            lines += "Connection: close\r\n"
        return f"{lines}\r\n".encode()


def fields_of(response: Response) -> list[tuple[str, str]]:
    """All headers of a response as HTTP/2 has them (RFC 9113 section 8.3.2).

    Raises ValueError if one has a control character.
    """
    headers = _headers_of(response)
    _check(headers)
    fields = [(":status", str(response.status))]
    fields += [(name.lower(), value) for name, value in headers.items()]
    if response.status not in BARE:
        fields.append(("content-length", str(len(response.body))))
    fields.append(("date", _date(int(time.time()))))
    return fields


def _headers_of(response: Response) -> dict[str, str]:
    headers = {**COMMON_HEADERS, "Content-Type": response.content_type}
    headers["Cache-Control"] = "no-store"
    headers.update(response.headers)
    return headers


def _status_line(minor: int, status: int) -> str:
    return f"HTTP/1.{minor} {status} {_REASONS.get(status, '')}\r\n"


def _check(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if _CONTROLS.search(name) or _CONTROLS.search(value):
            raise ValueError(f"a control character in the header {name!a}")


def _lines(headers: dict[str, str]) -> str:
    _check(headers)
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@lru_cache(maxsize=64)
def _first_lines(minor: int, status: int, content_type: str) -> str:
    """The lines of a response that has no headers of its own."""
    headers = {**COMMON_HEADERS, "Content-Type": content_type, "Cache-Control": "no-store"}
    return _status_line(minor, status) + _lines(headers)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
