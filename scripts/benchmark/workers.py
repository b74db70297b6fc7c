"""The scenario `workers`: what a log takes by the number of processes that take its requests."""

import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from deployment import cpu_seconds

from benchmark.options import Options
from benchmark.receipts import check_receipts
from benchmark.rig import Rig

PROCESSORS: Final = 8
"""Of the machine that the figures are reckoned up for."""

_LOADS: Final[dict[str, tuple[str, dict[str, int]]]] = {
    "single": ("single", {"connections": 64}),
    # So many that the process that orders finds more waiting at each commit, as a busy log's does.
    "busy": ("single", {"connections": 512}),
    "ingest": ("ingest", {"batch": 1000, "window": 4}),
}
"""By the name of a figure, the kind of load and its options."""

_ORDER, _WORKERS, _REST = "order", "workers", "rest"


class _Log:
    """A log with some workers, and what was measured of it.

    Attributes:
        found: by the name of a figure, its value in each round.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.found: dict[str, list[float]] = defaultdict(list)

    def round(self, load: str, seed: int, count: int) -> None:
        """Puts one load on it, and notes the rate and the time of a processor that it took."""
        kind, job = _LOADS[load]
        worker = self.rig.worker(kind, seed=seed, count=count, **job)
        before = self._used()
        worker.go()
        result = worker.result()
        if kind == "ingest":
            check_receipts(self.rig, result["checks"])
        self.found[f"{load}_per_s"].append(result["count"] / result["seconds"])
        for part, used in self._used().items():
            self.found[f"{load}_{part}_us"].append((used - before[part]) / result["count"] * 1e6)

    def figures(self) -> dict[str, Any]:
        """The medians, and what eight processors could take that have nothing else to do.

        The process that orders has one of them at the most. With one process that is the log.
        """
        found: dict[str, Any] = {}
        for name, values in self.found.items():
            value = median(values)
            found[name] = round(value) if name.endswith("per_s") else round(value, 1)
        for load in _LOADS:
            order, workers, rest = (
                median(self.found[f"{load}_{part}_us"]) for part in (_ORDER, _WORKERS, _REST)
            )
            most = min(1e6 / order, PROCESSORS * 1e6 / (order + workers + rest))
            found[f"{load}_reckoned_for_{PROCESSORS}"] = round(most)
        return found

    def _used(self) -> dict[str, float]:
        """Processor time of the process that orders, of the workers, of the other children."""
        pid = self.rig.deployment.processes["log"].pid
        used = {_ORDER: cpu_seconds(pid), _WORKERS: 0.0, _REST: 0.0}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            is_worker = b"muniment_log.app.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
            used[_WORKERS if is_worker else _REST] += cpu_seconds(child)
        return used


def workers(options: Options) -> dict[str, Any]:
    """One worker, two, and as many as there are processors, in turn: single records and batches."""
    singles, batches = (4_000, 30_000) if options.quick else (10_000, 100_000)
    counts = sorted({1, 2, len(os.sched_getaffinity(0))})
    with ExitStack() as stack:
        logs = {
            count: _Log(stack.enter_context(Rig(witnesses=False, workers=count)))
            for count in counts
        }
        for number in range(-1, 3 if options.quick else 7):
            turns = list(logs.values())
            for log in turns if number % 2 else reversed(turns):
                for place, load in enumerate(_LOADS):
                    count = batches if load == "ingest" else singles
                    log.round(load, options.seed + len(_LOADS) * number + place, count)
                if number < 0:
                    log.found.clear()  # that was to get warm
        for log in logs.values():
            log.rig.audit()
        return {f"with_{count}": log.figures() for count, log in logs.items()}
