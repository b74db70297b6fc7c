"""Messages on a pipe: one a line, of bounded length."""

import asyncio
from typing import Final

CHUNK: Final = 64 << 10
"""Bytes read at one time."""


class MessageLines:
    """Reads lines; one that is too long is skipped to its end, and reported by None."""

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        """Reads from `reader` lines of at most so many bytes."""
        self._reader = reader
        self._most = most
        self._ready: list[bytes | None] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._is_over = False

    async def next(self) -> bytes | None:
        """The next line that is not empty; None for one that is too long.

        Raises EOFError at the end; what has no line end by then is no message.
        """
        while not self._ready:
            if self._is_over:
                raise EOFError
            chunk = await self._reader.read(CHUNK)
            if not chunk:
                self._is_over = True
                continue
            self._take(chunk)
        return self._ready.pop(0)

    def _take(self, chunk: bytes) -> None:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._add(line)
            if self._size > self._most:
                self._ready.append(None)
            elif whole := b"".join(self._parts).strip():
                self._ready.append(whole)
            self._parts, self._size = [], 0
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._most:
            self._parts = []  # nothing of it is kept
        elif part:
            self._parts.append(part)
