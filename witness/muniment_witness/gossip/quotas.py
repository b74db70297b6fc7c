"""How often each log may ask for cosignatures (C2SP tlog-list, "qpd"); 429 beyond.

A request proves only that the log has signed its checkpoint, and those are public: anybody can send
it again. So heads that grow have a quota of their own, which repeats do not use up. Neither does
what is refused: anybody can send a head that this witness has not cosigned yet with a bad proof.
"""

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
    """Two buckets of requests for each log that has a quota; they outlive reloads."""

    def __init__(self, timer: Callable[[], float] = monotonic) -> None:
        """Takes a monotonic clock, in seconds."""
        self._timer = timer
        self._buckets: dict[tuple[str, int], tuple[Bucket, Bucket]] = {}
        self._rates: dict[str, int] = {}

    def use(self, options: Mapping[str, LogOptions]) -> None:
        """Goes by these options from now on; what was used up of the same quota stays so."""
        self._rates = {
            origin: each.per_day for origin, each in options.items() if each.per_day is not None
        }
        kept = self._rates.items()
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in kept}

    def take(self, origin: str, *, grows: bool) -> int:
        """Takes a request of a log; 0, or how many seconds it has to wait for the next.

        `grows` says that its tree is larger than any that was cosigned.
        """
        rate = self._rates.get(origin)
        if rate is None:
            return 0
        buckets = self._buckets.get((origin, rate))
        if buckets is None:
            buckets = self._buckets[origin, rate] = self._filled(rate), self._filled(rate)
        return 0 if buckets[grows].take() else max(1, math.ceil(DAY / rate))

    def give_back(self, origin: str) -> None:
        """What was taken for a head that grows; its request was refused."""
        buckets = self._buckets.get((origin, self._rates.get(origin, 0)))
        if buckets is not None:
            buckets[True].spend(-1.0)

    def _filled(self, rate: int) -> Bucket:
        per_second = rate / DAY
        return Bucket(per_second, max(LEAST_BURST, per_second * BURST), self._timer)
