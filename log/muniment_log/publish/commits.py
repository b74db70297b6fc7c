"""Tells of commits, in the embedded log and in a cluster's integrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment.tlog.heads import Head
    from muniment_log.core.integrate import Integration
    from muniment_log.metrics import TreeMetrics
    from muniment_log.publish.publisher import Publisher
    from muniment_log.storage.embedded import EmbeddedTiles


class CommitListener:
    """Tells the tile source and the publisher of every commit, in this order."""

    def __init__(self, tiles: EmbeddedTiles, publisher: Publisher, metrics: TreeMetrics) -> None:
        self._tiles = tiles
        self._publisher = publisher
        self._metrics = metrics

    def signer(self) -> Callable[[Head], bytes] | None:
        """See `core.ordering.Listener`."""
        return self._publisher.signer()

    def committed(self, change: Integration, signed: bytes | None) -> None:
        """See `core.ordering.Listener`. Whoever learns of a head can read its tiles."""
        self._tiles.advance(change)
        self._publisher.committed(change.edge.head, signed)
        self._metrics.integrated(change.edge.head.size)
