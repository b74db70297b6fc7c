"""The metrics of several processes as those of one service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OF_A_PROCESS: Final = ("process_", "python_")
"""How the names begin of what each process says of itself; all else is of the service."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """A sample of a metric."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric of one process."""

    name: str
    documentation: str
    type: str
    samples: list[Sample]


def families(registry: CollectorRegistry) -> list[Family]:
    """What a process has measured."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [Sample(each.name, each.labels, float(each.value)) for each in metric.samples],
        )
        for metric in registry.collect()
    ]


def of_the_service(some: Sequence[Family]) -> list[Family]:
    """What of it still counts when the process has ended."""
    return [family for family in some if not family.name.startswith(OF_A_PROCESS)]


def of_worker(number: int, some: Sequence[Family]) -> list[Family]:
    """The same, with the worker's number at what it says of itself."""
    label = {"worker": str(number)}
    return [
        family
        if not family.name.startswith(OF_A_PROCESS)
        else Family(
            family.name,
            family.documentation,
            family.type,
            [Sample(each.name, {**each.labels, **label}, each.value) for each in family.samples],
        )
        for family in some
    ]


def summed(parts: Iterable[Sequence[Family]]) -> list[Family]:
    """The sums of what has the same name and labels, in the order in which it comes first.

    When something was created is when the first process did so.
    """
    found: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for some in parts:
        for family in some:
            found.setdefault(family.name, family)
            values = sums.setdefault(family.name, {})
            for each in family.samples:
                key = each.name, tuple(sorted(each.labels.items()))
                if each.name.endswith("_created"):
                    values[key] = min(values.get(key, each.value), each.value)
                else:
                    values[key] = values.get(key, 0.0) + each.value
    return [
        Family(
            name,
            family.documentation,
            family.type,
            [Sample(sample, dict(labels), value) for (sample, labels), value in sums[name].items()],
        )
        for name, family in found.items()
    ]


def rendered(some: Sequence[Family]) -> bytes:
    """In Prometheus's text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collected(some))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, some: Sequence[Family]) -> None:
        self._families = some

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.type)
            for each in family.samples:
                metric.add_sample(each.name, each.labels, each.value)
            yield metric
