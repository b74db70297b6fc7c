"""Requests whose stream ended before their answer came, which another stream may still bring.

Before revision 2026-07-28 a stream whose events have ids can be resumed: the client asks, by
`Last-Event-ID`, for what came after an event, and finds there the answer to a request of before.
"""

import asyncio
from dataclasses import replace
from typing import Final

from muniment_gateway.mcp.passage import PassedMessage

MOST: Final = 1024
"""Most requests that are remembered; of the oldest one beyond, the answer passes all the same, and
its end is `unknown`."""

Key = tuple[str, type, object]
"""The session and the id of a request."""


class Unanswered:
    """The requests of one gate that may still be answered on another stream."""

    def __init__(self) -> None:
        """None yet."""
        self._passages: dict[Key, PassedMessage] = {}
        self._given_up: dict[Key, None] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether an answer to a request of this key may still come, on whatever stream."""
        return key in self._passages or key in self._given_up

    async def keep(self, key: Key, passage: PassedMessage) -> None:
        """Remembers a request whose stream can be resumed."""
        if self._passages.get(key) is not passage:
            await self.give_up(key)
            self._passages[key] = passage
            # The request was sent; nothing but its answer is still of interest.
            passage.message = replace(passage.message, data=b"", params={}, value={})
            passage.data, passage.permits = b"", ()
        while len(self._passages) > MOST:
            await self.give_up(next(iter(self._passages)))

    def take(self, key: Key) -> PassedMessage | None:
        """The request that an answer is to; None if it is not known, or was answered."""
        self._given_up.pop(key, None)
        return self._passages.pop(key, None)

    async def leave(self, key: Key, passage: PassedMessage) -> None:
        """Ends a request whose stream is over, unless its answer may come on another one."""
        if self._passages.get(key) is passage and not passage.is_answered:
            return
        if self._passages.get(key) is passage:
            del self._passages[key]
        await passage.end("unknown")  # unless it has ended

    async def give_up(self, key: Key) -> None:
        """Says of a request that its end was not seen."""
        if (passage := self._passages.pop(key, None)) is not None:
            self._given_up[key] = None
            if len(self._given_up) > MOST:
                del self._given_up[next(iter(self._given_up))]
            await asyncio.shield(passage.end("unknown"))

    async def give_up_all(self, session: str | None = None) -> None:
        """Gives up all requests of a session; without one, all."""
        for key in [one for one in self._passages if session in (None, one[0])]:
            await self.give_up(key)
