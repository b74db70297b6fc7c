"""HTTP/1.1 messages (RFC 9110, RFC 9112): what a request's head means, and a response's bytes.

The parser below (llhttp) refuses what reads differently to different readers: bare line feeds,
folded lines, space before a colon, Content-Length twice or next to Transfer-Encoding. `check_head`
refuses what is left of that kind.
"""

from collections.abc import Iterator, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, TypeVar, overload

from muniment.service.http import Problem, Response

MAX_HEAD: Final = 16 << 10
"""Bytes of a request's line and headers together; those of our clients take some 300."""

MAX_HEADERS: Final = 100

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_ALONE: Final = frozenset({"host", "content-length", "transfer-encoding"})
"""Headers that a request may have once: what they say decides where it goes and where it ends."""

_T = TypeVar("_T")

_NAMES: Final = {
    spelling.encode(): name.lower()
    for name in (
        *("Host", "User-Agent", "Accept", "Accept-Encoding", "Authorization", "Connection"),
        *("Content-Type", "Content-Length", "Transfer-Encoding", "Expect", "If-None-Match"),
    )
    for spelling in (name, name.lower())
}
"""The usual spellings of the usual names, as the table has them."""

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_SECURITY: Final = (
    "Server: muniment\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
)
_BODILESS: Final = frozenset({204, 304})


class Headers(Mapping[str, str]):
    """The headers of a request; names compare case-insensitively.

    A header that comes several times has its values joined by commas (RFC 9110 section 5.3).
    """

    __slots__ = ("_values", "size")

    def __init__(self) -> None:
        """Starts without headers."""
        self._values: dict[str, str] = {}
        self.size = 0

    def add(self, name: bytes, value: bytes) -> None:
        """Adds one as it came.

        Raises:
            Problem: 400, when it may come only once; 431, when there are too many.
        """
        self.size += len(name) + len(value) + 4
        if self.size > MAX_HEAD or len(self._values) >= MAX_HEADERS:
            raise head_too_large()
        key = _NAMES.get(name) or name.decode("latin-1").lower()
        text = value.decode("utf-8", "surrogateescape").strip(" \t")
        if key in self._values:
            if key in _ALONE:
                raise Problem(400, "bad-request", f"{key} comes more than once")
            text = f"{self._values[key]}, {text}"
        self._values[key] = text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, /, default: str | _T) -> str | _T: ...

    def get(self, name: str, /, default: str | _T | None = None) -> str | _T | None:
        """The value of a header; the default without it."""
        return self._values.get(name.lower(), default)  # Mapping's asks in vain, and catches that

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def head_too_large() -> Problem:
    """The refusal of a head beyond the bounds."""
    return Problem(
        431, "head-too-large", f"more than {MAX_HEAD} bytes or {MAX_HEADERS} headers in the head"
    )


def check_head(version: str, headers: Headers) -> int | None:
    """Checks what the parser leaves to its user.

    Returns:
        The length of the body in bytes; None when it comes in chunks.

    Raises:
        Problem: 400 or 505; the connection is of no use afterwards.
    """
    if version not in {"1.0", "1.1"}:
        raise Problem(505, "http-version", "this server speaks HTTP/1.1")
    if version == "1.1" and "host" not in headers:
        raise Problem(400, "bad-request", "a request needs a Host header")
    coding = headers.get("transfer-encoding")
    if coding is None:
        return int(headers.get("content-length", "0"))  # digits: the parser has seen to that
    # RFC 9112 section 6.1: in HTTP/1.0 it is a sign of faulty framing.
    if version == "1.0" or coding.lower() != "chunked":
        raise Problem(400, "bad-request", "the one transfer coding that is taken is chunked")
    return None


def response_head(response: Response, *, keep_alive: bool, date: str) -> bytes:
    """A response's status line and headers, to the empty line.

    Args:
        response: The response; its own headers win over the common ones.
        keep_alive: Whether the connection stays open.
        date: The time of the response, from `http_date`.
    """
    status = response.status
    if not response.headers and status not in _BODILESS:
        opening = _opening_of_plain(status, response.content_type, date, keep_alive)
        return b"%b%d\r\n\r\n" % (opening, len(response.body))
    lines = [_opening(status, response.content_type, date)]
    if "Cache-Control" not in response.headers:
        lines.append("Cache-Control: no-store\r\n")
    lines += [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    if status not in _BODILESS:
        lines.append(f"Content-Length: {len(response.body)}\r\n")
    lines.append("\r\n" if keep_alive else "Connection: close\r\n\r\n")
    head = "".join(lines).encode("utf-8", "surrogateescape")
    # One line end for each header, and no other: a value must not bring in a header of its own.
    expected = 8 + len(response.headers) + (status not in _BODILESS) + (not keep_alive)
    expected += "Cache-Control" not in response.headers
    if head.count(b"\n") != expected or head.count(b"\r") != expected:
        raise AssertionError("a line end within a response header")
    return head


@lru_cache(maxsize=64)
def _opening(status: int, content_type: str, date: str) -> str:
    """What is the same for all responses of a kind within a second."""
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n"
        f"Date: {date}\r\n{_SECURITY}Content-Type: {content_type}\r\n"
    )


@lru_cache(maxsize=64)
def _opening_of_plain(status: int, content_type: str, date: str, keep_alive: bool) -> bytes:  # noqa: FBT001  # a cache's key
    """The same of a response that has no headers of its own, up to the length of its body."""
    connection = "" if keep_alive else "Connection: close\r\n"
    text = f"{_opening(status, content_type, date)}Cache-Control: no-store\r\n{connection}"
    if text.count("\n") != 8 + (not keep_alive) or text.count("\r") != text.count("\n"):
        raise AssertionError("a line end within a response header")
    return f"{text}Content-Length: ".encode()


def http_date(seconds: float) -> str:
    """Unix seconds as HTTP writes them (RFC 9110 section 5.6.7)."""
    return formatdate(seconds, usegmt=True)
