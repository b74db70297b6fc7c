"""scripts/bench: run the scenarios, print one page, write JSON; `plot` draws a result."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmark import machine
from benchmark.cluster import cluster
from benchmark.complete import complete
from benchmark.explore import explore
from benchmark.foreign import watched
from benchmark.gateway import gateway
from benchmark.large import LargeLog
from benchmark.load import decisions
from benchmark.options import Options
from benchmark.scenarios import LARGE, SCENARIOS
from benchmark.stages import stages
from benchmark.usage import parser
from benchmark.workers import workers


def peers(options: Options) -> dict[str, Any]:
    """Beside Tessera and litewitness; what it imports of the tests is there only for it."""
    from benchmark.peers import peers as measure  # noqa: PLC0415

    return measure(options)


ASKED: dict[str, Callable[[Options], dict[str, Any]]] = {
    "stages": stages,
    "cluster": cluster,
    "complete": complete,
    "explore": explore,
    "gateway": gateway,
    "peers": peers,
    "workers": workers,
}
"""Run only when named; see `usage.ASKED`."""

APART = 0.25
"""From here on, rounds lie too far apart: the range as a share of the median."""


def related(figures: dict[str, Any], limit: dict[str, Any]) -> dict[str, Any]:
    """A scenario's figures, with its rate as a share of both limits.

    What was measured in rounds has its share of the hash limit already, of each round by itself.
    """
    if "rate_per_s" in figures:
        rate = figures["rate_per_s"]
        figures.setdefault("of_hash_limit", round(rate / limit["hash_per_s"], 4))
        figures["of_disk_limit"] = round(
            rate * limit["record_bytes"] / 1e6 / limit["disk_mb_per_s"], 4
        )
    if figures.get("spread", 0) > APART:
        figures["caution"] = "the rounds differ much: look at them, and measure again"
    return figures


def show(name: str, figures: dict[str, Any], indent: str = "  ") -> None:
    """One scenario of the page."""
    print(f"{indent}{name}")
    for key, value in figures.items():
        if isinstance(value, dict):
            show(key, value, indent + "  ")
        elif key not in {"percentiles_ms", "spans"}:  # for the plot
            text = f"{value:,}" if isinstance(value, int) else str(value)
            print(f"{indent}  {key:28} {text}")


def run(chosen: list[str], options: Options) -> dict[str, Any]:
    """Run the chosen scenarios; those on the large log share one."""
    report: dict[str, Any] = {
        "machine": machine.describe(),
        "seed": options.seed,
        "quick": options.quick,
        "limits": machine.limits(decisions(20_000, options.seed)),
        "scenarios": {},
    }
    show("machine", report["machine"], "")
    show("limits", report["limits"], "")
    print("scenarios")

    def measure(name: str, work: Callable[[], dict[str, Any]]) -> None:
        began = time.perf_counter()
        with watched() as shares:
            found = work()
        limit = machine.limits(decisions(20_000, options.seed))
        # On both sides of the work: a machine's own speed changes from minute to minute.
        both = {key: (value + limit[key]) / 2 for key, value in report["limits"].items()}
        figures = related(found, both) | shares.figures()
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
    options = parser()
    given = options.parse_args()
    if unknown := set(given.scenario) - {*every, *ASKED}:
        options.error(f"no scenario {', '.join(sorted(unknown))}")
    records = given.records or (100_000 if given.quick else 5_000_000)
    report = run(given.scenario or every, Options(given.quick, given.seed, records))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
