"""The log's own Prometheus metrics; HTTP and process metrics come from `muniment_service`."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.errors import DamagedTileError
    from muniment_service.metrics import Metrics

_LOGGER = logging.getLogger(__name__)
_LEAVES: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)


class TreeMetrics:
    """What an operator watches of a tree and its heads, whatever its leaves are."""

    def __init__(self, metrics: Metrics) -> None:
        self._integrated = metrics.gauge("integrated_size", "Leaves in the durable tree.")
        self._published = metrics.gauge("published_size", "Leaves in the published tree.")
        self.mirrored_size: Final = metrics.gauge(
            "mirrored_size", "Leaves that as many mirrors hold as the policy asks for."
        )
        self.publish_seconds: Final = metrics.histogram(
            "publish_seconds", "Time from a signed head to its publication."
        )
        self.witness_requests: Final = metrics.counter(
            "witness_requests", "Requests to witnesses.", ("witness", "result")
        )
        self.witness_size: Final = metrics.gauge(
            "witness_size", "Tree size that the witness has last cosigned.", ("witness",)
        )
        self._damaged_tiles = metrics.counter(
            "damaged_tiles", "Reads that found a stored tile or entry bundle damaged or missing."
        )
        self.stalled: Final = metrics.gauge(
            "publication_stalled", "1 while the newest round has not met the quorum in time."
        )

    def damaged_tile(self, error: DamagedTileError) -> None:
        """Counts a read that found a damaged tile, and tells the operator which one."""
        self._damaged_tiles.inc()
        event(_LOGGER, logging.ERROR, "stored tile is damaged", tile=error.path)

    def integrated(self, size: int) -> None:
        """Sets the size of the durable tree."""
        self._integrated.set(size)

    def published(self, size: int) -> None:
        """Sets the published size."""
        self._published.set(size)


class LogMetrics(TreeMetrics):
    """What an operator watches of the log."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._metrics = metrics
        self._commit_seconds = metrics.histogram(
            "commit_seconds", "Time from taking a group of batches to its receipts."
        )
        self._commit_leaves = metrics.histogram(
            "commit_leaves", "Leaves in one commit.", buckets=_LEAVES
        )
        self.waiting_bytes: Final = metrics.gauge(
            "waiting_bytes", "Bytes of batches accepted and not yet durable."
        )
        self.refused: Final = metrics.counter(
            "refused", "Batches and records refused by the sequencer.", ("reason",)
        )

    def watch_addenda(self, counts: Callable[[], tuple[int, int, int, int]]) -> None:
        """Shows how many addenda are kept, their bytes, how many were erased and are to be."""
        for place, (name, text) in enumerate(
            (
                ("addenda", "Addenda that are kept."),
                ("addenda_bytes", "Bytes of the addenda that are kept."),
                ("addenda_erased", "Addenda that were erased."),
                ("erasures_pending", "Records of erasures whose addenda are not removed yet."),
            )
        ):
            self._metrics.gauge(name, text).set_function(partial(_nth, counts, place))

    def watch_lost_addenda(self, *, is_lost: bool) -> None:
        """Shows whether the start found that addenda are lost."""
        self._metrics.gauge(
            "addenda_lost", "1 if the file of the addenda lacks what the log has acknowledged."
        ).set(float(is_lost))

    def committed(self, leaves: int, seconds: float) -> None:
        """Counts one commit."""
        self._commit_leaves.observe(leaves)
        self._commit_seconds.observe(seconds)


def _nth(values: Callable[[], tuple[int, ...]], place: int) -> int:
    return values()[place]
