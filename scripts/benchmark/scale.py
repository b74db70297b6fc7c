"""`scripts/bench scale`: a log grown in steps to many millions of records, measured after each.

    scripts/bench scale --to 20000000 --place DIR --json FILE

It goes on where it was stopped: log, replica and figures stay in DIR. What it costs is told in
processor time, which others on the machine change less than they change rates; a record costs
about 45 microseconds in all, and takes some 750 bytes of disk.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

from deployment import Deployment, cpu_seconds

from benchmark import machine
from benchmark.costs import cost_last_over_first
from benchmark.foreign import watched
from benchmark.large import CHAIN, lookups
from benchmark.receipts import check_receipts
from benchmark.rig import BenchError, Rig, timed_command
from muniment.http.logclient import LogClient
from muniment.index.reader import IndexReader

STEPS: Final = (1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000)
LAST: Final = 1_000_000
"""Records at the end of each step that are audited by themselves."""

SAMPLE: Final = 100_000
"""Records between two looks at the log while it grows."""

STREAM: Final = "scale"
GATEWAY: Final = "gw.example/0"
SETTLED: Final = 0.05  # seconds of processor time within one second
SETTLE_WITHIN: Final = 1800.0  # seconds
KILLS: Final = 3
KILLED: Final = 20_000  # records that are on their way when the log is killed
KILLED_FROM: Final = 100_000_000  # the number of the first of them: beyond all others


class KeptRig(Rig):
    """A log without witnesses whose folder stays, and which goes on when the folder is there."""

    def __init__(self, place: Path) -> None:
        """Starts the log in a folder, which it makes when there is none."""
        if not (place / "trust.policy").exists():
            place.mkdir(parents=True, exist_ok=True)
            super().__init__(witnesses=False, place=place)
            return
        self.place = place
        self.deployment = Deployment(place)
        self.token = ""
        self._jobs = 0
        self.keys = ["gateway-0.pem"]
        self.deployment.start_log()

    @property
    def pids(self) -> dict[str, int]:
        """The log's own process, and that of its index."""
        pid = self.deployment.processes["log"].pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {"log": pid, "index": int(child)}

    def spent(self) -> dict[str, float]:
        """Processor time that each of the two has used."""
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def memory(self) -> dict[str, float]:
        """Resident memory of each, in MB."""
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            name: round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page / 1e6, 1)
            for name, pid in self.pids.items()
        }

    def logged(self) -> int:
        """Records of the growing stream that the log has."""

        async def ask() -> int:
            async with LogClient(self.url) as client:
                return (await client.stream(GATEWAY, STREAM)).next

        return asyncio.run(ask())

    def disk(self) -> dict[str, int]:
        """Bytes of what is stored, by what it is."""

        def size(folder: Path, pattern: str) -> int:
            return sum(file.stat().st_size for file in folder.glob(pattern))

        return {
            "log": size(self.place / "log", "log.db*"),
            "index": size(self.place / "log", "index.db*"),
            "replica": size(self.place, "replica.db*"),
        }

    def close(self) -> None:
        """Stops the log; the folder stays."""
        self.deployment.stop()


def grow(rig: KeptRig, to: int) -> dict[str, Any]:
    """Logs small records until there are so many; what each share of them cost."""
    begin = rig.logged()
    worker = rig.worker(
        "ingest", stream=STREAM, bare=begin, count=to - begin, batch=1000, window=4, sample=SAMPLE
    )
    samples = [(begin, 0.0, rig.spent(), rig.memory())]
    before = time.perf_counter()
    worker.go()
    for sample in worker.samples():
        at = time.perf_counter() - before
        samples.append((begin + sample["logged"], at, rig.spent(), rig.memory()))
    result = worker.result()
    check_receipts(rig, result["checks"])
    began, settled = rig.spent()["index"], settle(rig)
    return {
        "records": result["count"],
        "seconds": round(result["seconds"], 2),
        "rate_per_s": round(result["count"] / result["seconds"]),
        "gateway_us": round(result["cpu_seconds"] / result["count"] * 1e6, 2),
        "log_us": round((settled["log"] - samples[0][2]["log"]) / result["count"] * 1e6, 2),
        "index_us": round((settled["index"] - samples[0][2]["index"]) / result["count"] * 1e6, 2),
        "index_behind_s": round(settled["index"] - began, 1),
        "samples": list(_shares(samples)),
    }


def _shares(samples: list[tuple[int, float, dict[str, float], dict[str, float]]]) -> Iterator[Any]:
    """What each share of the records took: of each process, microseconds a record."""
    for (first, began, before, _), (last, ended, after, memory) in pairwise(samples):
        cost = {name: (after[name] - before[name]) / (last - first) * 1e6 for name in after}
        yield {
            "to": last,
            "rate_per_s": round((last - first) / (ended - began)),
            "log_us": round(cost["log"], 2),
            "index_us": round(cost["index"], 2),
            "log_mb": memory["log"],
            "index_mb": memory["index"],
        }


def settle(rig: KeptRig) -> dict[str, float]:
    """Waits until the index has followed; the processor time used by then."""
    deadline, before = time.monotonic() + SETTLE_WITHIN, rig.spent()
    while time.monotonic() < deadline:
        time.sleep(1)
        now = rig.spent()
        if sum(now.values()) - sum(before.values()) < SETTLED:
            return now
        before = now
    raise BenchError("the index does not catch up")


def audit(rig: KeptRig) -> dict[str, Any]:
    """An audit of what is new since the last one."""
    done = timed_command(
        *("muniment", "audit", "--log", rig.url, "--policy", "trust.policy"),
        *("--state", "audit.state", "--json"),
        cwd=rig.place,
    )
    report = json.loads(done["stdout"])
    if report["verdict"] != "clean":
        raise BenchError(f"the audit is not clean: {done['stdout'][:500]}")
    return _told(done, report["counts"]["records"])


def follow(rig: KeptRig, new: int) -> dict[str, Any]:
    """The replica brought up to the log, which has so many records more than it."""
    done = timed_command(
        *("muniment", "follow", rig.url, "--policy", "trust.policy"),
        *("--replica", "replica.db", "--once", "--json"),
        cwd=rig.place,
    )
    return _told(done, new)


def _told(done: dict[str, Any], records: int) -> dict[str, Any]:
    return {
        "records": records,
        "rate_per_s": round(records / done["seconds"]),
        "cpu_us": round(done["cpu_seconds"] / records * 1e6, 2),
        "peak_mb": round(done["peak_bytes"] / 1e6, 1),
    }


def recover(rig: KeptRig, size: int) -> list[float]:
    """Seconds from kill -9 under load to ready, some times over."""
    times = []
    for number in range(KILLS):
        worker = rig.worker(
            "ingest",
            stream=f"killed-{size}-{number}",
            bare=KILLED_FROM + size + 2 * number * KILLED,  # ids of their own
            count=KILLED,
            batch=1000,
            window=4,
        )
        worker.go()
        time.sleep(0.2)
        process = rig.deployment.processes["log"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        worker.process.kill()
        worker.process.wait()
        began = time.perf_counter()
        rig.deployment.start_log()
        times.append(round(time.perf_counter() - began, 2))
    return times


def look_up(rig: KeptRig, to: int) -> dict[str, Any]:
    """Lookups in the replica, of decisions of all ages; see `large.lookups`."""
    with IndexReader(rig.place / "replica.db") as reader:
        return lookups(reader, Random(to), range(4 * CHAIN, to))


def grow_on(rig: KeptRig, to: int) -> dict[str, Any] | None:
    """Grows the log, unless it is as large already."""
    return grow(rig, to) if rig.logged() < to else None


def phases(rig: KeptRig, before: int, to: int) -> dict[str, Callable[[], Any]]:
    """What one step does and measures, in this order."""
    return {
        "grown": lambda: grow_on(rig, to - LAST) if to - LAST > before else None,
        "audited": lambda: audit(rig) if to - LAST > before else None,
        "grown_last": lambda: grow_on(rig, to),
        "memory_mb": rig.memory,
        "audit": lambda: audit(rig),
        "follow": lambda: follow(rig, to - before),
        "disk_bytes": rig.disk,
        "lookups": lambda: look_up(rig, to),
        "recover_s": lambda: recover(rig, to),
        "settled": lambda: settle(rig),
    }


def run(place: Path, to: int) -> dict[str, Any]:
    """Makes the steps that are missing; their figures, of all that were made in this folder."""
    kept = place / "scale.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"steps": []}
    wanted = [size for size in STEPS if size < to] + [to]
    rig = KeptRig(place)
    try:
        if not report["steps"] and rig.logged() == 0:
            chain = rig.worker("lineage", seed=1, count=CHAIN)
            chain.go()
            chain.result()
        done = [one for one in report["steps"] if "settled" in one]
        before = max((one["size"] for one in done), default=0)
        for size in [size for size in wanted if size > before]:
            found = next((one for one in report["steps"] if one["size"] == size), None)
            if found is None:
                found = {"size": size, "seconds": {}, "others": {}}
                report["steps"].append(found)
            for name, work in phases(rig, before, size).items():
                if name in found:
                    continue  # done before it was stopped
                began = time.perf_counter()
                with watched() as shares:
                    found[name] = work()
                found["seconds"][name] = round(time.perf_counter() - began, 1)
                found["others"][name] = shares.figures().get("others_share")
                kept.write_text(json.dumps(report, indent=1) + "\n")
                print(f"{size:,} {name}: {_short(found[name])}", flush=True)
            before = size
        report["machine"] = machine.describe()
        report["cost_last_over_first"] = {
            of: round(cost_last_over_first(report["steps"], of), 3) for of in ("log_us", "index_us")
        }
        kept.write_text(json.dumps(report, indent=1) + "\n")
    finally:
        rig.close()
    return report


def _short(found: Any) -> str:
    if isinstance(found, dict):
        found = {name: one for name, one in found.items() if name != "samples"}
    return json.dumps(found)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/bench scale",
        description="Grow a log in steps of 1, 2, 5, 10 and 20 million small decisions, and measure"
        " after each: rate, processor time, memory, disk, recovery, audit, replica, lookups.",
    )
    found.add_argument("--to", type=int, default=STEPS[0], metavar="N", help="records at the end")
    found.add_argument(
        "--place",
        type=Path,
        required=True,
        metavar="DIR",
        help="where log and replica are kept, about 750 bytes a record; goes on where it stopped",
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return found


def main() -> None:
    options = parser()
    given = options.parse_args()
    if given.to < STEPS[0] // 2 or given.to % 1000:
        options.error(f"--to: expected thousands, at least {STEPS[0] // 2:,}")
    report = run(given.place.absolute(), given.to)
    costs = report["cost_last_over_first"]
    print(f"a record at the end costs {costs['log_us']} times that at the beginning", end="")
    print(f", its index {costs['index_us']} times", file=sys.stdout)
    if given.json:
        given.json.write_text(json.dumps({"scenarios": {"scale": report}}, indent=2) + "\n")


if __name__ == "__main__":
    main()
