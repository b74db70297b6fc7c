"""The map process, as the log sees it: a child that is asked, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from muniment.tlog.encoding import MAX_SIZE, FormatError
from muniment.tlog.merkle import HASH_SIZE
from muniment_log.errors import IndexLogError, IndexLogUnavailableError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from muniment.tlog.heads import Head

_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]


class Question(msgspec.Struct, frozen=True):
    """Brings the map up to a published head of the log.

    Attributes:
        origin: the log's.
        size: its leaves.
        root: its root.
        leaves: leaves of the index log, with whose map roots the map is to agree.
    """

    origin: str
    size: _Size
    root: bytes
    leaves: _Size


class MapAnswer(msgspec.Struct, frozen=True):
    """What the map process says.

    Attributes:
        size: leaves in the map.
        root: the map root at that size.
        is_done: whether this answers the question; until then it tells how far the map is.
        contradiction: why the leaves do not give what the index log has published.
    """

    size: _Size
    root: bytes = b""
    is_done: bool = True
    contradiction: str = ""


class MapProcess:
    """Asks a child; one question at a time."""

    def __init__(self, child: Process, origin: str, reached: Callable[[int], None]) -> None:
        """Takes the running child, and whom to tell how far the map is."""
        self._child = child
        self._origin = origin
        self._reached = reached

    async def advance(self, head: Head, leaves: int) -> bytes:
        """Has the map brought up to a head, and returns its root there; see `Question`.

        Raises:
            IndexLogError: the leaves do not give what the index log has published.
            IndexLogUnavailableError: the child has ended.
        """
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise AssertionError("the child's stdin and stdout are pipes")
        question = Question(self._origin, *head, leaves)
        try:
            stdin.write(msgspec.json.encode(question) + b"\n")
            await stdin.drain()
        except ConnectionError:
            pass  # it has ended, as the end of its stdout tells
        while line := await stdout.readline():
            answer = msgspec.json.decode(line, type=MapAnswer)
            if answer.contradiction:
                raise IndexLogError(answer.contradiction)
            self._reached(answer.size)
            if answer.is_done:
                if len(answer.root) != HASH_SIZE:
                    raise FormatError("the map process: not a root")
                return answer.root
        raise IndexLogUnavailableError(f"the map process ended: code {await self._child.wait()}")
