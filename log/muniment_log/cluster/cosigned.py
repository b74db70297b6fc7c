"""The newest checkpoint that rated witnesses have cosigned, as an object of the bucket.

The integrator that leads writes it, frontends give it out, and who reads the bucket itself has it
beside the checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.tiles import COSIGNED

if TYPE_CHECKING:
    from muniment_log.cluster.objects import ObjectStore, Version


class CosignedObject:
    """See `publish.rated.CosignedKeeper`."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._version: Version | None = None

    async def load(self) -> bytes | None:
        """What was kept; None when there is none.

        Raises StorageError or UnavailableError if it cannot be read.
        """
        found = await self._objects.get_versioned(COSIGNED)
        if found is None:
            return None
        data, self._version = found
        return data

    async def keep(self, note: bytes) -> None:
        """Replaces what was kept before, unless another integrator has.

        Raises StorageError or UnavailableError if it is not known to be written.
        """
        self._version = await self._objects.swap(COSIGNED, note, self._version)
