"""HTTP/1.1 messages (RFC 9110, RFC 9112): what the head of a request means, and what it may be.

aiohttp's parser (llhttp) refuses what different readers would read differently: bare line feeds,
folded lines, space before a colon, two Content-Lengths. `check_head` refuses what is left of that
kind.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar, overload

from multidict import CIMultiDictProxy

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

_FRAMING: Final = (b"host", b"content-length", b"transfer-encoding", b"upgrade")
"""Headers that decide where a request goes and where it ends; all but the last may come once."""

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
        values = self._received.getall(name, None)
        if values is None:
            return default
        return values[0] if len(values) == 1 else ", ".join(values)

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


def check_head(
    version: tuple[int, int], target: str, headers: tuple[tuple[bytes, bytes], ...]
) -> bool:
    """Checks what the parser leaves to its user; target and headers are as sent.

    Returns:
        Whether the connection can be used again: nothing is upgraded to, so a request that asks
        for that is answered as it is, and is the last one.

    Raises Problem 400, 431 or 505; the connection is of no use afterwards.
    """
    if version not in {(1, 0), (1, 1)}:
        raise Problem(505, "http-version", "this server speaks HTTP/1.1")
    size = len(target)
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        size += len(name) + len(value) + 4
        key = name.lower()
        if key in _FRAMING:
            if key in seen and key != b"upgrade":
                raise Problem(400, "bad-request", f"{key.decode()} comes more than once")
            seen[key] = value
    if size > MAX_HEAD or len(headers) > MAX_HEADERS:
        raise head_too_large()
    if version == (1, 1) and b"host" not in seen:
        raise Problem(400, "bad-request", "a request needs a Host header")
    coding = seen.get(b"transfer-encoding")
    # RFC 9112 section 6.1: in HTTP/1.0, or beside a length, it is a sign of faulty framing.
    if coding is not None and (
        version == (1, 0) or b"content-length" in seen or coding.strip(b" \t").lower() != b"chunked"
    ):
        raise Problem(400, "bad-request", "the one transfer coding that is taken is chunked")
    has_body = coding is not None or int(seen.get(b"content-length", b"0")) > 0
    if has_body and b"upgrade" in seen:
        raise Problem(400, "bad-request", "a request for an upgrade cannot have a body")
    return b"upgrade" not in seen
