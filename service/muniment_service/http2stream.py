"""One request of an HTTP/2 connection, as far as its body has come (RFC 9113 section 5)."""

import asyncio
from collections import deque
from collections.abc import Callable

from multidict import CIMultiDict


class Http2Stream:
    """What `bodies.Body` reads, and what the connection tells it.

    Attributes:
        number: Of the stream.
        named: The headers, without the pseudo headers.
        window: Set when more may be sent, or nothing ever will.
        is_malformed: Whether its header fields are.
        is_over: Whether the client is gone, or wants no answer.
    """

    def __init__(self, number: int, consumed: Callable[[int], None]) -> None:
        """Begins; `consumed` is told how many bytes of the window were read."""
        self.number = number
        self.named: CIMultiDict[str] = CIMultiDict()
        self.window = asyncio.Event()
        self.is_malformed = False
        self.is_over = False
        self._consumed = consumed
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._news = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """See `bodies.Client`."""
        return self.is_over

    def send_continue(self) -> None:
        """Who asks for it has not to wait for it (RFC 9110 section 10.1.1)."""

    def feed(self, data: bytes, size: int) -> None:
        """Takes a piece that took `size` bytes of the window."""
        self._pieces.append(data)
        self._size += size
        self._news.set()

    def feed_eof(self) -> None:
        """All has come."""
        self._ended = True
        self._news.set()

    def end(self) -> None:
        """The client is gone, or the answer was given."""
        self.is_over = True
        self._consumed(self._size)
        self._size = 0
        self._pieces.clear()
        self._news.set()
        self.window.set()

    def is_eof(self) -> bool:
        """See `bodies.Content`."""
        return self._ended

    def at_eof(self) -> bool:
        """See `bodies.Content`."""
        return self._ended and not self._pieces

    def set_read_chunk_size(self, n: int) -> None:
        """The window is what it is."""

    async def readany(self) -> bytes:
        """See `bodies.Content`."""
        while not (self._pieces or self._ended or self.is_over):
            self._news.clear()
            await self._news.wait()
        return self.read_nowait()

    def read_nowait(self) -> bytes:
        """See `bodies.Content`; ConnectionResetError when the client is gone."""
        if self.is_over:
            raise ConnectionResetError("the request was given up")
        data = b"".join(self._pieces)
        self._pieces.clear()
        size, self._size = self._size, 0
        self._consumed(size)
        return data
