"""How much may wait to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.errors import OverloadedError

if TYPE_CHECKING:
    from muniment_log.metrics import LogMetrics


class OrderRoom:
    """Bytes of what was accepted and is not yet durable.

    Attributes:
        held: the bytes.
    """

    def __init__(self, most: int, metrics: LogMetrics) -> None:
        """Room for `most` bytes."""
        self.held = 0
        self._most = most
        self._metrics = metrics
        # Looked at when somebody asks: setting it twice a request costs more than the rest.
        metrics.waiting_bytes.set_function(lambda: self.held)

    def take(self, size: int) -> None:
        """Takes room; OverloadedError if there is not enough."""
        if self.held + size > self._most:
            self._metrics.refused.labels("overload").inc()
            raise OverloadedError("too much waits to be written")
        self.held += size

    def give(self, size: int) -> None:
        """Gives back what `take` took."""
        self.held -= size
