"""The scenarios. Each starts what it needs, checks what it gets, and returns its figures."""

import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmark.rig import BenchError, Rig, timed_command
from benchmark.stats import latency, percentile, rounds
from muniment.formats.merkle import leaf_hash
from muniment.formats.policy import parse_policy
from muniment.formats.proofs import verify_inclusion
from muniment.formats.tlogproof import parse_tlog_proof, verify_tlog_proof


@dataclass(frozen=True)
class Options:
    """How large a run is.

    Attributes:
        quick: End within 45 seconds, set-up included.
        seed: Of the decisions.
        records: Size of the large log.
    """

    quick: bool
    seed: int
    records: int


def check_receipts(rig: Rig, checks: list[tuple[int, str]]) -> None:
    """Each of these leaves is provably where its receipt says."""
    for index, digest in checks:
        deadline = time.monotonic() + 10
        while True:
            size = int(rig.get("/checkpoint").split(b"\n")[1])
            if index < size:
                break
            if time.monotonic() > deadline:
                raise BenchError(f"leaf {index} is not published: the size is {size}")
            time.sleep(0.05)
        proof = parse_tlog_proof(rig.get(f"/v1/proofs/inclusion?index={index}"))
        tree = proof.checkpoint.checkpoint
        verify_inclusion(bytes.fromhex(digest), index, tree.size, proof.proof, tree.root)


def ingest(options: Options) -> dict[str, Any]:
    """One gateway with batches of 1,000; then eight gateways with batches of 100."""
    count = 60_000 if options.quick else 300_000
    runs = 2 if options.quick else 3
    with Rig(witnesses=False, gateways=8) as rig:
        warm = rig.worker("ingest", seed=options.seed, count=10_000, batch=1000, window=4)
        warm.go()
        warm.result()
        rates = []
        for number in range(runs):
            job = rig.worker(
                "ingest", seed=options.seed + number, count=count, batch=1000, window=4
            )
            job.go()
            result = job.result()
            check_receipts(rig, result["checks"])
            rates.append(result["count"] / result["seconds"])
        share = count // 8 // 100 * 100
        with ThreadPoolExecutor(8) as pool:
            jobs = list(
                pool.map(
                    lambda n: rig.worker("ingest", n, seed=n, count=share, batch=100, window=4),
                    range(8),
                )
            )
            began = time.perf_counter()
            for job in jobs:
                job.go()
            results = list(pool.map(lambda job: job.result(), jobs))
            together = 8 * share / (time.perf_counter() - began)
        for result in results:
            check_receipts(rig, result["checks"][:2])
        if not options.quick:
            rig.audit()
        return {**rounds(rates), "eight_gateways_per_s": round(together)}


def single(options: Options) -> dict[str, Any]:
    """One decision a request with a bearer token, over 64 connections."""
    count = 10_000 if options.quick else 40_000
    found: dict[str, Any] = {}
    with Rig(witnesses=False) as rig:
        rates, latencies = [], []
        for number in range(2 if options.quick else 3):
            job = rig.worker("single", seed=options.seed + number, count=count, connections=64)
            job.go()
            result = job.result()
            rates.append(result["count"] / result["seconds"])
            latencies += result["latencies"]
        found = {**rounds(rates), **latency(latencies)}
        if shutil.which("wrk"):
            found["wrk_per_s"] = round(_wrk(rig, 5 if options.quick else 10))
        rig.audit()
    return found


def _wrk(rig: Rig, seconds: int) -> float:
    """The same with wrk, which costs the other core less than a Python client does."""
    script = rig.place / "single.lua"
    record = (
        r"{\"kind\":\"decision\",\"request\":{\"subject\":{\"type\":\"agent\",\"id\":\"a-%d\"},"
        r"\"action\":{\"name\":\"call\"},\"resource\":{\"type\":\"tool\",\"id\":\"crm.search\"},"
        r"\"context\":{\"note\":\"" + "x" * 250 + r"\"}},\"response\":{\"decision\":true}}"
    )
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Authorization"] = "Bearer {rig.token}"\n'
        'wrk.headers["Content-Type"] = "application/json"\nlocal n = 0\n'
        "request = function()\n  n = n + 1\n"
        f'  return wrk.format(nil, nil, nil, string.format("{record}", n))\nend\n'
    )
    argv = ["wrk", "-t1", "-c64", f"-d{seconds}s", "-s", script, f"{rig.url}/v1/records"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    if "Non-2xx" in done.stdout:
        raise BenchError(done.stdout)
    return float(done.stdout.split("Requests/sec:")[1].split()[0])


def lone(options: Options) -> dict[str, Any]:
    """A lone decision to its verified proof, cosigned by two of three witnesses."""
    found: dict[str, Any] = {}
    plan = [(0, 200 if options.quick else 1000), (50, 200 if options.quick else 1000)]
    plan.append((500, 1500 if options.quick else 5000))
    with Rig(witnesses=True) as rig:
        for rate, count in plan:
            job = rig.worker("lone", seed=options.seed, count=count, warm_up=20, rate=rate)
            job.go()
            latencies = job.result()["latencies"]
            figures: dict[str, Any] = latency(latencies)
            figures["percentiles_ms"] = [
                round(percentile(latencies, share / 100) * 1e3, 1) for share in range(1, 100)
            ]
            found.update(figures if not rate else {f"at_{rate}_per_s": figures})
        rig.audit()
    return found


def proofs(options: Options) -> dict[str, Any]:
    """Inclusion proofs and tiles served to eight connections; proofs verified in process."""
    count = 50_000 if options.quick else 200_000
    with Rig(witnesses=True) as rig:
        job = rig.worker("ingest", seed=options.seed, count=count, batch=1000, window=4)
        job.go()
        check_receipts(rig, job.result()["checks"])
        requests = 2_000 if options.quick else 10_000
        step = 7919  # a prime: neighbouring requests lie in different tiles
        inclusion = [f"/v1/proofs/inclusion?index={n * step % count}" for n in range(requests)]
        tiles = [f"/tile/0/{n * step % (count // 256):03d}" for n in range(requests)]
        found: dict[str, Any] = {
            "inclusion_per_s": round(_gets(rig, inclusion)),
            "tiles_per_s": round(_gets(rig, tiles)),
        }
        proof = parse_tlog_proof(rig.get("/v1/proofs/inclusion?index=17"))
        entry = rig.get("/v1/entries/17")
        policy = parse_policy((rig.place / "trust.policy").read_bytes())
        times = []
        for _ in range(300):
            began = time.perf_counter()
            verify_tlog_proof(proof, entry, policy)
            times.append(time.perf_counter() - began)
        found["verify_ms"] = round(statistics.median(times) * 1e3, 3)
        began = time.perf_counter()
        tree = proof.checkpoint.checkpoint
        for _ in range(2000):
            verify_inclusion(leaf_hash(entry), 17, tree.size, proof.proof, tree.root)
        found["verify_inclusion_per_s"] = round(2000 / (time.perf_counter() - began))
        return found


def _gets(rig: Rig, paths: list[str]) -> float:
    job = rig.worker("gets", paths=paths, connections=8)
    job.go()
    result = job.result()
    return float(result["count"] / result["seconds"])


class LargeLog:
    """The log that `growth` fills and that `audit`, `follow` and `recover` then use."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.rig = Rig(witnesses=False)
        self.growth: dict[str, Any] = {}

    def fill(self) -> None:
        """Ingest all records, with rate and memory of the log as it grows."""
        total = self.options.records
        step = max(total // 10, 10_000)
        worker = self.rig.worker(
            "ingest", seed=self.options.seed, count=total, batch=1000, window=4, sample=step
        )
        worker.go()
        memory = [self.rig.deployment.rss("log") for _ in worker.samples()]
        result = worker.result()
        check_receipts(self.rig, result["checks"])
        times = [0.0, *(at for _, at in result["samples"])]
        rates = [round(step / (b - a)) for a, b in pairwise(times)]
        payload = self._payload()
        self.growth = {
            "records": result["count"],
            "rate_per_s": round(result["count"] / result["seconds"]),
            "step": step,
            "rates_per_s": rates,
            "cost_last_over_first": round(rates[0] / statistics.median(rates[-3:]), 3),
            "rss_mb": [round(rss / 1e6) for rss in memory],
            "stored_bytes_per_record": round(self.rig.database_bytes() / result["count"], 1),
            "stored_beyond_record": round(
                (self.rig.database_bytes() - payload) / result["count"], 1
            ),
        }

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
    done = timed_command(
        *("muniment", "audit", "--log", log.rig.url, "--policy", "trust.policy", "--json"),
        cwd=log.rig.place,
    )
    records = log.growth["records"]
    return {
        "rate_per_s": round(records / done["seconds"]),
        "peak_mb": round(done["peak_bytes"] / 1e6),
    }


def follow(log: LargeLog) -> dict[str, Any]:
    """A verified replica of the large log, by the command; then lookups in it."""
    done = timed_command(
        *("muniment", "follow", log.rig.url, "--policy", "trust.policy"),
        *("--replica", "replica.db", "--once", "--json"),
        cwd=log.rig.place,
    )
    records = log.growth["records"]
    size = sum(f.stat().st_size for f in log.rig.place.glob("replica.db*"))
    return {
        "rate_per_s": round(records / done["seconds"]),
        "peak_mb": round(done["peak_bytes"] / 1e6),
        "stored_bytes_per_record": round(size / records, 1),
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


SCENARIOS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "ingest": ingest,
    "single": single,
    "lone": lone,
    "proofs": proofs,
}
LARGE: dict[str, Callable[[LargeLog], dict[str, Any]]] = {
    "growth": growth,
    "audit": audit,
    "follow": follow,
    "recover": recover,
}
