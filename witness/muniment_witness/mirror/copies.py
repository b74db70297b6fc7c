"""The copy of one log that a mirror holds: it grows, is saved, read, and cosigned once it is saved.

Everything that is read or told of a copy is saved: what is in memory alone is known to nobody. The
mirror cosigns a checkpoint when every entry of its tree is synced to disk, and when the root that
the tiles on disk make is the checkpoint's: whatever went wrong before, it is no cosignature of
entries that are not there.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from muniment.local.logs import event
from muniment.local.workthread import complete
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.merkle import split_hashes
from muniment.tlog.mirrorwire import Package, PackageRange
from muniment.tlog.note import SignatureLine, Signer
from muniment.tlog.proofs import nodes_from_tiles, plan_root
from muniment.tlog.tiles import TILE_WIDTH, Tile, cut_tile
from muniment_service.http import overloaded
from muniment_witness.judge.mirroring import Copy, verify_package
from muniment_witness.store.mirrordb import MirrorCheckpoint, MirrorStore, StoredCopy

_LOGGER: Final = logging.getLogger(__name__)

SAVE_BYTES: Final = 4 << 20
"""Bytes of entries that an upload takes before it waits for the disk."""


class CopyDivergedError(MunimentError):
    """What is stored is not the tree that was verified when it was stored: the disk lies."""


class LogCopy:
    """What a mirror holds of one log, in the process that extends it.

    Attributes:
        origin: The log's origin.
        head: The mirror checkpoint, as stored; None before the first.
    """

    def __init__(self, store: MirrorStore, origin: str, held: StoredCopy) -> None:
        """Takes over what is stored; nobody else extends it."""
        self.origin: Final = origin
        self.head = held.head
        self._store = store
        self._number = held.number
        self._copy = Copy(held.edge)
        self._saved = held.edge
        self._saving = asyncio.Lock()

    @property
    def next_entry(self) -> int:
        """The first entry that is not saved."""
        return self._saved.tiles.size

    @property
    def mirrored(self) -> int:
        """The size of the mirror checkpoint; 0 without one."""
        return 0 if self.head is None else self.head.size

    async def take(self, package: Package, tree: SignedCheckpoint) -> None:
        """Takes a package once its proof holds; VerificationError when it does not.

        It begins at the latest at the next entry. Of what is here already nothing is stored.
        """
        before = await self._hashes_before(package.place)
        hashes = verify_package(package, before, tree.checkpoint.head)
        self._copy.take(package, hashes)
        if self._copy.unsaved >= SAVE_BYTES:
            await self.save()

    async def _hashes_before(self, place: PackageRange) -> list[bytes]:
        hashes = self._copy.hashes_before(place)
        if hashes is None:
            await self.save()
            tile = Tile(0, place.base // TILE_WIDTH, place.start - place.base)
            hashes = split_hashes((await self.read([tile]))[tile])
        return hashes

    async def save(self) -> None:
        """Saves what was taken by now, whoever sent it; it is synced when this returns."""
        # What was taken out of the copy must reach the disk, though its client has gone.
        await complete(self._save_alone())

    async def _save_alone(self) -> None:
        async with self._saving:
            await self._save()

    async def _save(self) -> None:
        growth = self._copy.grown()
        if growth is not None:
            edge = self._copy.edge
            await self._store.grow(self._number, growth)
            self._saved = edge

    async def read(self, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
        """Reads tiles and bundles that are saved.

        Raises:
            LookupError: If one is not: it reaches beyond the copy.
            CopyDivergedError: If one is damaged, or lost.
        """
        edge = self._saved
        found = {tile: data for tile in tiles if (data := edge.read(tile)) is not None}
        wanted = [tile for tile in tiles if tile not in found]
        stored: Mapping[Tile, bytes] = {}
        if wanted:
            stored = await self._store.tiles(self._number, wanted)
        for tile in wanted:
            if tile.end > edge.tiles.size:
                raise LookupError(f"{tile.path} is not here")
            try:
                data = stored[tile.full]
                found[tile] = cut_tile(tile, data) if tile.is_partial else data
            except (KeyError, FormatError) as error:
                raise self._diverged(f"{tile.path} is damaged, or lost") from error
        return found

    async def cosign(
        self, pending: SignedCheckpoint, signers: Sequence[Signer], clock: Callable[[], int]
    ) -> tuple[SignatureLine, ...] | None:
        """Makes a checkpoint the mirror checkpoint, and returns the mirror's cosignatures of it.

        All its entries were taken. None when the mirror checkpoint is larger already.

        Raises:
            Problem: 503, while the clock is behind an earlier cosignature.
            CopyDivergedError: If what is stored does not make its root: nothing is signed.
        """
        return await complete(self._cosign(pending, signers, clock))

    async def _cosign(
        self, pending: SignedCheckpoint, signers: Sequence[Signer], clock: Callable[[], int]
    ) -> tuple[SignatureLine, ...] | None:
        size = pending.checkpoint.size
        async with self._saving:
            await self._save()
            old = self.head
            if size < self.mirrored:
                return None
            if await self._root(size) != pending.checkpoint.root:
                raise self._diverged(f"its {size} entries do not make the root that was verified")
            now = clock()
            if now <= 0 or (old is not None and now < old.time):
                raise overloaded("clock", "the clock of this mirror is behind its cosignatures")
            lines: tuple[SignatureLine, ...] = ()

            def make() -> MirrorCheckpoint:
                nonlocal lines
                text = pending.note.text
                lines = tuple(signer.sign(text, now) for signer in signers)
                return MirrorCheckpoint(size, pending.with_signatures(lines).encode(), now)

            self.head = await self._store.put_head(self._number, old, make)
            return lines

    async def _root(self, size: int) -> bytes:
        if size == self._saved.tiles.size:
            return self._saved.tiles.root()
        plan = plan_root(size)
        tiles = await self.read(plan.tiles(size))
        try:
            [root] = plan.assemble(nodes_from_tiles(plan.nodes, size, tiles))
        except FormatError as error:
            raise self._diverged(str(error)) from error
        return root

    def _diverged(self, what: str) -> CopyDivergedError:
        event(_LOGGER, logging.ERROR, "a copy is damaged", origin=self.origin, what=what)
        return CopyDivergedError(f"the copy of {self.origin} is damaged: {what}")
