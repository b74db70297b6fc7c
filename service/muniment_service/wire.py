"""HTTP/1.1 messages (RFC 9110, RFC 9112): what the head of a request means, and what it may be.

aiohttp's parser (llhttp) refuses what different readers would read differently: bare line feeds,
folded lines, space before a colon, two Content-Lengths. `check_head` refuses what is left of that
kind.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, TypeVar, overload

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from multidict import CIMultiDictProxy, istr

from muniment_service.http import Problem

MAX_HEAD: Final = 16 << 10
"""Bytes of a request's line and headers together; those of our clients take some 300."""

MAX_HEADERS: Final = 100

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

COMMON_HEADERS: Final[Mapping[str, str]] = {
    "Server": "muniment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Headers of every response."""

_FRAMING: Final = (istr("host"), istr("content-length"), istr("transfer-encoding"))
"""Headers that decide where a request goes and where it ends; each may come once. An `istr` is
folded once, any other name in capitals each time that it is looked for."""

_T = TypeVar("_T")


class Headers(Mapping[str, str]):
    """The headers of a request; names compare case-insensitively.

    A header that comes several times has its values joined by commas (RFC 9110 section 5.3).
    """

    __slots__ = ("_received",)

    def __init__(self, received: CIMultiDictProxy[str]) -> None:
        """Reads the headers as aiohttp decoded them."""
        self._received = received

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, /, default: str | _T) -> str | _T: ...

    def get(self, name: str, /, default: str | _T | None = None) -> str | _T | None:
        """The value of a header; the default without it."""
        if (value := self._received.get(name)) is None:
            return default
        values = self._received.getall(name)
        return value if len(values) == 1 else ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return name in self._received

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): None for name in self._received})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def head_too_large() -> Problem:
    """The refusal of a head beyond the bounds."""
    return Problem(
        431, "head-too-large", f"more than {MAX_HEAD} bytes or {MAX_HEADERS} headers in the head"
    )


def refusal_of(error: HttpProcessingError) -> Problem:
    """What is told to a client whose request aiohttp cannot parse."""
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return head_too_large()
    reason = error.message.partition("\n")[0].rstrip(":")
    return Problem(400, "bad-request", f"not HTTP/1.1: {reason}")


def check_head(message: RawRequestMessage) -> bool:
    """Checks what the parser leaves to its user.

    Returns:
        Whether the connection can be used again: nothing is upgraded to, so a request that asks
        for that is answered as it is, and is the last one.

    Raises Problem 400, 431 or 505; the connection is of no use afterwards.
    """
    is_new = message.version == HttpVersion11
    if not is_new and message.version != HttpVersion10:
        raise Problem(505, "http-version", "this server speaks HTTP/1.1")
    raw, named = message.raw_headers, message.headers
    size = len(message.path) + sum(map(len, chain.from_iterable(raw))) + 4 * len(raw)
    if size > MAX_HEAD or len(raw) > MAX_HEADERS:
        raise head_too_large()
    for name in _FRAMING:
        if len(named.getall(name, ())) > 1:
            raise Problem(400, "bad-request", f"{name} comes more than once")
    if is_new and "host" not in named:
        raise Problem(400, "bad-request", "a request needs a Host header")
    coding = named.get("transfer-encoding")
    # RFC 9112 section 6.1: in HTTP/1.0, or beside a length, it is a sign of faulty framing.
    if coding is not None and (
        not is_new or "content-length" in named or coding.strip(" \t").lower() != "chunked"
    ):
        raise Problem(400, "bad-request", "the one transfer coding that is taken is chunked")
    if "upgrade" not in named:
        return True
    if coding is not None or length_of(named):
        raise Problem(400, "bad-request", "a request for an upgrade cannot have a body")
    return False


def length_of(headers: CIMultiDictProxy[str]) -> int:
    """The length of a body that was announced; 0 when none was."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0
