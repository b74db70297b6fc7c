"""The body of a request on its way in: bounded in size, time and memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from multidict import CIMultiDictProxy

from muniment_service.http import Problem
from muniment_service.limits import Budget, Limits, too_large
from muniment_service.wire import Headers, length_of

READ_AHEAD: Final = 32 << 10
"""Bytes of a body that aiohttp reads before a handler asks for it; it stops at twice that."""

_READ_AT_ONCE: Final = 256 << 10
"""The same of a large body that a handler is reading: it takes what has come in each turn of the
event loop, and pausing the socket in between would cost more than the reading."""


class MalformedBodyError(Exception):
    """What aiohttp's parser is to raise for a body that is not framed as its head says.

    aiohttp's own exception is in its server, which nothing else here is taken from.
    """


class Client(Protocol):
    """Who sends the body: the connection."""

    @property
    def has_ended(self) -> bool:
        """Whether the client sends no more."""
        ...

    def send_continue(self) -> None:
        """Tells the client, which asked to be told, to send the body."""
        ...


class Content(Protocol):
    """What has come of a body, as aiohttp's `StreamReader` gives it."""

    def is_eof(self) -> bool:
        """Whether all of it has come."""
        ...

    def at_eof(self) -> bool:
        """Whether all of it has come and was read."""
        ...

    def set_read_chunk_size(self, n: int) -> None:
        """Lets so many bytes come before they are read."""
        ...

    async def readany(self) -> bytes:
        """Reads what has come; OSError if the rest never will."""
        ...

    def read_nowait(self) -> bytes:
        """Reads what has come, and waits for nothing."""
        ...


class Body:
    """The body of one request, bounded in size, time and memory; see `http.BodySource`."""

    __slots__ = ("_budget", "_client", "_content", "_held", "_length", "_limits", "headers")

    def __init__(
        self,
        client: Client,
        headers: CIMultiDictProxy[str],
        content: Content,
        limits: Limits,
        budget: Budget,
    ) -> None:
        self._client = client
        self._content = content
        self._length = length_of(headers)
        self._limits = limits
        self._budget = budget
        self._held = 0
        self.headers: Final = Headers(headers)

    async def read(
        self,
        most: int,
        more: int = 0,
        admit: Callable[[bytes], object] | None = None,
        *,
        coded: bool = False,
    ) -> bytes:
        """Reads the whole body, see `http.Request.body`."""
        if self._length > most + more:
            raise too_large(most + more)
        if not coded and self.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "content-encoding", "send the body without content encoding")
        content = self._content
        if content.at_eof():
            return b""
        try:
            if content.is_eof():  # most bodies have come with their head, and need no timer
                return self._take(content, most, more, admit)
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._collect(content, most, more, admit)
        except TimeoutError:
            raise _too_slow(self._limits) from None
        except (MalformedBodyError, OSError):
            raise incomplete() from None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Reads the body as it comes, see `http.Request.pieces`."""
        content = self._content
        content.set_read_chunk_size(_READ_AT_ONCE)
        self._continue()
        try:
            while not content.at_eof():
                if not content.is_eof() and self._client.has_ended:
                    raise incomplete()
                async with asyncio.timeout(self._limits.body_seconds):
                    piece = await content.readany()
                yield piece
        except TimeoutError:
            raise _too_slow(self._limits) from None
        except (MalformedBodyError, OSError):
            raise incomplete() from None

    def _take(
        self, content: Content, most: int, more: int, admit: Callable[[bytes], object] | None
    ) -> bytes:
        """Does what `_collect` does, of a body that has come."""
        self._continue()
        data = content.read_nowait()
        self._hold(data)
        if self._held > most + more:
            raise too_large(most + more)
        if self._held > most and admit is not None:
            admit(data)
        return data

    def _hold(self, piece: bytes) -> None:
        """Counts what has come, until it is released."""
        # What has arrived counts, not what was announced: a client that announces much and sends
        # nothing must not keep the others out.
        self._budget.take(len(piece))
        self._held += len(piece)

    async def _collect(
        self,
        content: Content,
        most: int,
        more: int,
        admit: Callable[[bytes], object] | None,
    ) -> bytes:
        pieces: list[bytes] = []
        if self._length > READ_AHEAD:
            content.set_read_chunk_size(_READ_AT_ONCE)
        self._continue()
        while not content.at_eof():
            if not content.is_eof() and self._client.has_ended:
                raise incomplete()
            piece = await content.readany()
            self._hold(piece)
            pieces.append(piece)
            if self._held > most:
                most += more
                if self._held > most:
                    raise too_large(most)
                more = 0
                if admit is not None:
                    pieces = [b"".join(pieces)]
                    admit(pieces[0])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _continue(self) -> None:
        """Tells a client that waits for it to send the body."""
        if self.headers.get("expect", "").lower() == "100-continue":
            self._client.send_continue()

    def release(self) -> None:
        """Gives the share of the budget back; the response is ready, or will never be."""
        self._budget.give(self._held)
        self._held = 0


def _too_slow(limits: Limits) -> Problem:
    return Problem(
        408, "too-slow", f"the body did not arrive within {limits.body_seconds:g} seconds"
    )


def incomplete() -> Problem:
    """The refusal of a body that will not come whole."""
    return Problem(400, "incomplete-body", "the body ended early or is malformed")
