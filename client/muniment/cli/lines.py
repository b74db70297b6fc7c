"""Lines of a file or of stdin, in parts, with bounded memory and without blocking the loop."""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Final, NamedTuple

from muniment.errors import InputError

MAX_LINE: Final = 256 * 1024
"""Bytes of a line: a record of at most 65,535 bytes, written with generous white space."""

LINGER: Final = 0.2
"""Seconds without more input until what has been read is handed out: a pipe may be live."""

PART_BYTES: Final = 32 * 1024 * 1024
"""Bytes of lines after which a part is handed out, however few lines it has."""

_CHUNK: Final = 256 * 1024
_CHUNKS_AHEAD: Final = 4


def count_lines(path: Path) -> int:
    """How many lines a file has; 0 for what is no regular file, or cannot be read."""
    if not path.is_file():
        return 0
    try:
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(partial(file.read, _CHUNK), b""))
    except OSError:
        return 0


class Line(NamedTuple):
    """A line that is not blank, without its newline, numbered from 1.

    Of one that is too long ``data`` is the beginning; ``problem`` says why it cannot be used.
    """

    number: int
    data: bytes
    problem: str | None = None


class LineSource:
    """Reads lines of a file, or for ``-`` of stdin, in a thread of its own.

    The thread is a daemon: one that waits for stdin cannot be stopped, and must not keep the
    process from ending when the log has refused.
    """

    def __init__(self, path: Path, longest: int = MAX_LINE) -> None:
        """Opens a file; a line has at most ``longest`` bytes. Raises ``InputError``."""
        self._longest = longest
        try:
            self._file: IO[bytes] = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._room = threading.Semaphore(_CHUNKS_AHEAD)
        self._lines: deque[Line] = deque()
        self._rest: list[bytes] = []
        self._is_long = False  # the line that `_rest` is the beginning of is too long
        self._number = 0
        self._ended = False
        self._failure: InputError | None = None
        threading.Thread(target=self._read, name="input", daemon=True).start()

    async def part(self, most: int) -> list[Line]:
        """The next lines, at most so many; none at the end of the input.

        Fewer come at the end, and when no more input came for LINGER seconds. An ``InputError`` if
        the input cannot be read.
        """
        part: list[Line] = []
        size = 0
        while len(part) < most and size < PART_BYTES:
            if self._lines:
                part.append(self._lines.popleft())
                size += len(part[-1].data)
            elif self._failure is not None and not part:
                raise self._failure
            elif self._ended:
                break
            else:
                try:
                    async with asyncio.timeout(LINGER if part else None):
                        chunk = await self._chunks.get()
                except TimeoutError:
                    break
                self._room.release()
                try:
                    self._split(chunk)
                except InputError as error:
                    # The lines before it come first.
                    self._failure = error
                    self._ended = True
        return part

    def _split(self, chunk: bytes | OSError) -> None:
        if isinstance(chunk, OSError):
            raise InputError(f"the input cannot be read: {chunk.strerror}")
        self._ended = not chunk
        *whole, rest = chunk.split(b"\n")
        if self._ended and self._rest:
            whole = [b""]  # the last line may lack its newline
        if whole:
            whole[0] = b"".join([*self._rest, whole[0]])
            self._rest.clear()
        for data in whole:
            self._number += 1
            if self._is_long or len(data) > self._longest:
                self._is_long = False
                problem = f"longer than {self._longest} bytes"
                self._lines.append(Line(self._number, data[:MAX_LINE], problem))
            elif data.strip():
                self._lines.append(Line(self._number, data))
        if rest and not self._is_long:
            self._rest.append(rest)
            # Of a line that is too long only its beginning is kept, however long it is.
            self._is_long = sum(map(len, self._rest)) > self._longest

    def _read(self) -> None:
        read = getattr(self._file, "read1", self._file.read)
        try:
            self._pump(read)
        finally:
            if self._file is not sys.stdin.buffer:
                self._file.close()

    def _pump(self, read: Callable[[int], bytes]) -> None:
        chunk: bytes | OSError = b"-"
        while chunk and not isinstance(chunk, OSError):
            self._room.acquire()
            try:
                chunk = read(_CHUNK)
            except OSError as error:
                chunk = error
            try:
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            except RuntimeError:
                return  # the loop has ended; nobody wants the input any more
