"""The cluster scenario: frontends and an integrator over PostgreSQL and SeaweedFS, on one machine.

Needs PostgreSQL's programs and the packages of the tests, whose engines it starts.
"""

import contextlib
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deployment import cpu_seconds

from benchmark.options import Options
from benchmark.receipts import check_receipts
from benchmark.rig import BenchError, Rig

ROOT = Path(__file__).resolve().parents[2]
LAG_WITHIN = 60  # seconds
FRONTENDS = ("log", "second")
OFFERED = 30_000  # records a second, at which the lag is measured


class ClusterRig(Rig):
    """A cluster with two frontends, `log` and `second`, and one integrator."""

    def __init__(self, gateways: int) -> None:
        sys.path.insert(0, str(ROOT / "tests"))
        import engines  # noqa: PLC0415  # brings pytest, which no other scenario needs

        self._engines = contextlib.ExitStack()
        for kind in (engines.PostgreSQL, engines.SeaweedFS):
            if reason := kind.missing():
                raise BenchError(reason)
        try:
            postgres = self._engines.enter_context(engines.started(engines.PostgreSQL))
            store = self._engines.enter_context(engines.started(engines.SeaweedFS))
            self._engine_pids = {"postgresql": postgres.pid, "seaweedfs": store.pid}
            bucket = store.create_bucket()
            os.environ.update(bucket.environment)
            self._table = (
                f'[cluster]\npostgres = "{postgres.create_database()}"\n'
                f'object_store = "{bucket.url}"\n'
            )
            super().__init__(witnesses=False, gateways=gateways)
        except BaseException:
            self._engines.close()
            raise

    def _start(self, *, witnesses: bool, gateways: int, more: str, complete: str) -> None:
        self.deployment.start_log = self._start_cluster  # type: ignore[method-assign]
        more += self._table
        super()._start(witnesses=witnesses, gateways=gateways, more=more, complete=complete)

    def _start_cluster(self) -> str:
        config = self.place / "log" / "log.toml"
        config.write_text(config.read_text().replace('\ndatabase = "log.db"\n', "\n"))
        told = ("--config", "log/log.toml")
        self.deployment.command("muniment-log", "migrate", *told)
        self.deployment.start("integrator", "muniment-log", "integrator", *told)
        self.deployment.start("second", "muniment-log", "frontend", *told)
        return self.deployment.start("log", "muniment-log", "frontend", *told)

    def spent(self) -> dict[str, float]:
        """Processor time that all parties but the gateways have used, in seconds."""
        frontends = sum(self.deployment.cpu_seconds(name) for name in FRONTENDS)
        return {
            "frontends": frontends,
            "integrator": self.deployment.cpu_seconds("integrator"),
            **{name: _family_seconds(pid) for name, pid in self._engine_pids.items()},
        }

    def lag(self, size: int) -> float:
        """Seconds until a tree of a size is published."""
        began = time.perf_counter()
        while int(self.get("/checkpoint").split(b"\n")[1]) < size:
            if time.perf_counter() - began > LAG_WITHIN:
                raise BenchError(f"{size} leaves are not published in {LAG_WITHIN} s")
            time.sleep(0.01)
        return time.perf_counter() - began

    def close(self) -> None:
        super().close()
        self._engines.close()


def _family_seconds(pid: int) -> float:
    """Processor time of a process and of all that it has started and that runs, in seconds."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):  # it has ended meanwhile
            total += cpu_seconds(one)
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return total


def cluster(options: Options) -> dict[str, Any]:
    """Two gateways with batches of 1,000: through one frontend, through one each, and at a rate."""
    count = 60_000 if options.quick else 300_000
    both = list(FRONTENDS)
    costs: list[dict[str, float]] = []
    with ClusterRig(gateways=2) as rig:
        run(rig, ["log"], 10_000, options.seed)
        one, two, lags = [], [], []
        for number in range(2 if options.quick else 3):
            for rates, names in ((one, ["log", "log"]), (two, both)):
                before = rig.spent()
                rate, lag = run(rig, names, count, options.seed + number)
                if names == both:
                    after = rig.spent()
                    costs.append({name: after[name] - before[name] for name in after})
                rates.append(rate)
                lags.append(lag)
        offered, behind = run(rig, both, count, options.seed, per_second=OFFERED)
        report = {
            "rate_per_s": round(statistics.median(one)),
            "two_frontends_per_s": round(statistics.median(two)),
            "published_after_s": round(max(lags), 2),
            "processor_us": {
                name: round(statistics.median(one[name] for one in costs) / count * 1e6, 2)
                for name in costs[0]
            },
            f"at_{OFFERED}_per_s": {
                "rate_per_s": round(offered),
                "published_after_s": round(behind, 2),
            },
        }
        if not options.quick:
            rig.audit()
        return report


def run(
    rig: ClusterRig, frontends: list[str], count: int, seed: int, *, per_second: int = 0
) -> tuple[float, float]:
    """Records a second, and the seconds from the last receipt to its publication.

    With `per_second`, no more than these are offered; else as many as are taken.
    """
    share = count // len(frontends)
    jobs = [
        rig.worker(
            "ingest", place, seed=seed + place, count=share, batch=1000, window=4,
            url=rig.deployment.urls[name], per_second=per_second / len(frontends),
        )
        for place, name in enumerate(frontends)
    ]  # fmt: skip
    with ThreadPoolExecutor(len(jobs)) as pool:
        began = time.perf_counter()
        for job in jobs:
            job.go()
        results = list(pool.map(lambda job: job.result(), jobs))
        seconds = time.perf_counter() - began
    lag = rig.lag(1 + max(index for result in results for index, _ in result["checks"]))
    for result in results:
        check_receipts(rig, result["checks"][:5])
    return share * len(jobs) / seconds, lag
