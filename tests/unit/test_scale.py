"""What the benchmark makes and concludes when it grows a log to many millions of records."""

import sys
from itertools import islice
from pathlib import Path
from typing import Any

from muniment.records.codec import check_records

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from benchmark.bare import POOL, bare_decisions
from benchmark.costs import cost_last_over_first, samples
from benchmark.report import scaled

PRODUCER = "gw.example/0"


def test_bare_decisions_are_records_and_go_on_from_any_number() -> None:
    records = list(islice(bare_decisions(PRODUCER, POOL - 500), 1000))
    check_records(records, PRODUCER)
    assert len(set(records)) == 1000
    assert records[10:20] == list(islice(bare_decisions(PRODUCER, POOL - 490), 10))
    assert all(b'"run-' in record or b'"denial"' in record for record in records)
    assert 290 < sum(map(len, records)) / 1000 < 320


def _step(size: int, *costs: float) -> dict[str, Any]:
    shares = [{"to": size, "log_us": cost, "index_us": 2 * cost} for cost in costs]
    grown = {"rate_per_s": 1000, "log_us": 8.0, "index_us": 9.0, "samples": shares}
    checked = {"rate_per_s": 1, "cpu_us": 13.0, "peak_mb": 75.0}
    times = {"p50_ms": 0.1, "p99_ms": 5.5}
    return {
        "size": size,
        "grown": None,
        "grown_last": grown,
        "memory_mb": {"log": 100.0, "index": 80.0},
        "audit": checked,
        "follow": checked,
        "disk_bytes": {"log": 400 * size, "index": 100 * size, "replica": 350 * size},
        "lookups": {
            "decision_by_id": times,
            "lineage_neighbours": times,
            "trace_1000_hops_ms": 110.0,
        },
        "recover_s": [2.5, 1.0, 1.5],
        "others": {"grown_last": 0.5},
        "settled": {},
    }


def test_the_cost_at_the_end_is_that_of_the_last_shares_and_the_first_does_not_count() -> None:
    steps = [_step(1_000_000, 90, 8, 8, 8, 8), _step(2_000_000, 9, 9, 10, 10, 10, 10)]
    assert len(samples(steps)) == 11
    assert cost_last_over_first(steps, "log_us") == 10 / 8
    assert cost_last_over_first(steps, "index_us") == 10 / 8


def test_the_page_has_a_column_for_each_size() -> None:
    steps = [_step(1_000_000, 8, 8), _step(2_000_000, 8, 8)]
    half_done = {"size": 5_000_000, "grown": None}
    report = {
        "steps": [*steps, half_done],
        "cost_last_over_first": {"log_us": 1.02, "index_us": 1.0},
    }
    lines = scaled({"scenarios": {"scale": report}}).splitlines()
    assert lines[0] == "| records in the log | 1,000,000 | 2,000,000 |"
    assert "| kill -9 to ready, s (median of three) | 1.50 | 1.50 |" in lines
    assert "| others' share while it grew | 50% | 50% |" in lines
    assert "costs the log 1.02 times" in lines[-1]
