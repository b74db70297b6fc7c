"""What happens after a head was cosigned, whoever asked for it: metrics, and news for the peers."""

from collections.abc import Mapping
from functools import cache

from muniment_service.metrics import Metrics
from muniment_witness.gossip.outbox import Outbox
from muniment_witness.store.heads import Latest


class HeadAnnouncer:
    """Shows cosigned heads in the metrics, and queues them for the peers."""

    def __init__(self, latest: Mapping[str, Latest], outbox: Outbox, metrics: Metrics) -> None:
        """Shows the latest heads of the database; the peers know them, or read them."""
        self._outbox = outbox
        size = metrics.gauge("head_size", "Leaves of the latest cosigned tree.", ("origin",))
        time = metrics.gauge(
            "head_cosigned_seconds", "Time of the latest cosignature.", ("origin",)
        )
        # To find a metric by its label takes longer than to set it.
        self._size = cache(size.labels)
        self._time = cache(time.labels)
        for origin, each in latest.items():
            self._show(origin, each)

    def announce(self, origin: str, latest: Latest) -> None:
        """Shows a head that was cosigned just now, and queues it for the peers."""
        self._show(origin, latest)
        self._outbox.add_head(origin)

    def _show(self, origin: str, latest: Latest) -> None:
        self._size(origin).set(latest.head.size)
        self._time(origin).set(latest.time)
