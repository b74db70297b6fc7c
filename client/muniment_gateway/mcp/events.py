"""Server-sent events as they pass: each whole, its bytes as they came."""

from typing import Final

MAX_EVENT: Final = 96 << 20
"""Longest event, in bytes: a message of the longest kind, and a line end within it for each."""


class EventTooLongError(Exception):
    """An event that never ends."""


class Events:
    """Cuts a stream into events; what is behind the last empty line is not one yet."""

    def __init__(self, most: int = MAX_EVENT) -> None:
        """Takes events of at most so many bytes."""
        self._most = most
        self._held: list[bytes] = []  # of the line that is not whole
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are whole now, each with the empty line at its end.

        Raises EventTooLongError if one is too long.
        """
        found: list[bytes] = []
        for line in self._lines(chunk):
            self._parts.append(line)
            if line in (b"\n", b"\r\n", b"\r"):
                found.append(b"".join(self._parts))
                self._parts, self._size = [], sum(map(len, self._held))
        if self._size > self._most:
            raise EventTooLongError
        return found

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that are whole now; the rest is not put together before it is one."""
        self._size += len(chunk)
        self._held.append(chunk)
        # A line that ends with a carriage return may go on with a line feed.
        ends = b"\n" in chunk or b"\r" in chunk or self._held[-2:][0].endswith(b"\r")
        if not ends:
            return []
        lines = b"".join(self._held).splitlines(keepends=True)
        self._held = [] if not lines or lines[-1].endswith(b"\n") else [lines.pop()]
        return lines

    def rest(self) -> bytes:
        """What is left at the end of the stream."""
        return b"".join([*self._parts, *self._held])


def data_of(event: bytes) -> bytes:
    """The data of an event; empty when it has none."""
    found = [
        line[5:].removeprefix(b" ")
        for line in event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(found)


def has_id(event: bytes) -> bool:
    """Whether an event has an id, so that its stream can be resumed behind it."""
    return event.startswith(b"id:") or b"\nid:" in event or b"\rid:" in event


def with_data(event: bytes, data: bytes) -> bytes:
    """An event with other data, on one line."""
    others = [
        line
        for line in event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if line and not line.startswith(b"data:")
    ]
    return b"\n".join([*others, b"data: " + data.replace(b"\n", b" "), b"", b""])
