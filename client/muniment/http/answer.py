"""An answer over HTTP, read from aiohttp's parser: bounded, and without content coding."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.tlog.contentcoding import ContentTooLong, decode_content
from muniment.tlog.encoding import FormatError, MunimentError

if TYPE_CHECKING:
    from muniment.http.exchange import HttpExchange

MAX_ERROR: Final = 64 << 10
"""Bytes of the body of a response that is not a 200, at the least."""


class HttpError(MunimentError):
    """No answer came, or none that is HTTP."""


class TooLongError(HttpError):
    """The answer's body is longer than was allowed."""


class Answer(NamedTuple):
    """A response, whose body is without content coding; redirects are not followed.

    Names of its headers compare case-insensitively; of several with one name the first counts.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip()


async def read_answer(exchange: "HttpExchange", limit: int | None) -> Answer:
    """Reads the answer to what was sent; see `HttpSession.request`."""
    message, content = await exchange.head()
    while 100 <= message.code < 200 and message.code != 101:
        message, content = await exchange.head()
    status = message.code
    if status < 200:
        raise HttpError("the server changed the protocol")
    found = message.headers
    if limit is None:
        return Answer(status, found, b"")
    if status != 200:
        limit = max(limit, MAX_ERROR)
    length = found.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLongError(f"the answer is longer than {limit} bytes")
    pieces: list[bytes] = []
    size = 0
    while not content.at_eof():
        # Most bodies have come with their heads.
        piece = content.read_nowait() if content.is_eof() else await content.readany()
        size += len(piece)
        if size > limit:
            raise TooLongError(f"the answer is longer than {limit} bytes")
        pieces.append(piece)
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if "content-encoding" in found:
        body = _decoded(body, ", ".join(found.getall("content-encoding")), limit)
    return Answer(status, found, body)


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Undoes the content coding, to `limit` bytes."""
    try:
        return decode_content(body, coding, limit)
    except ContentTooLong:
        raise TooLongError(f"the answer is longer than {limit} bytes") from None
    except FormatError as error:
        raise HttpError(f"the answer: {error}") from None
