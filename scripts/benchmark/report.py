"""Writes the figures of a result of the benchmark into docs/performance.md, between its markers.

Those beside peers go into README.md, too.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
BEGIN, END = "<!-- figures: scripts/bench report -->", "<!-- end of figures -->"
STAGES_BEGIN, STAGES_END = "<!-- stages: scripts/bench report -->", "<!-- end of stages -->"
SCALE_BEGIN, SCALE_END = "<!-- scale: scripts/bench report -->", "<!-- end of scale -->"
PEERS_BEGIN, PEERS_END = "<!-- peers: scripts/bench report -->", "<!-- end of peers -->"


def tables(result: dict[str, Any]) -> str:
    """The machine and the figures as Markdown; scenarios that did not run are left out."""
    machine, limits, found = result["machine"], result["limits"], result["scenarios"]
    lines = ["| the machine | |", "| --- | --- |"]
    lines += [
        f"| processor | {machine['cores']} × {machine['processor']}, {machine['memory_gb']} GB |",
        (
            f"| software | {machine['system']}, Python {machine['python']}, SQLite "
            f"{machine['sqlite']} |"
        ),
        f"| hash limit | {limits['hash_per_s']:,} leaves/s, one core |",
        f"| disk limit | {limits['disk_mb_per_s']:,} MB/s written and synced |",
        f"| records | decisions of varied content, {limits['record_bytes']} bytes |",
        "",
        "| scenario | figure |",
        "| --- | --- |",
    ]
    for name, rows in ROWS.items():
        if name in found:
            lines += [f"| {what} | {figure} |" for what, figure in rows(found[name])]
    return "\n".join(lines)


def _rate(one: dict[str, Any]) -> str:
    spread = f", rounds within {one['spread']:.0%}" if "spread" in one else ""
    return f"{one['rate_per_s']:,}/s; {one['of_hash_limit']:.1%} of the hash limit{spread}"


def _times(one: dict[str, Any]) -> str:
    return f"p50 {one['p50_ms']} ms, p90 {one['p90_ms']}, p99 {one['p99_ms']}"


def _ingest(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("`ingest`: one gateway, signed batches of 1,000, durable", _rate(one)),
        (
            "the same, eight gateways, batches of 100",
            f"{one['eight_gateways_per_s']:,}/s",
        ),
    ]


def _withheld(one: dict[str, Any]) -> list[tuple[str, str]]:
    what = "`withheld`: batches of 100, each decision with an addendum of 300 bytes"
    share = f"{one['of_without']:.0%} of the rate without, in the same run"
    return [(what, f"{one['rate_per_s']:,}/s; {share}")]


def _single(one: dict[str, Any]) -> list[tuple[str, str]]:
    wrk = f"; {one['wrk_per_s']:,}/s with wrk" if "wrk_per_s" in one else ""
    what = "`single`: one record a request with a bearer token, 64 connections"
    return [(what, f"{one['rate_per_s']:,}/s with a Python client, {_times(one)}{wrk}")]


def _lone(one: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (
            (
                "`lone`: one decision at a time to the verified proof, 2 of 3 witnesses (Ed25519, "
                "ML-DSA-44, both), log signing with both keys"
            ),
            _times(one),
        )
    ]
    rows += [
        (f"the same with {rate} decisions/s offered", _times(one[f"at_{rate}_per_s"]))
        for rate in (50, 500)
    ]
    return rows


def _proofs(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            "`proofs`: inclusion proofs, tiles served",
            f"{one['inclusion_per_s']:,}/s, {one['tiles_per_s']:,}/s",
        ),
        (
            "verifying a proof with its cosignatures; a permit; an inclusion alone",
            (
                f"{one['verify_ms']} ms; {one['permit_verify_ms']} ms; "
                f"{one['verify_inclusion_per_s']:,}/s"
            ),
        ),
    ]


def _growth(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            f"`growth`: ingest to {one['records']:,} records",
            (
                f"{_rate(one)}; cost of a record at the end "
                f"{one['cost_last_over_first']:.2f} times that at the beginning"
            ),
        ),
        (
            "memory of the log while it grows",
            f"{min(one['rss_mb'])} to {one['rss_peak_mb']} MB",
        ),
        (
            "stored in the database beyond the record itself",
            f"{one['stored_beyond_record']} bytes a record, the write-ahead log included",
        ),
    ]


def _audit(one: dict[str, Any]) -> list[tuple[str, str]]:
    what = "`audit`: all of that log over HTTP"
    return [(what, f"{_rate(one)}; {one['peak_mb']} MB in the largest process")]


def _follow(one: dict[str, Any]) -> list[tuple[str, str]]:
    found, near = one["decision_by_id"], one["lineage_neighbours"]
    trace = next(value for name, value in one.items() if name.startswith("trace_"))
    return [
        (
            "`follow`: a verified replica of that log",
            f"{_rate(one)}; {one['peak_mb']} MB, {one['stored_bytes_per_record']} bytes a record",
        ),
        (
            "in the replica: a decision by id; the neighbours of a run; a trace over 1,000 hops",
            (
                f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']}; p50 {near['p50_ms']} ms, "
                f"p99 {near['p99_ms']}; {trace} ms"
            ),
        ),
    ]


def _recover(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [("`recover`: from kill -9 to ready, on that log", f"{one['seconds']} s")]


def _cluster(one: dict[str, Any]) -> list[tuple[str, str]]:
    (key,) = (key for key in one if key.startswith("at_"))
    costs = ", ".join(f"{name} {cost}" for name, cost in one["processor_us"].items())
    offered, at = int(key.split("_")[1]), one[key]
    return [
        (
            (
                "`cluster`: PostgreSQL and SeaweedFS on the same two cores, batches of 1,000; two "
                "frontends instead of one"
            ),
            f"{_rate(one)}; {one['two_frontends_per_s']:,}/s",
        ),
        (
            f"how late it publishes: at {offered:,} records/s; at full speed",
            f"{at['published_after_s']} s; {one['published_after_s']} s",
        ),
        ("a record takes of a processor, µs", costs),
    ]


def _erase(one: dict[str, Any]) -> list[tuple[str, str]]:
    what = (
        f"`erase`: {one['erased']:,} addenda of one subject among {one['addenda']:,} of 300 bytes, "
        "the whole command"
    )
    return [(what, f"{one['seconds']} s")]


def _mirror(one: dict[str, Any]) -> list[tuple[str, str]]:
    what = (
        "`mirror`: uploads of 32 packages of 256, verified, synced, cosigned; a core's second; gzip"
    )
    core, coded = one["per_core_second"], one["gzip"]["rate_per_s"]
    return [(what, f"{_rate(one)}; {core:,}; {coded:,}/s")]


ROWS = {
    "ingest": _ingest,
    "withheld": _withheld,
    "single": _single,
    "lone": _lone,
    "proofs": _proofs,
    "growth": _growth,
    "audit": _audit,
    "follow": _follow,
    "recover": _recover,
    "erase": _erase,
    "mirror": _mirror,
    "cluster": _cluster,
}


def beside(result: dict[str, Any]) -> str:
    """The scenario of the peers as a Markdown table; a row without a peer has no ratio."""
    found = result["scenarios"]["peers"]
    lines = ["| work | Muniment | peer | ratio | rounds |", "| --- | --- | --- | --- | --- |"]
    for row, one in found.items():
        if not isinstance(one, dict):  # how busy others were
            continue
        ours = f"{one['muniment']:,} {one['unit']}".replace(" /s", "/s")
        if "peer" not in one:
            lines.append(f"| {row} | {ours} | | | |")
            continue
        theirs = f"{one['peer']:,} {one['unit']}".replace(" /s", "/s")
        rounds = f"{one['ratio_least']} to {one['ratio_most']}"
        lines.append(f"| {row} | {ours} | {theirs} | **{one['ratio']}** | {rounds} |")
    others = found.get("others_share")
    share = "is not known" if others is None else f"was {others:.0%}"
    lines += ["", f"Others' share of the processors {share} while this was measured."]
    return "\n".join(lines)


def staged(result: dict[str, Any]) -> str:
    """The stages of a lone decision as a Markdown table, in their order."""
    found = result["scenarios"]["stages"]
    whole = sum(one["mean"] for one in found["stages_ms"].values())
    lines = ["| stage of a lone decision | ms, p50 | mean | share |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {stage} | {one['p50']:.2f} | {one['mean']:.2f} | {one['mean'] / whole:.0%} |"
        for stage, one in found["stages_ms"].items()
    ]
    lines.append(f"| all of it, p50 {found['p50_ms']:.2f} | | {whole:.2f} | |")
    spent = ", ".join(f"{name} {one:.2f}" for name, one in found["processor_ms"].items())
    others = found.get("others_share")
    share = "is not known" if others is None else f"was {others:.0%}"
    lines += ["", f"Processor time of a decision, ms: {spent}. Others' share {share}."]
    return "\n".join(lines)


def scaled(result: dict[str, Any]) -> str:
    """What was measured at each size of the log as a Markdown table."""
    found = result["scenarios"]["scale"]
    steps = [one for one in found["steps"] if "recover_s" in one]

    def row(what: str, of: Callable[[dict[str, Any]], str]) -> str:
        return f"| {what} | {' | '.join(of(one) for one in steps)} |"

    def last(one: dict[str, Any]) -> dict[str, Any]:
        part: dict[str, Any] = one["grown_last"] or one["grown"]
        return part

    lines = [
        row("records in the log", lambda one: f"{one['size']:,}"),
        f"| --- |{' --- |' * len(steps)}",
        row("logged in a second, the last million", lambda one: f"{last(one)['rate_per_s']:,}"),
        row(
            "of a processor, µs a record: log, its index",
            lambda one: f"{last(one)['log_us']:.1f}, {last(one)['index_us']:.1f}",
        ),
        row(
            "memory of both, MB",
            lambda one: f"{one['memory_mb']['log']:.0f}, {one['memory_mb']['index']:.0f}",
        ),
        row(
            "on disk, bytes a record: log, index, replica",
            lambda one: ", ".join(
                f"{one['disk_bytes'][name] / one['size']:.0f}"
                for name in ("log", "index", "replica")
            ),
        ),
        row(
            "kill -9 to ready, s (median of three)",
            lambda one: f"{statistics.median(one['recover_s']):.2f}",
        ),
        row("audit of the last million", lambda one: _checked(one["audit"])),
        row("replica of what is new", lambda one: _checked(one["follow"])),
        row(
            "in the replica: a decision by id, p50, p99 ms",
            lambda one: _two(one["lookups"]["decision_by_id"]),
        ),
        row(
            "the neighbours of a run, p50, p99 ms",
            lambda one: _two(one["lookups"]["lineage_neighbours"]),
        ),
        row(
            "a trace over 1,000 hops, ms",
            lambda one: f"{one['lookups']['trace_1000_hops_ms']:.0f}",
        ),
        row("others' share while it grew", lambda one: f"{one['others']['grown_last']:.0%}"),
    ]
    cost = found["cost_last_over_first"]
    growth = (
        f"A record costs the log {cost['log_us']:.2f} times at the end what it costs at the "
        f"beginning, and its index {cost['index_us']:.2f} times (processor time, medians of a "
        "tenth at each end)."
    )
    lines += ["", growth]
    return "\n".join(lines)


def _checked(one: dict[str, Any]) -> str:
    return f"{one['rate_per_s']:,}/s, {one['cpu_us']:.1f} µs, {one['peak_mb']:.0f} MB"


def _two(one: dict[str, Any]) -> str:
    return f"{one['p50_ms']}, {one['p99_ms']}"


def rewritten(page: str, result: dict[str, Any]) -> str:
    """The page with the figures of a result in the place of those between the markers.

    Stages, scale and peers have places of their own; what the result does not have stays as it is.
    """
    found = result["scenarios"]
    if ROWS.keys() & found.keys():
        page = _between(page, BEGIN, END, tables(result))
    if "stages" in found:
        page = _between(page, STAGES_BEGIN, STAGES_END, staged(result))
    if "scale" in found:
        page = _between(page, SCALE_BEGIN, SCALE_END, scaled(result))
    return beside_peers(page, result)


def beside_peers(page: str, result: dict[str, Any]) -> str:
    """The page with the table of the peers anew, if the result has one."""
    if "peers" not in result["scenarios"]:
        return page
    return _between(page, PEERS_BEGIN, PEERS_END, beside(result))


def _between(page: str, begin: str, end: str, text: str) -> str:
    before, begins, rest = page.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise SystemExit(f"the page has no {begin} … {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench report", description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    result = json.loads(parser.parse_args().result.read_text())
    PAGE.write_text(rewritten(PAGE.read_text(), result))
    README.write_text(beside_peers(README.read_text(), result))
    print(f"docs/{PAGE.name}, {README.name}")


if __name__ == "__main__":
    main()
