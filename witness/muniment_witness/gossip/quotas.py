"""How often each log may ask for cosignatures (C2SP tlog-list, "qpd"); 429 beyond."""

import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from muniment_service.budget import Bucket
from muniment_witness.config import LogOptions

DAY: Final = 86_400.0
"""Seconds."""

BURST: Final = 3_600.0
"""Seconds: an hour's requests may come at once, ten of a log that may ask less often."""

LEAST_BURST: Final = 10.0
"""Requests."""


class Quotas:
    """A bucket of requests for each log that has a quota; outlives reloads."""

    def __init__(self, timer: Callable[[], float] = monotonic) -> None:
        """Takes a monotonic clock, in seconds."""
        self._timer = timer
        self._buckets: dict[tuple[str, int], Bucket] = {}
        self._rates: dict[str, int] = {}

    def use(self, options: Mapping[str, LogOptions]) -> None:
        """Goes by these options from now on; what was used up of the same quota stays so."""
        self._rates = {
            origin: each.per_day for origin, each in options.items() if each.per_day is not None
        }
        kept = self._rates.items()
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in kept}

    def take(self, origin: str) -> int:
        """Takes a request of a log; 0, or how many seconds it has to wait for the next."""
        rate = self._rates.get(origin)
        if rate is None:
            return 0
        bucket = self._buckets.get((origin, rate))
        if bucket is None:
            per_second = rate / DAY
            burst = max(LEAST_BURST, per_second * BURST)
            bucket = self._buckets[origin, rate] = Bucket(per_second, burst, self._timer)
        return 0 if bucket.take() else max(1, math.ceil(DAY / rate))
