"""The head of a response on the wire.

Most responses have the same headers, which are made once: to make them one by one costs a tenth of
what a small request does.
"""

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from muniment_service.http import Response
from muniment_service.wire import COMMON_HEADERS

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may have (RFC 9110 section 5.5): a line end would begin another one."""

BARE: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
"""What has no body, and no length of one (RFC 9110 section 8.6)."""

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def head_of(response: Response, minor: int, *, stays: bool) -> bytes:
    """The status line and the headers, with the empty line behind them.

    `minor` is that of the HTTP/1 version; `stays` says whether the connection is used again. Raises
    ValueError if a header has a control character.
    """
    status, length = response.status, len(response.body)
    if not response.headers:
        return _usual_head(
            minor, status, response.content_type, length, int(time.time()), stays=stays
        )
    lines = _status_line(minor, status) + _lines(_headers_of(response))
    return _end(lines, minor, status, length, int(time.time()), stays=stays)


@lru_cache(maxsize=256)
def _usual_head(
    minor: int, status: int, content_type: str, length: int, second: int, *, stays: bool
) -> bytes:
    """The head of a response without headers of its own; many of one second are the same."""
    return _end(
        _first_lines(minor, status, content_type), minor, status, length, second, stays=stays
    )


def _end(lines: str, minor: int, status: int, length: int, second: int, *, stays: bool) -> bytes:
    """The head that begins with some lines."""
    if status not in BARE:
        lines += f"Content-Length: {length}\r\n"
    lines += _date_line(second)
    if stays and minor == 0:
        lines += "Connection: keep-alive\r\n"
    elif not stays and minor == 1:
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
    fields.append(("date", formatdate(int(time.time()), usegmt=True)))
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
def _date_line(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n"
