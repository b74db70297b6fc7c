"""A client's request on the wire, and words for what went wrong there."""

import asyncio
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp.base_protocol import BaseProtocol

LARGE: Final = 64 << 10
"""Bytes of a body that is sent in pieces."""

_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods of which a request without a body need not say that it has none (RFC 9110 8.6)."""

_KINDS: Final = 64
"""Kinds of requests of one server whose headers are kept ready."""

_CONTROL: Final = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")
"""What is in no line of a head (RFC 9110 5.5)."""


class RequestHeads:
    """Heads of requests of one server; the lines that requests have alike are made once."""

    def __init__(self, common: Mapping[str, str]) -> None:
        """Makes heads with the `common` headers, ``Host`` among them."""
        self._common = common
        self._known: dict[tuple[object, ...], str] = {}

    def head(self, method: str, target: str, own: Mapping[str, str], body: bytes | None) -> bytes:
        """The first line and the headers of a request; its `own` count before the `common` ones.

        Raises ValueError if there is a control character within one, or white space in the method.
        """
        kind = (method, body is None, *own.items())
        lines = self._known.get(kind)
        if lines is None:
            lines = self._lines(method, own, body)
            if len(self._known) == _KINDS:
                self._known.clear()
            self._known[kind] = lines
        if _CONTROL.search(target):
            raise ValueError("a control character within a target")
        length = "" if body is None else f"{len(body)}\r\n"
        return f"{method} {target} HTTP/1.1\r\n{lines}{length}\r\n".encode()

    def _lines(self, method: str, own: Mapping[str, str], body: bytes | None) -> str:
        """The headers; with a body, up to the number of its bytes."""
        from multidict import CIMultiDict  # noqa: PLC0415  # comes with aiohttp

        fields = CIMultiDict(self._common)
        fields.update(own)
        fields.popall("Content-Length", None)
        if body is not None:
            fields.setdefault("Content-Type", "application/octet-stream")
            fields["Content-Length"] = ""
        elif method not in _BODILESS:
            fields["Content-Length"] = "0"
        lines = [*map(": ".join, fields.items())]
        if _CONTROL.search("".join([method, *lines])) or " " in method:
            raise ValueError("a control character within a header")
        return "\r\n".join(lines) + ("\r\n" if body is None else "")


async def send_body(protocol: "BaseProtocol", body: bytes) -> None:
    """Sends a large body as fast as the server takes it, which may answer before its end."""
    from aiohttp.http import StreamWriter  # noqa: PLC0415  # comes with aiohttp

    writer = StreamWriter(protocol, asyncio.get_running_loop())
    with suppress(OSError):  # the connection is gone, as who waits for the answer is told
        for at in range(0, len(body), LARGE):
            await writer.write(memoryview(body)[at : at + LARGE])


def failures() -> tuple[type[Exception], ...]:
    """What is raised when no answer comes, or none that is HTTP; `words_of` says what it is."""
    import aiohttp  # noqa: PLC0415  # 0.2 s, which commands that ask nobody do without
    from aiohttp.http import HttpProcessingError  # noqa: PLC0415  # as above

    return aiohttp.ClientError, HttpProcessingError, OSError, ValueError


def words_of(error: Exception) -> str:
    """What went wrong, on one line and without the address, which callers name in their words."""
    import aiohttp  # noqa: PLC0415  # it is there: its error was caught
    from aiohttp.http import HttpProcessingError  # noqa: PLC0415  # comes with aiohttp

    match error:
        case HttpProcessingError():
            return f"not HTTP/1.1: {error.message.partition(chr(10))[0].rstrip(':')}"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection"
        case aiohttp.ClientPayloadError():
            return "the answer ended early, or is malformed"
        case (
            aiohttp.ClientConnectorCertificateError()
            | aiohttp.ClientConnectorSSLError()
            | aiohttp.ClientOSError(__cause__=ssl.SSLError())
        ):
            return f"TLS: {error.__cause__ or type(error).__name__}".partition("\n")[0]
    for cause in (error.__cause__, error):
        if isinstance(cause, OSError) and cause.errno is not None:
            # asyncio's own text has the address in it; a resolver's numbers are not the system's.
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
    return type(error).__name__
