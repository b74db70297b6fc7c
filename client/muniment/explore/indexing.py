"""Keeps the pages' own file (`table`) up to what the replica shows."""

import asyncio
import sqlite3
from functools import partial
from pathlib import Path
from typing import Final

from muniment.explore.counting import LeafCounts, count
from muniment.explore.table import APPLICATION_ID, MIGRATIONS, SUFFIX, add, clear, range_in
from muniment.index.reader import IndexReader
from muniment.local.sqlitefile import DatabaseError, Writer
from muniment.local.workthread import WorkThread
from muniment.tlog.merkle import CompactRange, leaf_hashes, root_of
from muniment.tlog.tiles import TILE_WIDTH

_AT_ONCE: Final = 16 * TILE_WIDTH  # leaves in one transaction


class _Part:
    """What leaves behind a compact range come to, worked out in the reader's thread."""

    def __init__(self, reader: IndexReader, before: CompactRange, end: int) -> None:
        start = before.size
        leaves = list(reader.leaves(range(start, end)).values())
        hashes = leaf_hashes(leaves)
        self.counted: LeafCounts = count(leaves, start)
        self.after = before.extend(hashes)
        first = -(-start // TILE_WIDTH)
        if start % TILE_WIDTH and end // TILE_WIDTH >= first:
            # The bundle that was begun before: its first leaves are read once more.
            begun = reader.leaves(range((first - 1) * TILE_WIDTH, start)).values()
            head = [*leaf_hashes(begun), *hashes[: first * TILE_WIDTH - start]]
            self.roots = [(first - 1, root_of(head))]
        else:
            self.roots = []
        for number in range(first, end // TILE_WIDTH):
            at = number * TILE_WIDTH - start
            self.roots.append((number, root_of(hashes[at : at + TILE_WIDTH])))

    def add(self, connection: sqlite3.Connection) -> None:
        """Adds it to the file."""
        add(connection, self.counted, self.after, self.roots)


class Indexing:
    """Works whenever it is woken, until cancelled.

    Attributes:
        path: The file.
        done: Leaves that it covers, and of how many; (0, 0) before anything is known.
    """

    def __init__(self, replica: Path) -> None:
        """Takes the replica, which need not be there yet."""
        self.path: Final = replica.with_name(replica.name + SUFFIX)
        self.done = (0, 0)
        self._replica = replica
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Tells that the replica may have grown."""
        self._awake.set()

    def note(self) -> str:
        """A sentence on what is not counted yet; empty when everything is."""
        done, total = self.done
        if done == total:
            return ""
        return (
            f"Figures and searches cover the first {done:,} of {total:,} leaves: the rest is being "
            "counted."
        )

    async def run(self) -> None:
        """Works; raises DatabaseError if a file cannot be used."""
        writer = await Writer.open(self.path, MIGRATIONS, application=APPLICATION_ID)
        thread = WorkThread("explore indexing")
        reader: IndexReader | None = None
        try:
            while True:
                await self._awake.wait()  # then the follower has made the replica, if it can
                self._awake.clear()
                if reader is None:
                    reader = await thread.run(lambda: IndexReader(self._replica))
                await self._catch_up(writer, thread, reader)
        finally:
            if reader is not None:
                await thread.run(reader.close)
            thread.close()
            await writer.close()

    async def _catch_up(
        self, writer: Writer, thread: WorkThread, reader: IndexReader, *, is_anew: bool = False
    ) -> None:
        verified = (await thread.run(reader.state)).verified
        known = await writer.run(range_in, synced=False)
        if known.size > verified.size:
            await writer.run(clear, synced=False)
            known = CompactRange.EMPTY
        while known.size < verified.size:
            self.done = (known.size, verified.size)
            end = min(verified.size, known.size + _AT_ONCE)
            part = await thread.run(partial(_Part, reader, known, end))
            await writer.run(part.add, synced=False)
            known = part.after
        if known.size and known.root() != verified.root():
            # It was made of other leaves: of another replica at this path, say.
            if is_anew:
                raise DatabaseError(f"{self._replica}: its leaves have not the root that it keeps")
            await writer.run(clear, synced=False)
            await self._catch_up(writer, thread, reader, is_anew=True)
        self.done = (verified.size, verified.size)
