"""What the index log needs of others: the log that it is about, and its own files, opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.config import LogConfig
    from muniment_log.core.ports import TileSource
    from muniment_log.index.mapprocess import MapProcess
    from muniment_log.publish.publisher import Publisher
    from muniment_log.storage.leaforder import LeafOrder


class WatchedLog(Protocol):
    """The log's own publisher, as far as its index log watches it."""

    @property
    def published(self) -> SignedCheckpoint | None:
        """The published checkpoint; None before the first."""
        ...

    async def reached(self, size: int) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is published, for however long it takes."""
        ...

    async def settled(self) -> None:
        """Waits until every checkpoint that was announced is stored."""
        ...


class OpenIndexLog(Protocol):
    """An index log that may be written."""

    @property
    def publisher(self) -> Publisher:
        """Publishes its heads."""
        ...

    @property
    def tiles(self) -> TileSource:
        """Its tree."""
        ...

    @property
    def order(self) -> LeafOrder:
        """Appends to it."""
        ...

    @property
    def map(self) -> MapProcess:
        """Computes map roots."""
        ...

    async def cleared(self) -> None:
        """Waits until it is known whether a leaf may be appended; UnavailableError if not."""
        ...

    async def reload(self, config: LogConfig) -> None:
        """Takes the witnesses of a changed configuration of the log."""
        ...
