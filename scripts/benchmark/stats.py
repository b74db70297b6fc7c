"""Medians, percentiles and spreads of what was measured."""

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is at least as large as `share` (0 to 1) of all values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the largest, in milliseconds."""
    return {
        "p50_ms": round(percentile(seconds, 0.50) * 1e3, 2),
        "p90_ms": round(percentile(seconds, 0.90) * 1e3, 2),
        "p99_ms": round(percentile(seconds, 0.99) * 1e3, 2),
        "max_ms": round(max(seconds) * 1e3, 2),
    }


def rounds(rates: Sequence[float]) -> dict[str, object]:
    """The median of some rounds, and how far they lie apart."""
    middle = statistics.median(rates)
    return {
        "rate_per_s": round(middle),
        "spread": round((max(rates) - min(rates)) / middle, 3),
        "rounds": [round(rate) for rate in rates],
    }
