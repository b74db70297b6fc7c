"""One request on its way in: its head, and a body that is bounded in size, time and memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.service.http import Problem
from muniment.service.limits import too_large
from muniment.service.wire import Headers

if TYPE_CHECKING:
    from muniment.service.connection import Connection


class Incoming:
    """A request as it arrives; the `BodySource` of its handler.

    Attributes:
        method: The method, once the head is complete.
        target: The target as sent, once the head is complete.
        headers: The headers.
        length: Bytes of the body as announced; None when it comes in chunks.
        received: Bytes of the body that have come.
        keep_alive: Whether the client wants to use the connection again.
        has_head: Whether the head is complete.
        queued: Whether it is being answered, or waits for its turn.
        is_complete: Whether the body has come whole.
        problem: What is wrong with it, when it is no request at all.
    """

    __slots__ = (
        "_chunks", "_connection", "_refused", "_unwanted", "_waiter", "has_head", "headers",
        "is_complete", "keep_alive", "length", "method", "most", "problem", "queued", "received",
        "target",
    )  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        """Begins with nothing received."""
        self.method = ""
        self.target = ""
        self.headers: Final = Headers()
        self.length: int | None = 0
        self.received = 0
        self.keep_alive = False
        self.has_head = self.queued = self.is_complete = False
        self.problem: Problem | None = None
        self.most = -1  # the handler's limit in bytes; negative until it asks for the body
        self._connection = connection
        self._chunks: list[bytes] = []
        self._refused: Problem | None = None
        self._unwanted = False
        self._waiter: asyncio.Future[None] | None = None

    # What the connection tells.

    def feed(self, data: bytes) -> None:
        """Takes a piece of the body.

        What has arrived counts, not what was announced: a client that announces much and sends
        nothing must not keep the others out.
        """
        if self._refused is not None or self._unwanted:
            return
        size = len(data)
        if 0 <= self.most < self.received + size:
            self.fail(too_large(self.most))
            return
        try:
            self._connection.hub.budget.take(size)
        except Problem as problem:
            self.fail(problem)
            return
        self.received += size
        self._chunks.append(data)

    def complete(self) -> None:
        """The body has come whole."""
        self.is_complete = True
        self._wake()

    def fail(self, problem: Problem) -> None:
        """The body will not come whole, or is not taken; unless it has come already."""
        if self._refused is None and not self.is_complete:
            self._refused = problem.with_traceback(None)  # it would hold what the frames hold
            self._wake()

    # What the handler asks.

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits to be told to send the body."""
        return not self.received and self.headers.get("expect", "").lower() == "100-continue"

    async def read(self, most: int) -> bytes:
        """Reads the whole body, see `http.BodySource`."""
        if max(self.received, self.length or 0) > most:
            raise too_large(most)
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "content-encoding", "send the body without content encoding")
        self.most = most
        if not self.is_complete and self._refused is None:
            self._waiter = asyncio.get_running_loop().create_future()
            self._connection.expect_body(self)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._connection.body_ended()
        if self._refused is not None:
            raise self._refused
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def release(self) -> None:
        """Gives the share of the budget back; the response is ready, or will never be."""
        self._connection.hub.budget.give(self.received)
        self.received = 0
        self._chunks.clear()
        self._refused = None  # raised, it holds the frames that hold this, in a circle
        self._unwanted = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
