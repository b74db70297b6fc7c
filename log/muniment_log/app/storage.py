"""One SQLite file as what a log is opened from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.core.integrate import restore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.core.ordering import Loaded
    from muniment_log.core.ports import TileSource
    from muniment_log.storage.embedded import EmbeddedTiles
    from muniment_log.storage.sqlite import SQLiteStore


class EmbeddedStorage:
    """One SQLite file as the storage that a log is opened from; see `LogStorage`."""

    def __init__(self, store: SQLiteStore, stored: Loaded, *, is_copy: bool) -> None:
        self.stored = stored
        self.is_copy = is_copy
        self.min_index = stored.pruned
        self.edge = restore(stored.head, stored.fragments, stored.partials)
        self.full = store

    def heads(self, _: EmbeddedTiles) -> SQLiteStore:
        """Signed checkpoints are in the same file."""
        return self.full

    async def compare(self, _keys: Sequence[Verifier], _tiles: TileSource) -> None:
        """Nothing is stored elsewhere."""

    async def still_leads(self) -> None:
        """Checks that no other process extends the tree, in case the file's lock did not hold."""
        await self.full.check_alone()

    async def make_ready(self) -> None:
        """Lengthens the write-ahead log; see `SQLiteStore.make_ready`."""
        await self.full.make_ready()
