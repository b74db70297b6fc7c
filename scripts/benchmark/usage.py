"""The command line of scripts/bench. It needs nothing but Python, so that --help costs nothing."""

import argparse
from pathlib import Path
from typing import Final

EVERY: Final = (
    *("ingest", "withheld", "single", "lone", "proofs", "erase", "mirror"),
    *("growth", "audit", "follow", "recover"),
)
"""Scenarios that run when none is named, in their order."""

ASKED: Final = ("stages", "cluster", "complete", "explore", "gateway", "peers", "workers")
"""Those that run only when named: the times of one decision's parts, what needs more than this
program, and what says how work divides more than how much there is."""

NOTE: Final = """\
`scripts/bench check` tells whether the log has become slow for its machine (a minute; CI runs it),
`report RESULT.json` writes a result into docs/performance.md, `plot RESULT.json` draws it there.

`scale --to N --place DIR` grows a log to 20 million records; `scale --help` says how.
`stages` lays the parts of a lone decision side by side, in all processes that it passes.
`complete` measures the map, and torchwood's beside it, which needs Go.
`peers` needs Go: it builds Tessera and litewitness, and has both sides do the same work in turn.
`workers` measures a log with one process that takes requests, and with several, in turn.
`single` also measures with wrk, where that is installed (Debian and Ubuntu: apt install wrk).
Beside each scenario stands how much of the processors others had: above a tenth, measure again.
"""


def parser() -> argparse.ArgumentParser:
    """All options."""
    found = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Run scenarios with real processes, print one page, write JSON.",
        epilog=NOTE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "scenario", nargs="*", metavar="SCENARIO", help=f"of {', '.join([*EVERY, *ASKED])}"
    )
    found.add_argument("--quick", action="store_true", help="each scenario within 45 seconds")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    found.add_argument("--seed", type=int, default=1, help="of the decisions (default 1)")
    found.add_argument("--records", type=int, help="size of the large log (default 5,000,000)")
    return found


if __name__ == "__main__":
    parser().parse_args()
