"""What an operator watches of a cluster, at any of its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from muniment_service.metrics import Metrics


class ClusterMetrics:
    """Served by frontends and integrators alike, since each of them sees the database."""

    def __init__(self, metrics: Metrics) -> None:
        self.led: Final = metrics.gauge("led", "1 while some integrator holds the lease.")
        self.leads: Final = metrics.gauge("leads", "1 while this process holds the lease.")
        self.epoch: Final = metrics.gauge("lease_epoch", "Grows with each holder of the lease.")
        self.ordered: Final = metrics.gauge("ordered_size", "Leaves that have an index.")
        self.lag_leaves: Final = metrics.gauge(
            "integration_lag_leaves", "Leaves that have an index and are not in the tree yet."
        )
        self.lag_seconds: Final = metrics.gauge(
            "integration_lag_seconds", "How long the oldest of these leaves has waited."
        )
        self.published_time: Final = metrics.gauge(
            "published_time_seconds", "When a checkpoint was last published, Unix time."
        )
        self.blind: Final = metrics.gauge("database_unseen", "1 while the database is not seen.")
