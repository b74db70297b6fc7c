"""scripts/bench check: has the log become slow for its machine? A minute, for CI.

Some short rounds, judged by ratios within one run (see ``ratios``). When a ratio does not hold,
more rounds are made before the check fails: a shared machine may have been busy with others.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmark import machine
from benchmark.large import growth_of_cost
from benchmark.load import decisions
from benchmark.ratios import BOUNDS, judge
from benchmark.rig import BenchError, Rig, timed_command

RECORDS = 30_000
SAMPLE = 2_000
ROUNDS = 3
SHARE = 0.4  # of the samples, at both ends: how the cost grows is told by their medians


def measure(seed: int, entries: list[bytes]) -> dict[str, float]:
    """One round: a fresh log is filled and audited, right beside the hash limit."""
    before = machine.hash_limit(entries)
    with Rig(witnesses=False) as rig:
        warm = rig.worker("ingest", seed=seed + 100, count=3_000, batch=1000, window=4)
        warm.go()
        warm.result()
        worker = rig.worker("ingest", seed=seed, count=RECORDS, batch=1000, window=4, sample=SAMPLE)
        worker.go()
        result = worker.result()
        done = timed_command(
            *("muniment", "audit", "--log", rig.url, "--policy", "trust.policy", "--json"),
            cwd=rig.place,
        )
    report = json.loads(done["stdout"])
    if report["verdict"] != "clean":
        raise BenchError(f"the audit is not clean: {done['stdout'][:500]}")
    # The limit is taken on both sides of the work, so that a machine that became busy meanwhile
    # counts on both sides of the ratio.
    limit = (before + machine.hash_limit(entries)) / 2
    return {
        "ingest_of_hash_limit": result["count"] / result["seconds"] / limit,
        "audit_of_hash_limit": report["counts"]["records"] / done["seconds"] / limit,
        # Without the first share, which waited for the first commits.
        "cost_last_over_first": growth_of_cost([at for _, at in result["samples"]], SHARE),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench check", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here too")
    given = parser.parse_args()
    entries = decisions(20_000)
    rounds = [measure(seed, entries) for seed in range(1, ROUNDS + 1)]
    if messages := judge(rounds):
        print("once more, as a ratio does not hold:", *messages, sep="\n  ", file=sys.stderr)
        rounds = [measure(seed, entries) for seed in range(ROUNDS + 1, 2 * ROUNDS + 1)]
        messages = judge(rounds)
    for name in BOUNDS:
        print(f"{name:24} {'  '.join(f'{one[name]:.3f}' for one in rounds)}")
    if given.json:
        given.json.write_text(json.dumps(rounds, indent=2) + "\n")
    if messages:
        print("scripts/bench check failed:", *messages, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
