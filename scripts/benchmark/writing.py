"""The scenarios that write: ingest, withheld, single, lone."""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

from deployment import ORIGIN

from benchmark.load import decisions
from benchmark.machine import RatedRounds
from benchmark.options import Options
from benchmark.receipts import check_receipts
from benchmark.rig import BenchError, Rig
from benchmark.stats import latency, percentile, rounds


def ingest(options: Options) -> dict[str, Any]:
    """One gateway with batches of 1,000; then eight gateways with batches of 100."""
    count = 60_000 if options.quick else 300_000
    runs = 2 if options.quick else 3
    with Rig(witnesses=False, gateways=8) as rig:
        warm = rig.worker("ingest", seed=options.seed, count=10_000, batch=1000, window=4)
        warm.go()
        warm.result()
        one = RatedRounds(decisions(20_000, options.seed))

        def fill(number: int) -> float:
            job = rig.worker(
                "ingest", seed=options.seed + number, count=count, batch=1000, window=4
            )
            job.go()
            result = job.result()
            check_receipts(rig, result["checks"])
            return float(result["count"] / result["seconds"])

        for number in range(runs):
            one.run(partial(fill, number))
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
        return {**one.figures(), "eight_gateways_per_s": round(together)}


def withheld(options: Options) -> dict[str, Any]:
    """Decisions that withhold a member of 300 bytes each, and others, in many short turns."""
    count, runs = (10_000, 3) if options.quick else (20_000, 9)
    with Rig(witnesses=False, more="[read]\nopen_addenda = true\n") as rig:
        rates: dict[bool, list[float]] = {False: [], True: []}
        used: dict[bool, list[float]] = {False: [], True: []}  # µs of processor time a record

        def send(number: int, *, withhold: bool) -> None:
            job = rig.worker(
                "withheld",
                stream=f"withheld-{number}-{withhold}",
                origin=ORIGIN,
                seed=options.seed + 2 * number + withhold,
                count=count,
                batch=100,
                window=8,
                withhold=withhold,
            )
            before = rig.deployment.cpu_seconds("log")
            job.go()
            result = job.result()
            log = rig.deployment.cpu_seconds("log") - before
            if number >= 0:
                rates[withhold].append(result["count"] / result["seconds"])
                used[withhold].append((log + result["cpu_seconds"]) / result["count"] * 1e6)

        for number in range(-1, runs):  # the first is to get warm
            for withhold in (number % 2 == 0, number % 2 != 0):
                send(number, withhold=withhold)
        found = rounds(rates[True])
        found["without_per_s"] = round(median(rates[False]))
        found["of_without"] = _share(rates[True], rates[False])
        found["cpu_us"] = round(median(used[True]), 1)
        found["cpu_us_without"] = round(median(used[False]), 1)
        found["of_without_by_cpu"] = _share(used[False], used[True])
        if not options.quick:
            rig.audit()
    return found


def _share(some: list[float], others: list[float]) -> float:
    """How much of the one the other is, turn by turn."""
    return round(median([one / other for one, other in zip(some, others, strict=True)]), 2)


def single(options: Options) -> dict[str, Any]:
    """One decision a request with a bearer token, over 64 connections."""
    count = 10_000 if options.quick else 40_000
    found: dict[str, Any] = {}
    with Rig(witnesses=False) as rig:
        one = RatedRounds(decisions(20_000, options.seed))
        latencies: list[float] = []

        def post(number: int) -> float:
            job = rig.worker("single", seed=options.seed + number, count=count, connections=64)
            job.go()
            result = job.result()
            latencies.extend(result["latencies"])
            return float(result["count"] / result["seconds"])

        for number in range(2 if options.quick else 3):
            one.run(partial(post, number))
        found = {**one.figures(), **latency(latencies)}
        if shutil.which("wrk"):
            found["wrk_per_s"] = round(_wrk(rig, 5 if options.quick else 10))
        else:
            found["wrk"] = "not measured: wrk is not installed"
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
