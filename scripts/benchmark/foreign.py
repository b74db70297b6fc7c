"""Whose processor time it was: ours, that of others on this machine, or of others on its host.

A figure that was measured while others worked is a figure of them, too. Linux tells all three:
`/proc/stat` the busy and the stolen time of all processors, `/proc/PID/stat` that of our processes.
"""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MUCH: Final = 0.1
"""The share of others from which a figure is not to be trusted."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Shares:
    """Shares of the processor time that the machine had, 0 to 1; None where they are not told.

    Attributes:
        others: of other processes on this machine.
        stolen: what the host gave to other machines, while ours had something to do.
    """

    others: float | None = None
    stolen: float | None = None
    notes: list[str] = field(default_factory=list[str])

    def figures(self) -> dict[str, object]:
        """What stands beside the figures, and a warning where it is much."""
        found: dict[str, object] = {}
        if self.others is not None and self.stolen is not None:
            found = {"others_share": round(self.others, 3), "stolen_share": round(self.stolen, 3)}
            if self.others + self.stolen > MUCH:
                found["warning"] = "others had more than a tenth of the processors: measure again"
        return found


@contextmanager
def watched() -> Iterator[Shares]:
    """Measures the shares of what runs inside; they are there at the end."""
    shares = Shares()
    before, began = _times(), time.monotonic()
    yield shares
    after, took = _times(), time.monotonic() - began
    if before is None or after is None:
        return
    (busy, stolen, own), cores = (b - a for a, b in zip(before, after, strict=True)), os.cpu_count()
    whole = took * (cores or 1)
    # Both clocks tick at times of their own: less than nothing is nothing.
    shares.others = max(0.0, busy - own) / whole
    shares.stolen = max(0.0, stolen) / whole


def _times() -> tuple[float, float, float] | None:
    """Seconds since the start: busy and stolen of all processors, and of our processes."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
    except OSError:
        return None
    user, nice, system, _, _, irq, soft, stolen = map(int, first[1:9])
    return (user + nice + system + irq + soft) / _TICKS, stolen / _TICKS, _own()


def _own() -> float:
    """Of this process, those that it has waited for, and those below it that still run."""
    total = sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    parents: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has ended
            values = fields.rpartition(")")[2].split()
            # Fields 4 and 14 to 17 of proc(5): the parent; its own time, and of its ended children.
            parents[int(entry.name)] = int(values[1]), sum(map(int, values[11:15]))
    below = {os.getpid()}
    for _ in range(len(parents)):
        more = {pid for pid, (parent, _) in parents.items() if parent in below} - below
        if not more:
            break
        below |= more
    ticks = sum(parents[pid][1] for pid in below if pid in parents and pid != os.getpid())
    return total + ticks / _TICKS
