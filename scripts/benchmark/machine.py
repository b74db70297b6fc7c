"""The machine, and the two limits that no log can pass on it, measured in the same run."""

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmark.stats import rounds


def describe() -> dict[str, object]:
    """What ran: processor, cores, memory, system, versions."""
    model = platform.processor() or platform.machine()
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = next((line.split()[1] for line in _lines("/proc/meminfo")), "0")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "memory_gb": round(int(memory) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def limits(entries: Sequence[bytes]) -> dict[str, Any]:
    """The hash limit and the disk limit, and how large the decisions are."""
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as place:
        return {
            "hash_per_s": round(hash_limit(entries)),
            "disk_mb_per_s": round(disk_limit(entries, Path(place)), 1),
            "record_bytes": round(sum(map(len, entries)) / len(entries)),
        }


class RatedRounds:
    """Rates of some rounds of the same work, each beside the hash limit of its own minute.

    Attributes:
        rates: of each round, units a second.
        shares: each over the mean of the limits measured right before and right after it.
    """

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.rates: list[float] = []
        self.shares: list[float] = []
        self._entries = entries

    def run(self, work: Callable[[], float]) -> None:
        """Runs a round, which returns its rate."""
        before = hash_limit(self._entries)
        rate = work()
        self.rates.append(rate)
        self.shares.append(2 * rate / (before + hash_limit(self._entries)))

    def figures(self) -> dict[str, object]:
        """The median rate, how far the rounds lie apart, and the median share of the limit."""
        share = round(statistics.median(self.shares), 4)
        return {**rounds(self.rates), "of_hash_limit": share}


def best_rate(work: Callable[[], int]) -> float:
    """Units of work a second: the median of three rounds; `work` returns how many it did."""
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def hash_limit(entries: Sequence[bytes]) -> float:
    """Leaves a second when one core does nothing but hash them and the tree above them.

    Deliberately not the project's own code, so that a faster tree there shows as a better ratio.
    """

    def work() -> int:
        hash_ = sha256
        level = [hash_(b"\0" + entry).digest() for entry in entries]
        while len(level) > 1:
            odd = level[len(level) & ~1 :]
            halves = zip(level[0::2], level[1::2], strict=False)
            level = [hash_(b"\1" + left + right).digest() for left, right in halves] + odd
        return len(entries)

    return best_rate(work)


def disk_limit(entries: Sequence[bytes], place: Path) -> float:
    """Megabytes a second when the same bytes are only written and synced, 1,000 entries a time."""
    chunks = [b"".join(entries[at : at + 1000]) for at in range(0, len(entries), 1000)]
    total = sum(map(len, chunks))

    def work() -> int:
        path = place / "disk-limit"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for chunk in chunks:
                os.write(file, chunk)
                os.fdatasync(file)
        finally:
            os.close(file)
            path.unlink()
        return total

    return best_rate(work) / 1e6
