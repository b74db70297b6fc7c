"""Token buckets: how often something may happen for each of a fixed set of names."""

from collections.abc import Callable


class Budget:
    """A bucket for each name: `burst` tokens at most, refilled at a rate.

    The names (tuples of text) come from the configuration, so their number is bounded.
    """

    def __init__(self, per_second: float, burst: float, timer: Callable[[], float]) -> None:
        """Makes full buckets.

        Args:
            per_second: Tokens added in a second.
            burst: Tokens a bucket holds.
            timer: A monotonic clock, in seconds.
        """
        self._rate = per_second
        self._burst = burst
        self._timer = timer
        self._buckets: dict[tuple[str, ...], tuple[float, float]] = {}

    def take(self, name: tuple[str, ...], tokens: float = 1.0) -> bool:
        """Takes tokens when there are enough; whether there were."""
        now = self._timer()
        left, then = self._buckets.get(name, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        enough = left >= tokens
        self._buckets[name] = (left - tokens if enough else left, now)
        return enough
