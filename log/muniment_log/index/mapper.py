"""The map process, ``python -m muniment_log.index.mapper --database LOG --index-log FILE MAP``.

`indexlog.IndexLog` has it started, and asks it on stdin, one line of JSON each: bring the map up to
a published head of the log. It answers with the map root there, and does nothing until it is asked
again: whoever reads the map file meanwhile sees the state that the answer is about. It reads the
log's database by a query-only connection, runs at a lower priority, and ends when its stdin does.

Whatever the map file is (behind, lost, rotten, of another log), the root that is answered follows
from the leaves, whose own root is compared with the head. Where the index log has a leaf about a
size that the map comes by, their map roots are compared, too. A map that does not agree is emptied
and built again, once: when the leaves themselves do not give what was published, that is an error
which names the first leaf of the index log that they contradict.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from bisect import bisect_right
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import msgspec

from muniment.local.logs import LogFormat, LogLevel, configure, event
from muniment.local.sqliteerrors import InUseError
from muniment.local.sqlitefile import DatabaseError, UnwritableError
from muniment.map.mapfile import MapFile, forget_map
from muniment.tlog.encoding import FormatError, MunimentError, format_base64, unframe
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf, parse_index_leaf
from muniment.tlog.tiles import TILE_WIDTH
from muniment_log.errors import IndexLogError
from muniment_log.index.mapprocess import MapAnswer, Question
from muniment_log.storage.snapshot import LogSnapshot
from muniment_service.process import freeze_startup_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH: Final = 16_384
"""Leaves that are put into the map at once, at the most: nodes on their paths are hashed once."""

NICENESS: Final = 10
"""Added to the process's: when the processors do not suffice for both, the log goes first."""

_LOGGER: Final = logging.getLogger(__name__)


class IndexLeaves:
    """The leaves of the index log, as its database has them: in the order of their sizes."""

    def __init__(self, snapshot: LogSnapshot) -> None:
        self._snapshot = snapshot
        self.count = 0
        self._bundle = lru_cache(4)(self._read)

    def leaf(self, number: int) -> IndexLeaf:
        """One of them."""
        with _reading("the index log"):
            bundle = self._bundle(number // TILE_WIDTH, self.count)
            return parse_index_leaf(bundle[number % TILE_WIDTH])

    def last_within(self, size: int) -> tuple[int, IndexLeaf] | None:
        """The number and the leaf about the largest tree of at most `size` leaves, if there is one.

        Raises UnreadableError if they cannot be read.
        """
        number = self.count - 1
        if number >= 0 and self.leaf(number).head.size > size:
            sizes = range(self.count)
            number = bisect_right(sizes, size, key=lambda at: self.leaf(at).head.size) - 1
        return None if number < 0 else (number, self.leaf(number))

    def _read(self, index: int, _count: int) -> list[bytes]:
        return unframe(self._snapshot.bundle(index))


class Mapper:
    """Brings a map file up to heads of a log."""

    def __init__(
        self, path: Path, log: LogSnapshot, leaves: IndexLeaves, told: Callable[[int], None]
    ) -> None:
        """Takes the map's file, the log, what was published of it; `told` of each size reached."""
        self._path = path
        self._log = log
        self._leaves = leaves
        self._told = told
        self._map: MapFile | None = None
        self._origin = ""

    async def close(self) -> None:
        """Closes the map's file."""
        made, self._map = self._map, None
        if made is not None:
            await made.close()

    async def answer(self, question: Question) -> MapAnswer:
        """Brings the map up to a head, and tells its root there.

        Raises:
            IndexLogError: the leaves do not give what was published.
            UnreadableError: they cannot be read.
            DatabaseError: the map's file cannot be used.
        """
        self._origin, self._leaves.count = question.origin, question.leaves
        head = Head(question.size, question.root)
        try:
            return await self._bring(head)
        except (InUseError, UnwritableError):
            raise  # nothing is wrong with what is in the file
        except (DatabaseError, _ContradictionError) as error:
            event(_LOGGER, logging.ERROR, "the map is built again", error=str(error))
            await self.close()
            forget_map(self._path)
        try:
            return await self._bring(head)
        except _ContradictionError as error:
            raise IndexLogError(str(error)) from error

    async def _bring(self, head: Head) -> MapAnswer:
        if self._map is None:
            self._map = await MapFile.open(self._path, self._origin)
        made = self._map
        if made.size > head.size:
            raise _ContradictionError(f"it is of {made.size} leaves, and the log has {head.size}")
        self._compare(made)
        while made.size < head.size:
            end = min(made.size + BATCH, head.size)
            published = self._leaves.last_within(end)
            if published is not None and published[1].head.size > made.size:
                end = published[1].head.size
            await made.apply(made.size, list(self._entries(made.size, end)))
            self._compare(made)
            self._told(made.size)
        if made.range.root() != head.root:
            raise _ContradictionError(
                f"the stored leaves do not give the root of the log's head of size {head.size}: "
                "see `muniment-log check`"
            )
        return MapAnswer(made.size, made.root)

    def _compare(self, made: MapFile) -> None:
        """Compares the map with what was published about exactly its size, if anything was."""
        published = self._leaves.last_within(made.size)
        if published is None or published[1].head.size != made.size:
            return
        number, leaf = published
        if made.range.root() != leaf.head.root:
            raise _ContradictionError(
                f"the stored leaves do not give the root at size {made.size} that leaf {number} of "
                "the index log states: see `muniment-log check`"
            )
        if made.root != leaf.map_root:
            raise _ContradictionError(
                f"leaf {number} of the index log states the map root "
                f"{format_base64(leaf.map_root)} at size {made.size}, and the leaves give "
                f"{format_base64(made.root)}"
            )

    def _entries(self, start: int, end: int) -> Iterator[bytes]:
        for index in range(start // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1):
            first = index * TILE_WIDTH
            with _reading("the log"):
                entries = unframe(self._log.bundle(index))
            yield from entries[max(0, start - first) : end - first]


class _ContradictionError(MunimentError):
    """A map is not what was published, or not of the log's leaves."""


class UnreadableError(MunimentError):
    """The database of the log or of its index log cannot be read."""


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, FormatError, IndexError) as error:
        raise UnreadableError(f"{what}: {error}") from error


def _say(answer: MapAnswer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


async def _serve(options: argparse.Namespace) -> None:
    log, index_log = LogSnapshot(options.database), LogSnapshot(options.index_log)
    mapper = Mapper(
        options.map, log, IndexLeaves(index_log), lambda size: _say(MapAnswer(size, is_done=False))
    )
    try:
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            try:
                _say(await mapper.answer(msgspec.json.decode(line, type=Question)))
            except IndexLogError as error:
                _say(MapAnswer(0, contradiction=str(error)))
    finally:
        await mapper.close()
        log.close()
        index_log.close()


def main() -> int:
    """Runs the process; the exit code is 0 when it was told to end, 1 for an error."""
    parser = argparse.ArgumentParser(prog="muniment_log.index.mapper")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--index-log", type=Path, required=True)
    parser.add_argument("map", type=Path)
    parser.add_argument("--log-level", choices=get_args(LogLevel), default="info")
    parser.add_argument("--log-format", choices=get_args(LogFormat), default="text")
    options = parser.parse_args()
    configure(options.log_level, options.log_format)
    os.nice(NICENESS)
    # An interrupt from a terminal goes to the log as well, which ends this process in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    freeze_startup_objects()
    try:
        asyncio.run(_serve(options))
    except BrokenPipeError:
        return 0  # the log has ended
    except (MunimentError, OSError) as error:
        event(_LOGGER, logging.ERROR, "the map cannot be kept", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
