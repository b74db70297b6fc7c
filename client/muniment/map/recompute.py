"""Whether a log's index is that of its leaves: the map is made anew, leaf by leaf.

A witness does it before it cosigns an index, an auditor afterwards. All that is read is
authenticated by the heads that the index's own leaves name, so that a source of tiles can only
withhold, and whoever signed the index answers for what is in it.
"""

from collections.abc import AsyncIterator
from itertools import islice
from typing import Final, NamedTuple

from muniment.map.mapfile import MapFile
from muniment.records.touched import MAP_VERSION
from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf, index_origin, parse_index_leaf
from muniment.tlog.tiles import bundles_of, check_bundle
from muniment.tlog.treereader import Fetch, TreeTiles, read_inclusion

BUNDLES: Final = 16
"""Bundles read at the same time: about 2.5 MB as a rule, 256 MB at the very most."""

BATCH: Final = 16_384
"""Leaves in one batch of the map: a second of work."""

BATCH_BYTES: Final = 32 << 20
"""Bytes of leaves from which on a batch ends early."""


class Wrong(NamedTuple):
    """A leaf of an index with another map root than that of the log's leaves."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf: IndexLeaf
    proof: tuple[bytes, ...]
    """Its inclusion proof in the index's tree."""
    computed: bytes


class Recomputer:
    """Compares the leaves of an index log with the map, in their order; one call at a time."""

    def __init__(self, map_: MapFile, log: Fetch, index: Fetch) -> None:
        """Takes the map, which nobody else feeds, and how to read the log and its index log."""
        self._map = map_
        self._log = log
        self._index = index

    async def compare(self, start: int, head: Head) -> Wrong | None:
        """Compares the leaves [start, head.size) of the index tree of a head; the first wrong one.

        What seems wrong is computed twice, the second time from the log's first leaf.

        Raises:
            VerificationError, FormatError: If what was read is not of the trees that are named, or
                the index is not one of this log: nothing is shown against anybody then.
            DatabaseError: If the map's file cannot be used.
        """
        tiles = TreeTiles(head, self._index)
        async for index, data in _entries(tiles, start, head.size):
            leaf = parse_index_leaf(data)
            if (leaf.origin, leaf.version) != (self._map.origin, MAP_VERSION):
                raise VerificationError(
                    f"leaf {index} of the index is about map {leaf.version} of {leaf.origin}"
                )
            if index == start and not await self._knows(leaf.head.size):
                # It was computed anew for a later leaf, or that was too long ago.
                await self._map.clear()
            computed = await self.root_at(leaf.head)
            if computed != leaf.map_root:
                # Nobody is accused by a file that may have rotted: once more, from the first leaf.
                await self._map.clear()
                computed = await self.root_at(leaf.head)
            if computed != leaf.map_root:
                _, proof = await read_inclusion(tiles, index, head.size)
                return Wrong(index, leaf, proof, computed)
        return None

    async def _knows(self, size: int) -> bool:
        """Whether the map is, will come by, or knows what it was at a size."""
        return size >= self._map.size or await self._map.passed(size) is not None

    async def root_at(self, head: Head) -> bytes:
        """The root of the map over the leaves of a head of the log; raises as `compare`."""
        tiles = TreeTiles(head, self._log)
        leaves: list[bytes] = []
        while (at := self._map.size + len(leaves)) < head.size:
            # Whole bundles again when one was partial: what is known of it is skipped.
            wanted = list(islice(bundles_of(at, head.size, head.size), BUNDLES))
            contents = await tiles.read(wanted)
            read = [leaf for tile in wanted for leaf in check_bundle(tile, contents[tile])]
            leaves += read[at - wanted[0].start :]
            is_enough = len(leaves) >= BATCH or sum(map(len, leaves)) >= BATCH_BYTES
            if is_enough or wanted[-1].end >= head.size:
                await self._map.apply(self._map.size, leaves)
                leaves = []
        if self._map.size == head.size:
            tree, root = self._map.range.root(), self._map.root
        else:
            known = await self._map.passed(head.size)
            if known is None:
                raise VerificationError(
                    f"the map has passed size {head.size} already, and does not know what it was"
                )
            tree, root = known
        if tree != head.root:
            raise VerificationError(f"another tree of {head.size} leaves than the map was made of")
        return root


async def _entries(tiles: TreeTiles, start: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
    at = start
    while at < end:
        wanted = list(islice(bundles_of(at, end, end), 1))
        contents = await tiles.read(wanted)
        for tile in wanted:
            for index, data in enumerate(check_bundle(tile, contents[tile]), tile.start):
                if index >= at:
                    yield index, data
            at = tile.end


def about(origin: str) -> str | None:
    """The origin of the log of which an origin is the index log's; None if it is none's.

    Of this version of the map function.
    """
    log = origin.removesuffix(index_origin("", MAP_VERSION))
    return log if log != origin and log else None
