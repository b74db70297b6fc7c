"""The index log: how far it is behind the published head, and what it costs its log."""

import json
import threading
import time
from typing import Any, Final, Self

from deployment import cpu_seconds

from benchmark.options import Options
from benchmark.rig import BenchError, Rig, Worker
from benchmark.stats import percentile

PER_SECOND: Final = 10_000
LOOK_SECONDS: Final = 0.05


def index_log(options: Options) -> dict[str, Any]:
    """At an offered rate of decisions; then batches and lone decisions, without one and with one.

    The processor's time of the log's process tells what it costs there, whatever else runs; the map
    process has its own.
    """
    seconds, count = (10, 40_000) if options.quick else (60, 200_000)
    with Rig(witnesses=True, complete="enabled = true\n") as rig:
        job = rig.worker(
            "ingest", seed=options.seed, count=seconds * PER_SECOND, batch=500, window=8,
            per_second=PER_SECOND,
        )  # fmt: skip
        with _Watch(rig) as watch:
            result = _done(job)
        found: dict[str, Any] = {
            "offered_per_s": PER_SECOND,
            "logged_per_s": round(result["count"] / result["seconds"]),
            "behind_s": watch.behind(),
        }
        rig.audit()
    for name, complete in (("without", ""), ("with", "enabled = true\n")):
        with Rig(witnesses=True, complete=complete) as rig:
            before = _cpu(rig)
            logged = _done(
                rig.worker("ingest", seed=options.seed, count=count, batch=1000, window=4)
            )
            used = _cpu(rig) - before
            lone = _done(rig.worker("lone", seed=9, count=count // 400, warm_up=20, rate=0))
            found[name] = {
                "rate_per_s": round(logged["count"] / logged["seconds"]),
                "log_cpu_us_per_record": round(used / logged["count"] * 1e6, 1),
                "lone_ms": {
                    f"p{share}": round(percentile(lone["latencies"], share / 100) * 1e3, 1)
                    for share in (50, 90, 99)
                },
            }
            rig.audit()
    return found


def _done(job: Worker) -> dict[str, Any]:
    job.go()
    return job.result()


def _cpu(rig: Rig) -> float:
    """Seconds of processor time that the log's own process has used."""
    return cpu_seconds(str(rig.deployment.processes["log"].pid))


class _Watch:
    """Looks at `/readyz` all the time, from a thread of its own."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._seen: list[tuple[float, int, int]] = []  # time, published, covered
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            told = json.loads(self._rig.get("/readyz"))
            self._seen.append(
                (time.perf_counter(), told["published"], told["index_log"]["covered"])
            )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def behind(self) -> dict[str, float]:
        """For how long a published head was there that no published leaf was about, each look."""
        found, first = [], 0
        for at, _, covered in self._seen:
            while self._seen[first][1] <= covered and self._seen[first][0] < at:
                first += 1
            found.append(at - self._seen[first][0])
        if len(found) < 10:
            raise BenchError("too few looks at the index log")
        return {
            **{f"p{share}": round(percentile(found, share / 100), 2) for share in (50, 99)},
            "most": round(max(found), 2),
        }
