"""A client's request on the wire, and words for what went wrong there."""

import asyncio
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

LARGE: Final = 64 << 10
"""Bytes of a body that is sent in pieces."""

_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods of which a request without a body need not say that it has none (RFC 9110 8.6)."""

_CONTROL: Final = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")
"""What is in no line of a head (RFC 9110 5.5)."""


def head_of(
    method: str,
    target: str,
    common: Mapping[str, str],
    own: Mapping[str, str],
    body: bytes | None,
) -> bytes:
    """The first line and the headers of a request; its `own` count before the `common` ones.

    Raises ValueError if there is a control character within one, or white space in the method.
    """
    from multidict import CIMultiDict  # noqa: PLC0415  # comes with aiohttp

    fields = CIMultiDict(common)
    fields.update(own)
    if body is not None:
        fields.setdefault("Content-Type", "application/octet-stream")
        fields["Content-Length"] = str(len(body))
    elif method not in _BODILESS:
        fields["Content-Length"] = "0"
    lines = [f"{method} {target} HTTP/1.1", *map(": ".join, fields.items())]
    if _CONTROL.search("".join(lines)) or " " in method:
        raise ValueError("a control character within a header")
    return "\r\n".join([*lines, "\r\n"]).encode()


async def send_body(protocol: "ResponseHandler", body: bytes) -> None:
    """Sends a large body as fast as the server takes it, which may answer before its end."""
    from aiohttp.http import StreamWriter  # noqa: PLC0415  # comes with aiohttp

    writer = StreamWriter(protocol, asyncio.get_running_loop())
    with suppress(OSError):  # the connection is gone, as who waits for the answer is told
        for at in range(0, len(body), LARGE):
            await writer.write(memoryview(body)[at : at + LARGE])


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
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"TLS: {error.__cause__ or type(error).__name__}".partition("\n")[0]
    for cause in (error.__cause__, error):
        if isinstance(cause, OSError) and cause.errno is not None:
            # asyncio's own text has the address in it; a resolver's numbers are not the system's.
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
    return type(error).__name__
