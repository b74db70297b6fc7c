"""Prometheus metrics with a registry of their own, so that nothing is global."""

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from copy import copy
from itertools import accumulate
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

LATENCY_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds: from a memory hit to the longest wait for a publication."""


class _Times(Collector):
    """How long answers took.

    The library's histogram takes a lock for each of its steps; here only the event loop's thread
    counts, and a small request shall not spend a twentieth of its time on being counted.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # By route, method and status: how many there were in each bucket, and their seconds.
        self._counts: dict[tuple[str, str, int], list[int]] = {}
        self._sums: dict[tuple[str, str, int], float] = {}

    def add(self, key: tuple[str, str, int], seconds: float) -> None:
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * (len(LATENCY_BUCKETS) + 1)
            self._sums[key] = 0.0
        counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self._sums[key] += seconds

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            self._name, "Time to answer a request.", labels=("route", "method", "status")
        )
        bounds = [*map(floatToGoString, LATENCY_BUCKETS), "+Inf"]
        for (route, method, status), counts in self._counts.items():
            family.add_metric(
                (route, method, str(status)),
                list(zip(bounds, map(float, accumulate(counts)), strict=True)),
                self._sums[route, method, status],
            )
        return [family]


class Metrics:
    """A registry with the process's own metrics and those of its HTTP server.

    Services add theirs by passing `registry` to prometheus_client's classes, or by the helpers.
    `prefix` is the first part of every name, such as `muniment_log`.

    Attributes:
        gather: gives the metrics of all processes of the service, where this is not the only one.
        times: How long answers took, by route, method and status.
    """

    def __init__(self, prefix: str) -> None:
        self.registry: Final = CollectorRegistry()
        self.prefix = prefix
        self.gather: Callable[[], Awaitable[bytes]] | None = None
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.times: Final = _Times(f"{prefix}_http_request_seconds")
        self.registry.register(self.times)

    def part(self, name: str) -> Self:
        """The same registry, for metrics whose names begin with `<prefix>_<name>`."""
        part = copy(self)
        part.prefix = f"{self.prefix}_{name}"
        return part

    def counter(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Counter:
        """Makes a counter named `<prefix>_<name>_total`."""
        return Counter(f"{self.prefix}_{name}", help_, labels, registry=self.registry)

    def gauge(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Gauge:
        """Makes a gauge named `<prefix>_<name>`."""
        return Gauge(f"{self.prefix}_{name}", help_, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        help_: str,
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = LATENCY_BUCKETS,
    ) -> Histogram:
        """Makes a histogram named `<prefix>_<name>`; the buckets are upper bounds."""
        return Histogram(
            f"{self.prefix}_{name}", help_, labels, registry=self.registry, buckets=buckets
        )

    def answered(self, route: str, method: str, status: int, started: float) -> None:
        """Counts one request that was taken at `started`, of `time.perf_counter()`.

        The route is as registered, never the path as sent: labels must stay few. A method that is
        not known is `other`.
        """
        self.times.add((route, method, status), time.perf_counter() - started)

    def render(self) -> bytes:
        """The metrics of this process in Prometheus's text format 0.0.4."""
        return generate_latest(self.registry)

    async def of_all(self) -> bytes:
        """The same of all processes of the service."""
        return self.render() if self.gather is None else await self.gather()
