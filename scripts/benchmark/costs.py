"""How the cost of a record grows with its log, from the figures of `benchmark.scale`. Pure."""

import statistics
from typing import Any


def samples(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All shares of the growth, in order."""
    parts = [one[name] for one in steps for name in ("grown", "grown_last") if one.get(name)]
    return [share for part in parts for share in part["samples"]]


def cost_last_over_first(steps: list[dict[str, Any]], of: str) -> float:
    """What a record costs the log at the end over what it cost at the beginning.

    Of the shares, a tenth at each end, at least four; the very first is left out, which waited for
    the process to get warm. `of` is `log_us` or `index_us`.
    """
    costs = [share[of] for share in samples(steps)][1:]
    count = min(max(4, len(costs) // 10), max(1, len(costs) // 2))
    return statistics.median(costs[-count:]) / statistics.median(costs[:count])
