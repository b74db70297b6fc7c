"""The newest checkpoints that rated witnesses and mirrors have cosigned, as objects of the bucket.

The integrator that leads writes them, frontends give them out, and who reads the bucket itself has
them beside the checkpoint.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.tiles import COSIGNED
from muniment_log.cluster.objects import SwapLostError
from muniment_log.errors import NotPublishedError

if TYPE_CHECKING:
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.cluster.objects import ObjectStore, Version

LOOK_SECONDS: Final = 0.2
"""How often a frontend looks for a mirrored checkpoint while somebody waits for it."""


class CosignedObject:
    """See `publish.keeping.CosignedKeeper`; under another key for what others have cosigned."""

    def __init__(self, objects: ObjectStore, key: str = COSIGNED) -> None:
        self._objects = objects
        self._key = key
        self._version: Version | None = None

    async def load(self) -> bytes | None:
        """What was kept; None when there is none.

        Raises StorageError or UnavailableError if it cannot be read.
        """
        found = await self._objects.get_versioned(self._key)
        data, self._version = (None, None) if found is None else found
        return data

    async def keep(self, note: bytes) -> None:
        """Replaces what was kept before, unless another integrator has kept a larger tree.

        Raises:
            SwapLostError: somebody else writes it at the same time.
            StorageError, UnavailableError: it is not known to be written.
        """
        try:
            self._version = await self._objects.swap(self._key, note, self._version)
        except SwapLostError:
            # Whoever leads no more may have written it before it knew. This one goes on from there.
            found = await self.load()
            if found is None or _size(found) <= _size(note):
                self._version = await self._objects.swap(self._key, note, self._version)


def _size(note: bytes) -> int:
    return parse_signed_checkpoint(note).checkpoint.size


class MirroredView:
    """What mirrors hold, as a frontend sees it in the bucket; see `http.reads.Mirrored`."""

    def __init__(self, kept: CosignedObject, *, has_mirrors: bool) -> None:
        self.has_mirrors = has_mirrors
        self._kept = kept

    async def newest(self) -> bytes | None:
        """The newest checkpoint whose leaves mirrors hold; None when there is none.

        Raises StorageError or UnavailableError if the bucket cannot be read.
        """
        return await self._kept.load()

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is mirrored, and returns its checkpoint.

        The integrator does not know that somebody waits: it pushes at its own pace.

        Raises:
            NotPublishedError: not in time.
            UnavailableError, StorageError: the bucket cannot be read.
        """
        held = 0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    note = await self.newest()
                    if note is not None:
                        found = parse_signed_checkpoint(note)
                        held = found.checkpoint.size
                        if held >= size:
                            return found
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotPublishedError(size, held) from None
