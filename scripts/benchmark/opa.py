"""A real OPA that decides at a pace, and logs its decisions to the gateway: it must drop none.

OPA keeps what it has not uploaded in a buffer, and drops what does not fit. It has two kinds of
buffer, and counts what it drops.
"""

import asyncio
import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmark.rig import BenchError, Rig
from muniment.tlog.encoding import unframe
from muniment.tlog.tiles import bundles_of

PACE: Final = 5_000
"""Decisions a second."""

PROGRAM: Final = Path(__file__).resolve().parents[2] / ".venv" / "foreign" / "opa"

_REPORTING: Final = {
    "event": {"buffer_type": "event"},  # 10,000 events, unless it is said otherwise
    "size": {"buffer_type": "size", "buffer_size_limit_bytes": 4 << 20},
}
_REGO: Final = 'package authz\n\nallow if input.action.name == "read"\n'
_CONNECTIONS: Final = 4
_BURST: Final = 10  # requests of a connection that are sent together
_WAIT: Final = 120  # seconds
_DROPPED: Final = re.compile(r"^decision_logs_dropped_\w+ ([0-9.e+]+)$", re.MULTILINE)
_DECISION: Final = re.compile(rb'"decision_id":"([^"]+)"')
_INPUT: Final = json.dumps(
    {
        "input": {
            "action": {"name": "read"},
            "resource": {"id": "record-1", "type": "record"},
            "subject": {"id": "alice", "type": "user"},
        }
    }
).encode()


def drops(rig: Rig, url: str, seconds: float) -> dict[str, Any]:
    """For each kind of buffer: decisions a second, and how many of them OPA has dropped.

    Raises BenchError if one that was not dropped is not in the log, or is there twice.
    """
    return {kind: _drops(rig, url, kind, seconds) for kind in _REPORTING}


def _drops(rig: Rig, gateway: str, kind: str, seconds: float) -> dict[str, Any]:
    (rig.place / "authz.rego").write_text(_REGO)
    reporting = {"trigger": "periodic", "min_delay_seconds": 1, "max_delay_seconds": 1}
    config = {
        "services": {"gateway": {"url": gateway}},
        "decision_logs": {"service": "gateway", "reporting": reporting | _REPORTING[kind]},
        "status": {"prometheus": True},
    }
    (rig.place / "opa.json").write_text(json.dumps(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = len(_published(rig, 0))
    rig.deployment.run_beside(
        "opa", PROGRAM, "run", "--server", "--addr", url.partition("//")[2],
        "--log-level", "error", "--config-file", "opa.json", "authz.rego",
    )  # fmt: skip
    try:
        _wait_for(lambda: _get(f"{url}/health") != "", "OPA does not answer")
        began = time.perf_counter()
        made = asyncio.run(_decide(url, round(PACE * seconds)))
        rate = len(made) / (time.perf_counter() - began)
        logged: list[str] = []

        def is_settled() -> bool:
            dropped = sum(map(float, _DROPPED.findall(_get(f"{url}/metrics"))))
            logged[:] = _published(rig, start)
            return len(logged) + dropped >= len(made)

        _wait_for(is_settled, "decisions are missing from the log")
        dropped = sum(map(float, _DROPPED.findall(_get(f"{url}/metrics"))))
    finally:
        rig.deployment.end("opa")
    if len(set(logged)) != len(logged) or not set(logged) <= made:
        raise BenchError("a decision is in the log twice, or was never made")
    return {"decisions_per_s": round(rate), "decisions": len(made), "dropped": round(dropped)}


async def _decide(url: str, count: int) -> set[str]:
    """Has an OPA decide at the pace, or as fast as it can; the ids of the decisions."""
    address = url.partition("//")[2]
    host, _, port = address.partition(":")
    request = (
        f"POST /v1/data/authz/allow HTTP/1.1\r\nHost: {address}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_INPUT)}\r\n\r\n"
    ).encode() + _INPUT
    bursts = count // _BURST // _CONNECTIONS
    between = _BURST * _CONNECTIONS / PACE
    found: set[str] = set()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        began = time.perf_counter()

        async def send() -> None:
            for number in range(bursts):
                await asyncio.sleep(began + number * between - time.perf_counter())
                writer.write(request * _BURST)
                await writer.drain()

        async def receive() -> None:
            left, rest = bursts * _BURST, b""
            while left:
                data = await reader.read(1 << 16)
                if not data:
                    raise BenchError("OPA has closed a connection")
                *ids, rest = _DECISION.split(rest + data)
                found.update(one.decode() for one in ids[1::2])
                left -= len(ids) // 2

        await asyncio.gather(send(), receive())
        writer.close()

    await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))
    return found


def _published(rig: Rig, start: int) -> list[str]:
    """The ids of the decisions of OPAs in the log, those from one on."""
    size = int(rig.get("/checkpoint").split(b"\n")[1])
    ids: list[str] = []
    for bundle in bundles_of(0, size, size):
        for leaf in unframe(rig.get(f"/{bundle.path}")):
            if b'"opa-decision-log"' in leaf:
                ids += (one.decode() for one in _DECISION.findall(leaf))
    return ids[start:]


def _get(url: str) -> str:
    """What is at a URL; nothing when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            data: bytes = answer.read()
    except OSError:
        return ""
    return data.decode() or " "


def _wait_for(is_so: Callable[[], bool], trouble: str) -> None:
    until = time.monotonic() + _WAIT
    while not is_so():
        if time.monotonic() > until:
            raise BenchError(trouble)
        time.sleep(0.2)
