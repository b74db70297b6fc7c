"""How often something may happen for each sender."""

from collections.abc import Callable

from muniment_service.budget import Bucket


class SenderBudget:
    """A bucket for each name.

    The names (tuples of text) come from the configuration, so their number is bounded.
    """

    def __init__(self, per_second: float, burst: float, timer: Callable[[], float]) -> None:
        """Makes full buckets; see `Bucket`."""
        self._settings = (per_second, burst, timer)
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def take(self, name: tuple[str, ...]) -> bool:
        """Takes a token when there is one; whether there was."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(*self._settings)
        return bucket.take()
