"""`scripts/soak`: a log, three witnesses and gateways under load and trouble, and a verdict.

A run is good when nothing that was acknowledged is missing or stands elsewhere, nothing was logged
twice, every audit was clean, every server came back, and no witness has evidence.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployment import BIN, WITNESSES, Deployment, DeploymentError, tie_to_parent

from muniment.http.logclient import LogClient
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.tiles import bundles_of
from soaking.trouble import READ_WITHIN, Trouble, audit

SCRIPTS = Path(__file__).resolve().parents[1]
SETTLE_WITHIN = 240  # seconds, for the gateways to deliver what they hold at the end
MANIFEST = b"muniment/manifest/v1\n"
RECEIPT = 40  # bytes: the index and the leaf hash
MOST_SECONDS = 24 * 3600


class Soak:
    """One run in a folder of its own."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self._place = place
        self._options = options
        self._deployment = Deployment(place)
        self._began = time.monotonic()
        self._gateways: list[subprocess.Popen[str]] = []
        self.trouble = Trouble(self._deployment, options.seed, self._say)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:8.1f} s  {text}", flush=True)

    def run(self) -> dict[str, Any]:
        """Everything, from keys to verdict; leaves no process behind."""
        try:
            self._start()
            self._say("gateways are writing")
            end = time.monotonic() + self._options.seconds
            while time.monotonic() < end and not self.trouble.faults:
                time.sleep(min(self._options.pause, max(0.0, end - time.monotonic())))
                if any(gateway.poll() is not None for gateway in self._gateways):
                    self.trouble.faults.append("a gateway's process ended")
                elif time.monotonic() < end:
                    self.trouble.next()
            return self._verdict()
        finally:
            for gateway in self._gateways:
                with gateway:  # closes its pipes
                    gateway.kill()
            self._deployment.stop()

    def _start(self) -> None:
        """Keys, configuration and processes, as in the demo; ports stay the same over restarts."""
        deployment = self._deployment
        ports = free_ports(1 + len(WITNESSES))
        log_keys = deployment.make_log(next(ports))
        keys = {
            name: deployment.make_witness(name, algorithm, log_keys, next(ports))
            for name, algorithm in WITNESSES.items()
        }
        for name in WITNESSES:
            deployment.start_witness(name)
        deployment.write_policy(log_keys, keys, 2)
        numbers = range(self._options.gateways)
        vkeys = [deployment.make_gateway(f"gw.example/{n}", f"gateway-{n}.pem") for n in numbers]
        deployment.configure_log(gateways=vkeys)
        deployment.start_log()
        for number in numbers:
            self._gateways.append(self._gateway(number))

    def _gateway(self, number: int) -> subprocess.Popen[str]:
        options = self._options
        job = {
            "url": self._deployment.urls["log"],
            "key": str(self._place / f"gateway-{number}.pem"),
            "policy": str(self._place / "trust.policy"),
            "receipts": str(self._place / f"receipts-{number}"),
            "result": str(self._place / f"result-{number}"),
            "seed": options.seed * 1_000 + number,
            "calls_per_s": options.calls / options.gateways,
            "permits": 0.3,
            "waiting": 200,
        }
        file = self._place / f"job-{number}"
        file.write_text(json.dumps(job))
        process = subprocess.Popen(
            [sys.executable, "-m", "soaking.load", file],
            cwd=SCRIPTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=tie_to_parent,  # noqa: PLW1509  # one thread
        )
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise DeploymentError(f"gateway {number} did not start, exit {process.wait()}")
        return process

    def _verdict(self) -> dict[str, Any]:
        self._say("the gateways deliver what they hold")
        faults = self.trouble.faults
        for number, gateway in enumerate(self._gateways):
            assert gateway.stdin is not None
            gateway.stdin.close()
            try:
                if gateway.wait(SETTLE_WITHIN) != 0:
                    faults.append(f"gateway {number}: exit {gateway.returncode}")
            except subprocess.TimeoutExpired:
                faults.append(f"gateway {number} does not get rid of what it holds")
        self.trouble.measure()
        self._say("the last audit, and every receipt against the log")
        files = [self._place / f"result-{n}" for n in range(self._options.gateways)]
        results = [json.loads(file.read_text()) for file in files if file.exists()]
        for result in results:
            faults += [f"{count} × {error}" for error, count in result["errors"].items()]
        size = 0
        try:
            audit(self._deployment)
            size = asyncio.run(self._compare())
            self._ask_witnesses()
            config = ("--config", "log/log.toml")
            self._deployment.command("muniment-log", "check", *config, within=READ_WITHIN)
        except (DeploymentError, OSError, ValueError) as error:
            faults.append(str(error))
        return self._report(results, size)

    async def _compare(self) -> int:
        """Every receipt's record stands at its index, and no record stands twice."""
        found: list[bytes] = []
        manifests = 0
        async with LogClient(self._deployment.urls["log"]) as client:
            head = parse_signed_checkpoint(await client.checkpoint()).checkpoint
            for bundle in bundles_of(0, head.size, head.size):
                entries = unframe(await client.tile(bundle))
                manifests += sum(entry.startswith(MANIFEST) for entry in entries)
                found += [leaf_hash(entry) for entry in entries]
        if len(set(found)) != len(found):
            self.trouble.faults.append("an entry is in the log twice")
        missing = 0
        for number in range(self._options.gateways):
            data = (self._place / f"receipts-{number}").read_bytes()
            for at in range(0, len(data), RECEIPT):
                index = int.from_bytes(data[at : at + 8], "big")
                if index >= len(found) or found[index] != data[at + 8 : at + RECEIPT]:
                    missing += 1
        if missing:
            self.trouble.faults.append(f"{missing} acknowledged records are not where they were")
        return head.size

    def _ask_witnesses(self) -> None:
        """An honest log gives no witness evidence."""
        for name in WITNESSES:
            url = f"{self._deployment.urls[name]}/gossip/evidence"
            with urllib.request.urlopen(url, timeout=30) as answer:
                if json.load(answer)["evidence"]:
                    self.trouble.faults.append(f"{name} has evidence against the log")

    def _report(self, results: list[dict[str, Any]], size: int) -> dict[str, Any]:
        latencies = sorted(ms for result in results for ms in result["latencies"])
        denied: Counter[str] = Counter()
        for result in results:
            denied.update(result["denied"])
        return {
            "good": not self.trouble.faults,
            "faults": self.trouble.faults,
            "seconds": round(time.monotonic() - self._began, 1),
            "seed": self._options.seed,
            "entries": size,
            "acknowledged": sum(result["acknowledged"] for result in results),
            "permits": sum(result["permits"] for result in results),
            "denied": dict(denied),
            "permit_p50_ms": round(1000 * quantile(latencies, 0.50), 1),
            "permit_p99_ms": round(1000 * quantile(latencies, 0.99), 1),
            "done": dict(self.trouble.done),
            "peak_mb": {name: round(size / 1e6) for name, size in self.trouble.peak.items()},
        }


def quantile(ordered: list[float], part: float) -> float:
    return ordered[int(part * (len(ordered) - 1))] if ordered else 0.0


def free_ports(count: int) -> Iterator[int]:
    """Ports nobody listens on now; all are held until all are chosen, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return iter(ports)


def show(report: dict[str, Any]) -> None:
    """The page for a person."""
    denied = ", ".join(f"{count} {code}" for code, count in sorted(report["denied"].items()))
    done = ", ".join(f"{count} {what}" for what, count in sorted(report["done"].items()))
    peak = ", ".join(f"{name} {size} MB" for name, size in sorted(report["peak_mb"].items()))
    print(f"""
  {report["seconds"]:.0f} s, seed {report["seed"]}
  trouble    {done}
  log        {report["entries"]} entries, {report["acknowledged"]} records acknowledged
  permits    {report["permits"]}, p50 {report["permit_p50_ms"]} ms, p99 {report["permit_p99_ms"]} ms
  denied     {denied or "none"}
  most memory {peak}
""")
    for fault in report["faults"]:
        print(f"  fault: {fault}")
    print("Verdict: good." if report["good"] else "Verdict: NOT good.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300, help="of load (default 300)")
    parser.add_argument("--gateways", type=int, default=2, help="processes that write (default 2)")
    parser.add_argument("--calls", type=float, default=40, help="a second, of all (default 40)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two troubles")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats a run's order")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    options = parser.parse_args()
    if not 1 <= options.seconds <= MOST_SECONDS or options.gateways < 1 or options.calls <= 0:
        parser.error(f"--seconds is 1 to {MOST_SECONDS}; --gateways and --calls are above 0")
    os.umask(0o077)
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="muniment-soak-") as place:
        report = Soak(Path(place), options).run()
    show(report)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
