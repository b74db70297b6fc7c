"""The graph of 300 runs in the explorer: its page, its JSON, and until Chromium has drawn it."""

import json
import sys
from collections.abc import Callable
from random import Random
from typing import Any, Final

from benchmark.rig import SCRIPTS, BenchError, Rig
from benchmark.stats import percentile

RUNS: Final = 300
_VISITS: Final = 20


def log_runs(rig: Rig, seed: int) -> int:
    """Logs RUNS runs, each triggered by an earlier one, with decision, agent and outcome.

    The first is ``graph-0``. Returns how many records that takes.
    """
    random = Random(seed)
    records: list[dict[str, Any]] = []
    for number in range(RUNS):
        run = f"graph-{number}"
        records.append(
            {
                "kind": "decision",
                "id": f"d-{run}",
                "execution": run,
                "request": {
                    "subject": {"type": "agent", "id": f"agent-{number % 9}"},
                    "action": {"name": "call"},
                    "resource": {"type": "tool", "id": f"tool-{number % 31}"},
                },
                "response": {"decision": True},
            }
        )
        records.append(_edge("performed_by", run, "agent", f"agent-{number % 9}"))
        if number:
            parent = random.randrange(max(0, number - 20), number)
            records.append(_edge("triggered_by", run, "run", f"graph-{parent}"))
        records.append(
            {"kind": "outcome", "id": f"o-{run}", "execution": run, "status": "completed"}
        )
    file = rig.place / "runs.ndjson"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    rig.deployment.command(
        *("muniment", "submit", "--log", rig.url, "--key", rig.keys[0], "--stream", "runs"),
        *("--wait", "published", str(file)),
    )
    return len(records)


def measure(url: str, timed: Callable[[str], float]) -> dict[str, Any]:
    """Milliseconds until page and JSON of ``graph-0`` are there, and until all of it is drawn.

    `url` is the explorer's, `timed` gives seconds until all of an answer is there.
    """
    figures: dict[str, Any] = {"runs": RUNS}
    for name, path in (("page", "lineage?run=graph-0"), ("json", "lineage.json?run=graph-0")):
        found = [timed(url + path) for _ in range(_VISITS)]
        figures[name] = {
            "p50_ms": round(percentile(found, 0.50) * 1e3, 1),
            "p95_ms": round(percentile(found, 0.95) * 1e3, 1),
        }
    tests = str(SCRIPTS.parent / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    # A helper of the tests, for those who have a browser.
    import browser  # pyright: ignore[reportMissingImports]  # noqa: PLC0415

    if (reason := browser.missing()) is not None:
        print(f"what is drawn in a browser is not measured: {reason}", file=sys.stderr)
    else:
        drawn = sorted(_draw(browser.page, f"{url}lineage?run=graph-0") for _ in range(5))
        figures["drawn_in_chromium_ms"] = {"p50": drawn[2], "max": drawn[-1]}
    return figures


def _draw(opened: Any, url: str) -> int:
    """Milliseconds from asking for a page until its graph is drawn, in a browser just started."""
    with opened() as page:
        page.open(url)
        page.wait_until("document.querySelector('#drawn')?.textContent")
        drawn = page.evaluate("document.querySelector('#graph').dataset.drawn")
    if drawn is None:
        raise BenchError("Chromium has not drawn the graph")
    return int(drawn)


def _edge(relation: str, run: str, kind: str, id_: str) -> dict[str, Any]:
    return {
        "kind": "edge",
        "id": f"{relation}-{run}",
        "relation": relation,
        "from": {"type": "run", "id": run},
        "to": {"type": kind, "id": id_},
    }
