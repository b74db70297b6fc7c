"""The scenarios on one large log: growth, audit, follow, recover."""

import json
import os
import signal
import statistics
import time
from itertools import pairwise
from random import Random
from typing import Any

from benchmark.load import decisions
from benchmark.machine import RatedRounds
from benchmark.options import Options
from benchmark.receipts import check_receipts
from benchmark.rig import BenchError, Rig, timed_command
from benchmark.stats import latency
from muniment.index.query import Index
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage import trace
from muniment.lineage.facts import Ref

FINE = 5
"""Samples in each step of growth that is told."""

CHAIN = 1_000
"""Runs in the chain that is traced."""

LOOKUPS = 500
IDLE = 0.05  # seconds of processor time in half a second


class LargeLog:
    """The log that `growth` fills and that `audit`, `follow` and `recover` then use."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.rig = Rig(witnesses=False)
        self.growth: dict[str, Any] = {}

    def fill(self) -> None:
        """Ingest all records, with rate and memory of the log as it grows."""
        total = self.options.records
        sample = max(1, total // (10 * FINE * 1000)) * 1000  # whole batches
        step = FINE * sample
        worker = self.rig.worker(
            "ingest", seed=self.options.seed, count=total, batch=1000, window=4, sample=sample
        )
        worker.go()
        memory = [self.rig.deployment.rss("log") for _ in worker.samples()]
        result = worker.result()
        check_receipts(self.rig, result["checks"])
        fine = [0.0, *(at for _, at in result["samples"])]
        rates = [round(step / (b - a)) for a, b in pairwise(fine[::FINE])]
        payload = self._payload()
        self.growth = {
            "records": result["count"],
            "rate_per_s": round(result["count"] / result["seconds"]),
            "step": step,
            "rates_per_s": rates,
            "cost_last_over_first": round(growth_of_cost(fine), 3),
            "rss_mb": [round(rss / 1e6) for rss in memory[FINE - 1 :: FINE]],
            "rss_peak_mb": round(max(memory) / 1e6),
            "stored_bytes_per_record": round(self.rig.database_bytes() / result["count"], 1),
            "stored_beyond_record": round(
                (self.rig.database_bytes() - payload) / result["count"], 1
            ),
        }

        self._add_lineage()
        self.settle()

    def _add_lineage(self) -> None:
        """A chain of runs, so that lineage can be looked up and traced."""
        worker = self.rig.worker("lineage", seed=self.options.seed, count=CHAIN)
        worker.go()
        check_receipts(self.rig, worker.result()["checks"])

    def settle(self) -> None:
        """Waits until the log has nothing left to do: its index follows what is logged."""
        deadline = time.monotonic() + (15 if self.options.quick else 600)
        before = self.rig.deployment.cpu_seconds("log")
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = self.rig.deployment.cpu_seconds("log")
            if now - before < IDLE:
                return
            before = now

    def _payload(self) -> float:
        """Bytes of the records themselves, from a sample of bundles."""
        size = int(self.rig.get("/checkpoint").split(b"\n")[1])
        full = size // 256
        chosen = range(0, full, max(1, full // 50))
        total = sum(len(self.rig.get(f"/tile/entries/{path(n)}")) for n in chosen)
        # Two bytes of each entry are its length prefix; the manifests are not records.
        return (total / len(chosen) - 512) * size / 256

    def close(self) -> None:
        self.rig.close()


def growth_of_cost(times: list[float], ends: float = 0.1) -> float:
    """What a record costs at the end, over what it cost at the beginning.

    Args:
        times: Seconds at which equal shares were logged, from 0.
        ends: How much of it is its beginning, and how much its end, at most a half each.
    """
    shares = [later - earlier for earlier, later in pairwise(times)]
    part = max(1, int(len(shares) * ends))
    return statistics.median(shares[-part:]) / statistics.median(shares[:part])


def path(index: int) -> str:
    """The path of a tile index: groups of three digits, all but the last marked."""
    digits = f"{index % 1000:03d}"
    while index := index // 1000:
        digits = f"x{index % 1000:03d}/{digits}"
    return digits


def growth(log: LargeLog) -> dict[str, Any]:
    """Ingest to the full size: rate and memory by size, bytes a record."""
    return log.growth


def audit(log: LargeLog) -> dict[str, Any]:
    """A full audit of the large log over HTTP, by the command."""
    one = RatedRounds(decisions(20_000, log.options.seed))
    peaks: list[int] = []

    def examine() -> float:
        done = timed_command(
            *("muniment", "audit", "--log", log.rig.url, "--policy", "trust.policy", "--json"),
            cwd=log.rig.place,
        )
        report = json.loads(done["stdout"])
        if report["verdict"] != "clean" or report["counts"]["records"] < log.growth["records"]:
            raise BenchError(f"the audit is not clean and whole: {done['stdout'][:500]}")
        peaks.append(done["peak_bytes"])
        return float(report["counts"]["records"] / done["seconds"])

    for _ in range(3 if log.options.quick else 2):
        one.run(examine)
    return {**one.figures(), "peak_mb": round(max(peaks) / 1e6)}


def follow(log: LargeLog) -> dict[str, Any]:
    """A verified replica of the large log, by the command; then lookups in it."""
    done = timed_command(
        *("muniment", "follow", log.rig.url, "--policy", "trust.policy"),
        *("--replica", "replica.db", "--once", "--json"),
        cwd=log.rig.place,
    )
    records = log.growth["records"]
    size = sum(f.stat().st_size for f in log.rig.place.glob("replica.db*"))
    with IndexReader(log.rig.place / "replica.db") as reader:
        return {
            "rate_per_s": round(records / done["seconds"]),
            "peak_mb": round(done["peak_bytes"] / 1e6),
            "stored_bytes_per_record": round(size / records, 1),
            **lookups(reader, Random(log.options.seed), range(records)),
        }


def lookups(reader: IndexReader, random: Random, records: range) -> dict[str, Any]:
    """How long a decision by id, the neighbours of a run, and a trace of the chain take.

    At the indices `records` are lone decisions, and manifests.
    """
    index = Index(reader)
    chosen = sorted(random.sample(records, LOOKUPS))
    entries = [leaf for at in chosen if (leaf := reader.leaves([at])[at]).startswith(b"{")]
    decisions: list[float] = []
    for entry in entries:
        wanted = json.loads(entry)["id"]
        began = time.perf_counter()
        answer = index.decision(wanted)
        decisions.append(time.perf_counter() - began)
        if [one.data for one in answer.entries] != [entry]:
            raise BenchError(f"the replica does not find decision {wanted}")
    neighbours: list[float] = []
    for number in random.sample(range(CHAIN - 1), LOOKUPS):
        began = time.perf_counter()
        walk = index.lineage(Ref("run", f"chain-{number}"), "ancestors", depth=1)
        neighbours.append(time.perf_counter() - began)
        if len(walk.hops) != 2:
            raise BenchError(f"run chain-{number} has {len(walk.hops)} neighbours instead of 2")
    traces: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        traced = trace("chain-0", ReplicaFacts(reader), now=int(time.time()))
        traces.append(time.perf_counter() - began)
        if not traced.continuous:
            raise BenchError(f"the chain is broken: {traced.breaks[:2]}")
    return {
        "decision_by_id": latency(decisions),
        "lineage_neighbours": latency(neighbours),
        f"trace_{CHAIN}_hops_ms": round(statistics.median(traces) * 1e3, 1),
    }


def recover(log: LargeLog) -> dict[str, Any]:
    """From kill -9 under load to the line that says ready."""
    times = []
    for _ in range(3):
        worker = log.rig.worker("ingest", seed=9, count=20_000, batch=1000, window=4)
        worker.go()
        time.sleep(0.3)
        process = log.rig.deployment.processes["log"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        worker.process.kill()
        worker.process.wait()
        began = time.perf_counter()
        log.rig.deployment.start_log()
        times.append(time.perf_counter() - began)
    return {"seconds": round(statistics.median(times), 2), "rounds": [round(t, 2) for t in times]}
