"""C2SP tlog-tiles, "Log entries": the leaves of an index, read out of entry bundles.

Bundles come from a replica's own file or from the log that the index belongs to; those that were
used last stay in memory.
"""

from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from muniment.local.bytecache import ByteCache
from muniment.local.sqlitefile import DatabaseError
from muniment.records.manifest import MANIFEST, MAX_BATCH_RECORDS
from muniment.tlog.tiles import TILE_WIDTH

CACHE_BYTES: Final = 32 << 20
"""Bytes of entry bundles kept in memory: about 200 of usual size."""


class Bundles(Protocol):
    """Where the records are."""

    def bundle(self, index: int) -> bytes:
        """The entry bundle at an index, as it stands now: at least what was visible when asked for.

        Raises DatabaseError if it is not there.
        """
        ...


class _Bundle:
    """An entry bundle, walked only as far as somebody has asked: most look for one entry."""

    __slots__ = ("_starts", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._starts = [0]  # of the frames seen so far, and of the one after them

    def __len__(self) -> int:
        return len(self.data)

    def has(self, at: int) -> bool:
        """Whether there is an entry at a position."""
        starts, data = self._starts, self.data
        start, most = starts[-1], len(data) - 2
        while len(starts) <= at + 1:
            if start > most:
                return False
            start += 2 + (data[start] << 8 | data[start + 1])
            starts.append(start)
        return starts[at + 1] <= len(data)

    def find(self, beginning: bytes, first: int, end: int) -> int | None:
        """The first position in [first, end) whose entry begins with some bytes; `has(end - 1)`."""
        self.has(end - 1)
        at = self.data.find(beginning, self._starts[first])
        while at >= 0:
            position = bisect_right(self._starts, at - 2) - 1
            if position >= end:
                return None
            if self._starts[position] == at - 2:
                return position
            at = self.data.find(beginning, at + 1)
        return None

    def entry(self, at: int) -> bytes:
        """The entry at a position where there is one."""
        return self.data[self._starts[at] + 2 : self._starts[at + 1]]


class LeafReader:
    """Reads leaves; each method raises `DatabaseError` if one is not there.

    `path` is the index that names the leaves, for messages.
    """

    def __init__(self, path: Path, source: Bundles) -> None:
        self._path = path
        self._source = source
        self._cache: ByteCache[int, _Bundle] = ByteCache(CACHE_BYTES)

    def leaves(self, indices: Iterable[int]) -> dict[int, bytes]:
        """The leaves at some indices, each bundle read once."""
        found: dict[int, bytes] = {}
        for index in sorted(set(indices)):
            number, at = divmod(index, TILE_WIDTH)
            found[index] = self._bundle(number, at).entry(at)
        return found

    def manifest_after(self, index: int, *, size: int) -> tuple[int, bytes] | None:
        """The first manifest behind a leaf, with its leaf index; None if none is near enough."""
        at = index
        last = min(size, index + MAX_BATCH_RECORDS + 1)
        while at < last:
            number, first = divmod(at, TILE_WIDTH)
            width = min(TILE_WIDTH, size - number * TILE_WIDTH)
            bundle = self._bundle(number, width - 1)
            position = bundle.find(MANIFEST, first, width)
            if position is not None:
                found = number * TILE_WIDTH + position
                return (found, bundle.entry(position)) if found < last else None
            at = (number + 1) * TILE_WIDTH
        return None

    def _bundle(self, number: int, at: int) -> _Bundle:
        """The bundle with this number, which has an entry `at`."""
        known = self._cache.get(number)
        if known is not None and known.has(at):
            return known
        bundle = _Bundle(self._source.bundle(number))
        if not bundle.has(at):
            raise DatabaseError(f"{self._path}: entry bundle {number} ends before entry {at}")
        self._cache.put(number, bundle)
        return bundle
