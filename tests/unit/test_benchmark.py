"""What the benchmark concludes from what it measures; measuring is not a test's work."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))
from benchmark import __main__ as command  # noqa: E402 - found beside the scripts
from benchmark import machine, report, usage  # noqa: E402
from benchmark.foreign import Shares, watched  # noqa: E402
from benchmark.large import growth_of_cost  # noqa: E402
from benchmark.peertable import Row, Table  # noqa: E402
from benchmark.ratios import BOUNDS, judge  # noqa: E402

USUAL = {name: bound.usual for name, bound in BOUNDS.items()}


def test_what_is_usual_passes() -> None:
    assert judge([USUAL]) == []
    assert judge([USUAL] * 3) == []


@pytest.mark.parametrize("name", list(BOUNDS))
def test_a_ratio_out_of_its_bound_is_named_with_what_to_do(name: str) -> None:
    bound = BOUNDS[name]
    bad = bound.least * 0.9 if bound.least is not None else (bound.most or 0) * 1.1
    [message] = judge([USUAL | {name: bad}])
    assert message.startswith(f"{name} is {bad:.3g}")
    assert bound.advice in message
    assert f"usually {bound.usual:g}" in message


@pytest.mark.parametrize("name", list(BOUNDS))
def test_one_bad_round_of_three_does_not_count_and_two_do(name: str) -> None:
    bad = USUAL | {name: 0.0 if BOUNDS[name].least is not None else 99.0}
    assert judge([USUAL, bad, USUAL]) == []
    assert len(judge([bad, USUAL, bad])) == 1


def test_the_bounds_are_generous_and_catch_what_they_are_for() -> None:
    for bound in BOUNDS.values():
        assert bound.holds(bound.usual * (0.6 if bound.least is not None else 1.5))
        assert not bound.holds(bound.usual * (0.25 if bound.least is not None else 2))


def test_the_growth_of_cost_compares_the_end_with_the_beginning() -> None:
    assert growth_of_cost([0.0, 1.0, 2.0, 3.0]) == 1.0
    assert growth_of_cost([0.0, 1.0, 2.0, 5.0]) == 3.0
    times = [0.0]
    for share in range(20):
        times.append(times[-1] + (2.0 if share >= 18 else 1.0))
    assert growth_of_cost(times) == 2.0


LATENCY = {"p50_ms": 1.5, "p90_ms": 2.5, "p99_ms": 3.5, "max_ms": 9.0}
RATE = {"rate_per_s": 12345, "of_hash_limit": 0.071, "of_disk_limit": 0.02, "spread": 0.04}
RESULT: dict[str, Any] = {
    "machine": {
        "processor": "A",
        "cores": 2,
        "memory_gb": 8,
        "system": "Linux",
        "python": "3",
        "sqlite": "3",
    },
    "limits": {"hash_per_s": 1000, "disk_mb_per_s": 5.0, "record_bytes": 585},
    "scenarios": {
        "ingest": {**RATE, "eight_gateways_per_s": 777},
        "withheld": {**RATE, "of_without": 0.7},
        "single": {**RATE, **LATENCY, "wrk_per_s": 888},
        "lone": {**LATENCY, "at_50_per_s": LATENCY, "at_500_per_s": LATENCY},
        "proofs": {
            "inclusion_per_s": 1,
            "tiles_per_s": 2,
            "verify_ms": 3,
            "permit_verify_ms": 4,
            "verify_inclusion_per_s": 5,
        },
        "growth": {
            **RATE,
            "records": 5_000_000,
            "cost_last_over_first": 1.01,
            "rss_mb": [90, 98],
            "rss_peak_mb": 99,
            "stored_beyond_record": 44.0,
        },
        "audit": {**RATE, "peak_mb": 70},
        "follow": {
            **RATE,
            "peak_mb": 70,
            "stored_bytes_per_record": 700,
            "decision_by_id": LATENCY,
            "lineage_neighbours": LATENCY,
            "trace_1000_hops_ms": 99.5,
        },
        "recover": {"seconds": 1.4},
        "cluster": {
            **RATE,
            "two_frontends_per_s": 23_456,
            "published_after_s": 1.8,
            "processor_us": {"frontends": 7.5},
            "at_30000_per_s": {"rate_per_s": 29_990, "published_after_s": 0.25},
        },
    },
}


def test_a_report_replaces_the_figures_of_the_page_and_nothing_else() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    once = report.rewritten(page, RESULT)
    assert "12,345/s; 7.1% of the hash limit, rounds within 4%" in once
    assert "99.5 ms" in once
    assert "at 30,000 records/s; at full speed | 0.25 s; 1.8 s |" in once
    assert report.rewritten(once, RESULT) == once
    for part, other in zip(cut(page), cut(once), strict=True):
        assert part == other
    with pytest.raises(SystemExit):
        report.rewritten("# A page without markers\n", RESULT)


def cut(page: str) -> tuple[str, str]:
    """What is before and after the figures."""
    return page.partition(report.BEGIN)[0], page.partition(report.END)[2]


def test_a_report_leaves_out_what_did_not_run() -> None:
    short = report.tables({**RESULT, "scenarios": {"recover": {"seconds": 1.4}}})
    assert "1.4 s" in short
    assert "`ingest`" not in short


PEERS = {
    "ingest": {
        "unit": "/s",
        "muniment": 66_599,
        "peer": 13_172,
        "ratio": 5.06,
        "ratio_least": 5.03,
        "ratio_most": 5.08,
    },
    "a proof": {"unit": "µs", "muniment": 285},
    "others_share": 0.02,
}


@pytest.mark.parametrize(
    ("page", "write"), [(report.PAGE, report.rewritten), (report.README, report.beside_peers)]
)
def test_a_report_of_the_peers_has_a_place_of_its_own(
    page: Path, write: Callable[[str, dict[str, Any]], str]
) -> None:
    was = page.read_text(encoding="utf-8")
    once = write(was, {"scenarios": {"peers": PEERS}})
    assert "| ingest | 66,599/s | 13,172/s | **5.06** | 5.03 to 5.08 |" in once
    assert "| a proof | 285 µs | | | |" in once
    assert "was 2% while" in once
    assert was.partition(report.PEERS_BEGIN)[0] == once.partition(report.PEERS_BEGIN)[0]
    assert was.partition(report.PEERS_END)[2] == once.partition(report.PEERS_END)[2]


def test_the_ratio_of_a_row_is_above_one_where_muniment_is_better() -> None:
    table = Table()
    for row in Row:
        table.ours(row, 100.0)
    for rate, took in ((50.0, 300.0), (25.0, 200.0), (200.0, 50.0)):
        table.theirs(Row.OVER_HTTP, rate)
        table.theirs(Row.LONE_TIME, took)
    for _ in range(2):
        table.ours(Row.OVER_HTTP, 100.0)
        table.ours(Row.LONE_TIME, 100.0)
    found = table.figures()
    assert found[Row.OVER_HTTP.title] == {
        "unit": "/s",
        "muniment": 100,
        "peer": 50,
        "ratio": 2.0,
        "ratio_least": 0.5,
        "ratio_most": 4.0,
    }
    assert found[Row.LONE_TIME.title]["ratio"] == 2.0
    assert found[Row.LONE_TIME.title]["ratio_least"] == 0.5
    assert found[Row.INCLUSION.title] == {"unit": "µs", "muniment": 100}


def test_every_scenario_has_its_rows() -> None:
    from benchmark.scenarios import LARGE, SCENARIOS

    assert {*SCENARIOS, *LARGE, "cluster"} <= set(report.ROWS)


def test_help_costs_nothing_and_names_every_scenario(tmp_path: Path) -> None:
    """A checkout without an environment tells what it can do, and makes none."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    done = subprocess.run(
        [tmp_path / "scripts" / "bench", "--help"],
        capture_output=True, text=True, check=True, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    for name in (*usage.EVERY, *usage.ASKED, "--quick", "wrk"):
        assert name in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]


def test_the_command_line_names_the_scenarios_that_there_are() -> None:
    assert (*command.SCENARIOS, *command.LARGE) == usage.EVERY
    assert tuple(command.ASKED) == usage.ASKED


def test_our_own_work_is_not_that_of_others() -> None:
    with watched() as shares:
        script = "sum(range(3_000_000))"
        for _ in range(3):  # ours: here, in a child that ended, and below one that runs
            sum(range(3_000_000))
            subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    if shares.others is not None:
        assert shares.figures()["others_share"] >= 0


def test_a_figure_that_others_had_a_part_in_is_marked() -> None:
    assert "warning" not in Shares(0.04, 0.05).figures()
    assert "tenth" in str(Shares(0.04, 0.07).figures()["warning"])
    assert "tenth" in str(Shares(0.2, 0.0).figures()["warning"])
    assert Shares().figures() == {}


def test_each_round_is_judged_by_the_limit_of_its_own_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = iter([100.0, 300.0, 50.0, 50.0, 400.0, 400.0])
    monkeypatch.setattr(machine, "hash_limit", lambda _: next(limits))
    one = machine.RatedRounds([b"entry"])
    for rate in (20.0, 10.0, 40.0):
        one.run(lambda rate=rate: rate)  # type: ignore[misc]
    assert one.shares == [0.1, 0.2, 0.1]
    assert one.figures() == {
        "rate_per_s": 20, "spread": 1.5, "rounds": [20, 10, 40], "of_hash_limit": 0.1,
    }  # fmt: skip


def test_rounds_that_differ_much_are_marked() -> None:
    limit = {"hash_per_s": 1000, "disk_mb_per_s": 1.0, "record_bytes": 100}
    found = command.related({"rate_per_s": 100, "spread": 0.3, "of_hash_limit": 0.5}, limit)
    assert found["of_hash_limit"] == 0.5
    assert "caution" in found
    assert "caution" not in command.related({"rate_per_s": 100, "spread": 0.2}, limit)
