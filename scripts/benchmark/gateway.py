"""The scenario of the gateway service: its facades and its gate, beside what one has without them.

One deployment, three witnesses of which two have to cosign, all of it on this machine. Rounds of
each kind follow one another in turn, so that what else the machine does falls on all of them.
Processor time is the gateway's own, a request.
"""

import asyncio
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployment import BIN

from benchmark import opa
from benchmark.mcpclient import Connection
from benchmark.options import Options
from benchmark.rig import BenchError, Rig
from benchmark.stats import latency, percentile
from muniment.http.client import HttpClient

BATCH = 64
"""Evaluations of a batch; four batches are under way at a time."""

EVENTS = 300
"""Events of an upload: about what an OPA's 32 KiB hold."""

_CEDAR = """\
permit(principal == user::"alice", action == Action::"read", resource);
permit(principal == identity::"alice", action, resource);
permit(principal, action == Action::"muniment.doctor", resource);
"""
_EVALUATION = {  # in the order in which OPA writes the members of an input
    "action": {"name": "read"},
    "resource": {"id": "record-1", "type": "record"},
    "subject": {"id": "alice", "type": "user"},
}
_SINGLE_AT_ONCE, _BATCHES_AT_ONCE, _UPLOADS_AT_ONCE = 32, 4, 2


@dataclass
class Rounds:
    """What the rounds of one kind gave: rates, processor time a request, latencies."""

    rates: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """The medians."""
        found = {"per_s": round(statistics.median(self.rates))}
        if self.processor:
            found["processor_us"] = round(statistics.median(self.processor) * 1e6)
        return found


def gateway(options: Options) -> dict[str, Any]:
    """AuthZEN evaluations, OPA events and governed MCP calls, and each without the gateway.

    With `scripts/foreign` built, a real OPA is one that must not drop events.
    """
    count = 4 if options.quick else 10
    with Rig(witnesses=True) as rig:
        enforce = _make(rig, "enforce")
        observe = _make(rig, "observe")
        url = rig.deployment.start(
            "gateway", "muniment-gateway", "serve", "--config", f"{enforce}/gateway.toml"
        )
        found = asyncio.run(_load(rig, url, count))
        found |= _mcp(rig, enforce, observe, count)
        if opa.PROGRAM.exists():
            found["opa_at_pace"] = opa.drops(rig, url, 5 if options.quick else 20)
        if rig.audit()["verdict"] != "clean":
            raise BenchError("the audit is not clean")
    return found


def _make(rig: Rig, mode: str) -> str:
    """A gateway's folder, known to the running log."""
    folder = f"gw-{mode}"
    policies = rig.place / f"{mode}.cedar"
    policies.write_text(_CEDAR)
    vkey = rig.deployment.command(
        "muniment-gateway", "init", folder, "--name", f"gw.example/{mode}", "--listen",
        "127.0.0.1:0", "--log", rig.url, "--policy", rig.place / "trust.policy",
        "--cedar", policies,
    ).split()[0]  # fmt: skip
    config = rig.place / folder / "gateway.toml"
    text = config.read_text().replace('mode = "enforce"', f'mode = "{mode}"')
    config.write_text(
        f'{text}\n[opa]\nsink_paths = ["/logs"]\n[[opa.rule]]\npath = "authz/allow"\n'
    )
    with (rig.place / "log" / "log.toml").open("a") as log:
        log.write(f'\n[[gateway]]\nvkey = "{vkey}"\n')
    rig.deployment.command("muniment-log", "reload", "--config", "log/log.toml")
    return folder


async def _load(rig: Rig, url: str, count: int) -> dict[str, Any]:
    """The facade and the sink, in turn; and what only decides, and only keeps."""
    single, batched, sink = Rounds(), Rounds(), Rounds()
    bare_decisions, bare_sink = Rounds(), Rounds()
    one = json.dumps(_EVALUATION).encode()
    many = json.dumps({**_EVALUATION, "evaluations": [{}] * BATCH}).encode()
    async with HttpClient(url, headers={"User-Agent": "bench"}) as client:

        async def post(path: str, body: bytes, **more: str) -> bytes:
            answer = await client.request(
                "POST", url + path, limit=1 << 24, seconds=60, body=body,
                headers={"Content-Type": "application/json", **more},
            )  # fmt: skip
            if answer.status != 200:
                raise BenchError(f"{path}: HTTP {answer.status}: {answer.body[:200]!r}")
            return answer.body

        async def evaluate() -> None:
            if not json.loads(await post("/access/v1/evaluation", one))["decision"]:
                raise BenchError("a single evaluation was denied")

        async def evaluate_many() -> None:
            answers = json.loads(await post("/access/v1/evaluations", many))["evaluations"]
            if not all(answer["decision"] for answer in answers):
                raise BenchError("an evaluation of a batch was denied")

        serial = iter(range(1 << 40))

        async def upload(body: bytes) -> None:
            await post("/logs", body, **{"Content-Encoding": "gzip"})

        for number in range(count + 1):
            await _round(rig, single, 300, 1, _SINGLE_AT_ONCE, evaluate)
            await _round(rig, batched, 16, BATCH, _BATCHES_AT_ONCE, evaluate_many)
            uploads = iter([_events(serial) for _ in range(16)])
            await _round(
                rig, sink, 16, EVENTS, _UPLOADS_AT_ONCE, lambda it=uploads: upload(next(it))
            )
            _alone(rig, bare_decisions, bare_sink, [_events(serial) for _ in range(16)])
            if not number:  # everything is warm now
                for rounds in (single, batched, sink, bare_decisions, bare_sink):
                    rounds.rates.clear()
                    rounds.processor.clear()
    found: dict[str, Any] = {
        "evaluations_batched": batched.figures(),
        "evaluations_single": single.figures(),
        "opa_events": sink.figures(),
        "only_cedar": bare_decisions.figures(),
        "only_write_events": bare_sink.figures(),
    }
    found["batched_of_only_cedar"] = _ratio(batched, bare_decisions)
    found["events_of_only_write"] = _ratio(sink, bare_sink)
    return found


def _ratio(rounds: Rounds, bare: Rounds) -> float:
    """The rate with the gateway as a part of that without, the median over the rounds."""
    return round(statistics.median(map(float.__truediv__, rounds.rates, bare.rates)), 4)


async def _round(
    rig: Rig,
    rounds: Rounds,
    requests: int,
    each: int,
    at_once: int,
    ask: Callable[[], Awaitable[None]],
) -> None:
    left = iter(range(requests))

    async def worker() -> None:
        for _ in left:
            await ask()

    used, began = rig.deployment.cpu_seconds("gateway"), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    rounds.rates.append(requests * each / (time.perf_counter() - began))
    used = rig.deployment.cpu_seconds("gateway") - used
    rounds.processor.append(used / requests / each)


def _events(serial: Any) -> bytes:
    """An upload of an OPA."""
    event = {
        "labels": {"id": "bench", "version": "1.22.4"},
        "bundles": {"authz": {"revision": "1"}},
        "path": "authz/allow",
        "input": _EVALUATION,
        "result": True,
        "requested_by": "127.0.0.1:5",
        "timestamp": "2026-11-28T23:47:19.777539758Z",
        "metrics": {"timer_rego_input_parse_ns": 1, "timer_server_handler_ns": 2},
        "req_id": 2,
    }
    events = [{**event, "decision_id": f"{next(serial)}-bench"} for _ in range(EVENTS)]
    return gzip.compress(json.dumps(events, separators=(",", ":")).encode(), 1)


def _alone(rig: Rig, decisions: Rounds, sink: Rounds, uploads: Sequence[bytes]) -> None:
    """What one core does with nothing but the engine, and nothing but keeping the events."""
    import cedarpy  # of the gateway's extra  # noqa: PLC0415

    request = {
        "principal": 'user::"alice"',
        "action": 'Action::"read"',
        "resource": 'record::"record-1"',
        "context": {},
    }
    began = time.perf_counter()
    for _ in range(300):
        if not cedarpy.is_authorized(request, _CEDAR, []).allowed:
            raise BenchError("Cedar denies")
    decisions.rates.append(300 / (time.perf_counter() - began))
    path = rig.place / "events"
    began = time.perf_counter()
    with path.open("wb") as file:
        for upload in uploads:
            for event in json.loads(gzip.decompress(upload)):
                file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    sink.rates.append(len(uploads) * EVENTS / (time.perf_counter() - began))


def _mcp(rig: Rig, enforce: str, observe: str, count: int) -> dict[str, Any]:
    """Calls of a tool: bare, through the gate, and through a gate that observes; in turn."""
    server = [sys.executable, "-m", "benchmark.mcpserver"]
    took: dict[str, list[float]] = {"bare": [], "gate": [], "observe": []}
    connections: dict[str, Connection] = {}
    try:
        for name, folder in (("bare", None), ("gate", enforce), ("observe", observe)):
            gate = [
                str(BIN / "muniment-gateway"), "mcp", "--config", f"{folder}/gateway.toml",
                "--subject", "alice", "--server", "bench", "--",
            ]  # fmt: skip
            connections[name] = Connection([*(gate if folder else []), *server], rig.place)
        used: dict[str, float] = dict.fromkeys(took, 0.0)
        for number in range(count + 1):
            for name, connection in connections.items():
                before = connection.cpu_seconds()
                for _ in range(20):
                    seconds = connection.call("add", {"a": 2, "b": 3})
                    if number:
                        took[name].append(seconds)
                if number:
                    used[name] += connection.cpu_seconds() - before
    finally:
        for connection in connections.values():
            connection.close()
    bare = took["bare"]
    found: dict[str, Any] = {"mcp_bare": latency(bare)}
    for name in ("gate", "observe"):
        found[f"mcp_{name}"] = {
            "added_p50_ms": _added(took[name], bare, 0.5),
            "added_p99_ms": _added(took[name], bare, 0.99),
            "processor_us": round(used[name] / len(took[name]) * 1e6),
            "calls": len(took[name]),
        }
    return found


def _added(seconds: Sequence[float], bare: Sequence[float], share: float) -> float:
    """Milliseconds that a percentile is above that of the bare call."""
    return round((percentile(seconds, share) - percentile(bare, share)) * 1e3, 2)
