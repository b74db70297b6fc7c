"""The scenario `stages`: where the time of a lone decision goes, from process to process.

All processes note when they began and ended what (`benchmark.traced`), on one clock. A decision is
alone, so what lies within its time is its own. The stages follow on each other without a gap: each
ends where the next begins, so their means add up to the whole.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sys import executable
from typing import Any, Final, NamedTuple

from deployment import WITNESSES, Deployment

from benchmark.options import Options
from benchmark.rig import BenchError, Rig
from benchmark.stats import latency, percentile
from benchmark.traced import Noted, read

STAGES: Final = (
    "gateway: prepare and sign the batch",
    "on its way to the log: HTTP, both sides",
    "log: check the batch, integrate it",
    "log: write and sync, while ML-DSA-44 signs",
    "log: the rest of the signature, ask the witnesses",
    "on its way to the witness that completes the quorum",
    "witness: check the request",
    "witness: cosign",
    "witness: write and sync",
    "on its way back: HTTP, both sides",
    "log: verify the cosignature",
    "log: answer with the proof",
    "on its way back to the gateway",
    "gateway: verify everything",
)
"""In the order in which a decision passes them."""

QUORUM: Final = 2
"""Witnesses that must cosign; those of the quorum are named by their order."""

Times = Mapping[str, Sequence[Noted]]


class Span(NamedTuple):
    """What one party did in a decision's time: microseconds from its beginning."""

    lane: str
    name: str
    began: float
    ended: float


class TracedDeployment(Deployment):
    """Servers that note times, each into a file of its name when it ends."""

    def start(self, name: str, *argv: str | Path) -> str:
        """Starts a server; see `Deployment.start`."""
        return super().start(name, executable, "-m", "benchmark.traced", f"{name}.trace", *argv)


def stages(options: Options) -> dict[str, Any]:
    """Lone decisions, one at a time, stage by stage; and each process's time of a processor."""
    count = 200 if options.quick else 1000
    with Rig(witnesses=True, deployment=TracedDeployment) as rig:
        job = rig.worker(
            "lone",
            seed=options.seed,
            count=count,
            warm_up=50,
            rate=0,
            trace=str(rig.place / "gateway.trace"),
        )
        names = ["log", *WITNESSES]
        before = {name: rig.deployment.cpu_seconds(name) for name in names}
        job.go()
        result = job.result()
        spent = {name: rig.deployment.cpu_seconds(name) - before[name] for name in names}
        rig.audit()
        rig.deployment.stop()
        traces = {name: read(rig.place / f"{name}.trace") for name in ["gateway", *names]}
    decisions = list(decisions_of(traces, count))
    shares = [stages_of(one) for one in decisions]
    spent["gateway"] = result["cpu_seconds"]
    return {
        **latency(result["latencies"]),
        "stages_ms": {
            stage: {
                "p50": round(statistics.median(one[stage] for one in shares) / 1e3, 3),
                "mean": round(statistics.fmean(one[stage] for one in shares) / 1e3, 3),
                "p90": round(percentile([one[stage] for one in shares], 0.9) / 1e3, 3),
            }
            for stage in STAGES
        },
        "processor_ms": {name: round(one / count * 1e3, 3) for name, one in spent.items()},
        "spans": typical(decisions),
    }


class Decision(NamedTuple):
    """What all processes noted within one decision's time.

    Attributes:
        times: by process; of the witnesses, those of the quorum alone, under `first` and `last`,
            in the order in which the log had their cosignatures.
        labels: what the log calls these two.
    """

    times: dict[str, list[Noted]]
    labels: dict[str, str]

    def only(self, process: str, name: str, *, within: Noted | None = None) -> Noted:
        """The one time of a name; the last of several. BenchError if there is none."""
        for one in reversed(self.times[process]):
            if one.name == name and (
                within is None or (within.began <= one.began and one.ended <= within.ended)
            ):
                return one
        raise BenchError(f"{process}: nothing was noted of {name}")


def decisions_of(traces: Times, count: int) -> Iterator[Decision]:
    """The last decisions of a run, each with what lies in its time.

    Left out are those whose head was not signed within their own commit: a commit came before it.
    """
    whole = [one for one in traces["gateway"] if one.name == "submit"][-count:]
    found = 0
    for submit in whole:
        own = {
            process: [one for one in times if submit.began <= one.began <= submit.ended]
            for process, times in traces.items()
        }
        decision = _decision(own)
        if decision is not None:
            found += 1
            yield decision
    if found < count * 0.8:
        raise BenchError(f"only {found} of {count} decisions went the usual way")


def _decision(times: dict[str, list[Noted]]) -> Decision | None:
    """One decision with the witnesses of its quorum; None when it did not go the usual way."""
    log = times["log"]
    announced = next((one for one in log if one.name == "announce"), None)
    if announced is None:
        return None
    counted = sorted(
        (one for one in log if one.name == "verify" and one.ended <= announced.began),
        key=lambda one: one.ended,
    )
    if len(counted) < QUORUM:
        return None
    labels = dict(zip(("first", "last"), [one.label for one in counted[-QUORUM:]], strict=True))
    own = {place: times[_witness(label)] for place, label in labels.items()}
    decision = Decision({"gateway": times["gateway"], "log": log, **own}, labels)
    try:
        stages_of(decision)
    except BenchError:
        return None
    return decision


def _witness(label: str) -> str:
    """The process of a witness whose lines in the policy have these names."""
    return label.partition("+")[0].partition("-")[0]


def stages_of(decision: Decision) -> dict[str, float]:
    """The stages of a decision, in microseconds."""
    submit, request = (decision.only("gateway", name) for name in ("submit", "request"))
    handle, commit = (decision.only("log", name) for name in ("handle", "commit"))
    announce = decision.only("log", "announce")
    sign = decision.only("log", "sign")
    if not commit.began <= sign.began <= commit.ended:
        raise BenchError("its head was not signed with its own commit")
    label = decision.labels["last"]
    post = next(
        one for one in reversed(decision.times["log"]) if (one.name, one.label) == ("post", label)
    )
    judged = decision.only("last", "handle", within=post)
    moved = decision.only("last", "commit", within=judged)
    cosign = decision.only("last", "sign", within=moved)
    lengths = (
        request.began - submit.began,
        handle.began - request.began,
        commit.began - handle.began,
        _length(commit),
        post.began - commit.ended,
        judged.began - post.began,
        moved.began - judged.began,
        _length(cosign),
        _length(moved) - _length(cosign),
        post.ended - moved.ended,
        announce.began - post.ended,
        handle.ended - announce.began,
        request.ended - handle.ended,
        submit.ended - request.ended,
    )
    return {stage: ns / 1e3 for stage, ns in zip(STAGES, lengths, strict=True)}


def _length(one: Noted) -> int:
    return one.ended - one.began


DRAWN: Final = {
    "gateway": ("build", "request", "verify"),
    "log": ("handle", "authenticate", "check", "commit", "announce", "prove", "store"),
    "log's file": ("sync", "transaction"),
    "log's ML-DSA-44 key": ("sign",),
    "first": ("handle", "authenticate", "sign", "sync"),
    "last": ("handle", "authenticate", "sign", "sync"),
}
"""What the picture shows of each lane; the log's file and its slow key have own threads."""


def typical(decisions: Sequence[Decision]) -> list[Span]:
    """Each span with the medians of when it began and when it ended."""
    found: list[Span] = []
    for lane, names in DRAWN.items():
        for name in names:
            pairs = []
            for decision in decisions:
                begin = decision.only("gateway", "submit").began
                process = "log" if lane.startswith("log") else lane
                one = next((n for n in decision.times[process] if n.name == name), None)
                if one is not None:
                    pairs.append(((one.began - begin) / 1e3, (one.ended - begin) / 1e3))
            if len(pairs) * 2 > len(decisions):
                began, ended = (statistics.median(side) for side in zip(*pairs, strict=True))
                found.append(Span(lane, name, round(began, 1), round(ended, 1)))
    return found
