"""scripts/bench: run the scenarios, print one page, write JSON; `plot` draws a result."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark import machine
from benchmark.cluster import cluster
from benchmark.gateway import gateway
from benchmark.large import LargeLog
from benchmark.load import decisions
from benchmark.options import Options
from benchmark.scenarios import LARGE, SCENARIOS

ASKED: dict[str, Callable[[Options], dict[str, Any]]] = {
    "cluster": cluster,
    "gateway": gateway,
}
"""Run only when named: they need more than this program."""

LIMIT_RECORDS = 100_000  # hashed in memory, and written and synced, for the two limits


def limits(seed: int) -> dict[str, Any]:
    """The hash limit and the disk limit, and how large the decisions are."""
    entries = decisions(LIMIT_RECORDS // 5, seed) * 5
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as place:
        return {
            "hash_per_s": round(machine.hash_limit(entries)),
            "disk_mb_per_s": round(machine.disk_limit(entries, Path(place)), 1),
            "record_bytes": round(sum(map(len, entries)) / len(entries)),
        }


def related(figures: dict[str, Any], limit: dict[str, Any]) -> dict[str, Any]:
    """A scenario's figures, with its rate as a share of both limits."""
    if "rate_per_s" in figures:
        rate = figures["rate_per_s"]
        figures["of_hash_limit"] = round(rate / limit["hash_per_s"], 4)
        figures["of_disk_limit"] = round(
            rate * limit["record_bytes"] / 1e6 / limit["disk_mb_per_s"], 4
        )
    return figures


def show(name: str, figures: dict[str, Any], indent: str = "  ") -> None:
    """One scenario of the page."""
    print(f"{indent}{name}")
    for key, value in figures.items():
        if isinstance(value, dict):
            show(key, value, indent + "  ")
        elif key != "percentiles_ms":  # for the plot
            text = f"{value:,}" if isinstance(value, int) else str(value)
            print(f"{indent}  {key:28} {text}")


def run(chosen: list[str], options: Options) -> dict[str, Any]:
    """Run the chosen scenarios; those on the large log share one."""
    report: dict[str, Any] = {
        "machine": machine.describe(),
        "seed": options.seed,
        "quick": options.quick,
        "limits": limits(options.seed),
        "scenarios": {},
    }
    show("machine", report["machine"], "")
    show("limits", report["limits"], "")
    print("scenarios")

    def measure(name: str, work: Callable[[], dict[str, Any]]) -> None:
        began = time.perf_counter()
        figures = related(work(), report["limits"])
        report["scenarios"][name] = figures
        show(f"{name}  ({time.perf_counter() - began:.0f} s)", figures)
        sys.stdout.flush()

    every = {**SCENARIOS, **ASKED}
    for name in [name for name in every if name in chosen]:
        measure(name, lambda name=name: every[name](options))  # type: ignore[misc]
    if large := [name for name in LARGE if name in chosen]:
        log = LargeLog(options)
        try:
            log.fill()
            for name in large:
                measure(name, lambda name=name: LARGE[name](log))  # type: ignore[misc]
        finally:
            log.close()
    return report


def main() -> None:
    every = [*SCENARIOS, *LARGE]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO", help=f"of {', '.join([*every, *ASKED])}"
    )
    parser.add_argument("--quick", action="store_true", help="each scenario within 45 seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--seed", type=int, default=1, help="of the decisions (default 1)")
    parser.add_argument("--records", type=int, help="size of the large log (default 5,000,000)")
    given = parser.parse_args()
    if unknown := set(given.scenario) - {*every, *ASKED}:
        parser.error(f"no scenario {', '.join(sorted(unknown))}")
    records = given.records or (100_000 if given.quick else 5_000_000)
    report = run(given.scenario or every, Options(given.quick, given.seed, records))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
