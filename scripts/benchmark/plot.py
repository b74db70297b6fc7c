"""Draws a result into docs/: rate by size, how long a proof takes, its stages, the peers."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmark.costs import samples

DOCS = Path(__file__).resolve().parents[2] / "docs"


def growth(figures: dict[str, Any]) -> None:
    """Records a second and the log's memory, by the size of the log."""
    step, rates = figures["step"], figures["rates_per_s"]
    sizes = [(n + 1) * step / 1e6 for n in range(len(rates))]
    picture, rate = plt.subplots(figsize=(7, 3.5))
    rate.plot(sizes, rates, marker="o")
    rate.set(xlabel="records in the log, millions", ylabel="records/s", ylim=(0, None))
    memory = rate.twinx()
    memory.plot(sizes, figures["rss_mb"], color="grey", linestyle="--")
    memory.set(ylabel="memory of the log, MB (dashed)", ylim=(0, None))
    picture.tight_layout()
    picture.savefig(DOCS / "growth.png", dpi=120)


def lone(figures: dict[str, Any]) -> None:
    """The share of lone decisions that have their verified proof after so many milliseconds."""
    picture, axes = plt.subplots(figsize=(7, 3.5))
    runs = [("one at a time", figures)]
    runs += [(f"{rate}/s offered", figures[f"at_{rate}_per_s"]) for rate in (50, 500)]
    for label, run in runs:
        axes.plot(run["percentiles_ms"], range(1, 100), label=label)
    axes.set(xlabel="ms to a verified, cosigned proof", ylabel="% of decisions", xlim=(0, None))
    axes.legend()
    picture.tight_layout()
    picture.savefig(DOCS / "lone.png", dpi=120)


KINDS = {
    "sync": "disk",
    "transaction": "disk",
    "store": "disk",
    "sign": "signing",
    "build": "signing",
    "authenticate": "verifying",
    "check": "verifying",
    "verify": "verifying",
}
"""What a span of a lone decision is; others are waiting and other work."""

COLOURS = {
    "waiting and other work": "gainsboro",
    "signing": "tab:orange",
    "verifying": "tab:blue",
    "disk": "tab:green",
}


def stages(figures: dict[str, Any]) -> None:
    """Where a lone decision is when: a lane for each process, and one for the log's file."""
    lanes = list(dict.fromkeys(lane for lane, *_ in figures["spans"]))
    picture, axes = plt.subplots(figsize=(9, 3.2))
    drawn: set[str] = set()
    for lane, name, began, ended in figures["spans"]:
        kind = KINDS.get(name, "waiting and other work")
        axes.barh(
            lanes.index(lane),
            (ended - began) / 1e3,
            left=began / 1e3,
            height=0.7 if kind == "waiting and other work" else 0.5,
            color=COLOURS[kind],
            label=None if kind in drawn else kind,
            zorder=1 if kind == "waiting and other work" else 2 + (name != "transaction"),
        )
        drawn.add(kind)
    names = {"first": "witness that answers first", "last": "witness that completes the quorum"}
    axes.set_yticks(range(len(lanes)), [names.get(lane, lane) for lane in lanes], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="ms since the decision was handed to the gateway", xlim=(0, None))
    axes.legend(fontsize=8, loc="lower left")
    picture.tight_layout()
    picture.savefig(DOCS / "stages.png", dpi=120)


def scale(figures: dict[str, Any]) -> None:
    """What a record costs, and what all else takes, by the size of the log."""
    shares = samples(figures["steps"])
    steps = [one for one in figures["steps"] if "recover_s" in one]
    at = [share["to"] / 1e6 for share in shares]
    sizes = [one["size"] / 1e6 for one in steps]
    panels: list[tuple[str, dict[str, tuple[list[float], list[float]]]]] = [
        (
            "µs of a processor, a record",
            {
                "log": (at, [share["log_us"] for share in shares]),
                "its index": (at, [share["index_us"] for share in shares]),
                "audit": (sizes, [one["audit"]["cpu_us"] for one in steps]),
                "replica": (sizes, [one["follow"]["cpu_us"] for one in steps]),
            },
        ),
        ("records/s logged", {"": (at, [share["rate_per_s"] for share in shares])}),
        (
            "MB of memory",
            {
                "log": (at, [share["log_mb"] for share in shares]),
                "its index": (at, [share["index_mb"] for share in shares]),
                "audit": (sizes, [one["audit"]["peak_mb"] for one in steps]),
                "follower": (sizes, [one["follow"]["peak_mb"] for one in steps]),
            },
        ),
        (
            "bytes on disk, a record",
            {
                name: (sizes, [one["disk_bytes"][name] / one["size"] for one in steps])
                for name in ("log", "index", "replica")
            },
        ),
        (
            "seconds to ready after kill -9",
            {"": (sizes, [statistics.median(one["recover_s"]) for one in steps])},
        ),
        (
            "ms, p50, in the replica",
            {
                "decision by id": (
                    sizes,
                    [one["lookups"]["decision_by_id"]["p50_ms"] for one in steps],
                ),
                "neighbours of a run": (
                    sizes,
                    [one["lookups"]["lineage_neighbours"]["p50_ms"] for one in steps],
                ),
                "trace of 1,000 hops / 1000": (
                    sizes,
                    [one["lookups"]["trace_1000_hops_ms"] / 1e3 for one in steps],
                ),
            },
        ),
    ]
    picture, grid = plt.subplots(2, 3, figsize=(11, 5.5))
    for axes, (title, lines) in zip(grid.flat, panels, strict=True):
        for label, (x, y) in lines.items():
            axes.plot(x, y, marker="o" if len(x) == len(sizes) else "", markersize=3, label=label)
        axes.set_title(title, fontsize=9)
        axes.set(ylim=(0, None), xlim=(0, None))
        if len(lines) > 1:
            axes.legend(fontsize=7)
    for axes in grid[1]:
        axes.set_xlabel("records in the log, millions", fontsize=8)
    picture.tight_layout()
    picture.savefig(DOCS / "scale.png", dpi=110)


def peers(figures: dict[str, Any]) -> None:
    """How many times better than the peer Muniment is at each work, and by which rounds."""
    rows = {row: one for row, one in figures.items() if isinstance(one, dict) and "ratio" in one}
    picture, axes = plt.subplots(figsize=(9, 0.38 * len(rows) + 0.9))
    for place, one in enumerate(rows.values()):
        better = one["ratio"] >= 1
        axes.plot(
            [one["ratio_least"], one["ratio_most"]], [place, place], color="grey", linewidth=1
        )
        axes.plot(one["ratio"], place, "o", color="tab:blue" if better else "tab:orange")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set(xlabel="Muniment ÷ peer (right of 1, Muniment is better)")
    picture.tight_layout()
    picture.savefig(DOCS / "peers.png", dpi=120)


DRAWN = {"growth": growth, "lone": lone, "stages": stages, "scale": scale, "peers": peers}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench plot", description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    found = json.loads(parser.parse_args().result.read_text())["scenarios"]
    for name, draw in DRAWN.items():
        if name in found:
            draw(found[name])
            print(f"docs/{name}.png")


if __name__ == "__main__":
    main()
