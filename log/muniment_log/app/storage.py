"""What a log is opened from: a storage of its tree and its heads; here that of one SQLite file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from muniment_log.core.integrate import restore
from muniment_log.publish.published import CheckpointStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.core.integrate import RightEdge
    from muniment_log.core.ordering import Loaded, StoredHeads
    from muniment_log.core.ports import TileSource
    from muniment_log.storage.embedded import EmbeddedTiles, FullTiles
    from muniment_log.storage.sqlite import SQLiteStore

H = TypeVar("H", bound=CheckpointStore)


class LogStorage(ABC, Generic[H]):
    """What a log is opened from.

    Attributes:
        stored: the heads, as loaded.
        edge: the right edge of the integrated tree.
        full: reads full tiles, and stores published checkpoints.
        is_copy: whether it is a backup's copy, to which nothing was added since.
        min_index: entries before this index were pruned.
    """

    def __init__(
        self,
        stored: StoredHeads,
        edge: RightEdge,
        full: FullTiles,
        *,
        is_copy: bool = False,
        min_index: int = 0,
    ) -> None:
        self.stored = stored
        self.edge = edge
        self.full = full
        self.is_copy = is_copy
        self.min_index = min_index

    @abstractmethod
    def heads(self, tiles: EmbeddedTiles, /) -> H:
        """Where signed checkpoints are stored."""

    async def compare(self, keys: Sequence[Verifier], tiles: TileSource) -> None:
        """Compares the stored heads with what the storage holds besides, if it does.

        Raises:
            RolledBackError: the storage went back.
            StorageError: it is damaged.
        """

    @abstractmethod
    async def still_leads(self) -> None:
        """Checks that no other process writes the tree; LogError if one does."""

    async def make_ready(self) -> None:
        """Prepares for commits, after nothing contradicts the log."""


class EmbeddedStorage(LogStorage["SQLiteStore"]):
    """One SQLite file as the storage that a log is opened from."""

    def __init__(self, store: SQLiteStore, stored: Loaded, *, is_copy: bool) -> None:
        edge = restore(stored.head, stored.fragments, stored.partials)
        super().__init__(stored, edge, store, is_copy=is_copy, min_index=stored.pruned)
        self._store = store

    def heads(self, _: EmbeddedTiles) -> SQLiteStore:
        """Signed checkpoints are in the same file."""
        return self._store

    async def still_leads(self) -> None:
        """Checks that no other process extends the tree, in case the file's lock did not hold."""
        await self._store.check_alone()

    async def make_ready(self) -> None:
        """Lengthens the write-ahead log; see `SQLiteStore.make_ready`."""
        await self._store.make_ready()
