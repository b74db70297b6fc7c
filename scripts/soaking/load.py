"""One gateway of the soak run, as a process of its own: `python -m soaking.load JOB`.

It logs small batches and asks for permits at a steady rate until its stdin closes. Every receipt
goes to a file at once, 40 bytes each, so that the verdict can ask the log for all of them.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import IO, Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from decisions import decisions
from muniment.errors import Denied, MunimentError
from muniment.gateway.gateway import Gateway
from muniment.gateway.receipts import Receipt
from muniment.local.keyfiles import read_key_file
from muniment.tlog.cosignature import signer_for
from muniment.tlog.policy import Policy, parse_policy
from muniment_service.process import run

POOL = 5_000  # distinct decisions; each is logged with a fresh id
BATCH = 20  # records in the largest batch
PATIENCE = 180.0  # seconds until a receipt must have come, whatever happens to the log meanwhile
PERMIT_WITHIN = 10.0  # seconds
KEPT = 200_000  # latencies


class Load:
    """What one gateway did."""

    def __init__(self, job: dict[str, Any], receipts: IO[bytes]) -> None:
        self._job = job
        self._random = Random(job["seed"])
        self._receipts = receipts
        self.permits = 0
        self.latencies: list[float] = []
        self.denied: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.acknowledged = 0

    def _keep(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            self._receipts.write(receipt.index.to_bytes(8, "big") + receipt.leaf_hash)
            self.acknowledged += 1
        self._receipts.flush()

    async def _batch(self, gateway: Gateway, pool: list[dict[str, Any]]) -> None:
        records = [self._random.choice(pool) for _ in range(self._random.randint(1, BATCH))]
        try:
            self._keep(await gateway.submit(records, timeout=PATIENCE))
        except MunimentError as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1

    async def _permit(self, gateway: Gateway, pool: list[dict[str, Any]]) -> None:
        decision = self._random.choice(pool)
        began = time.perf_counter()
        try:
            await gateway.authorize(decision, timeout=PERMIT_WITHIN)
        except Denied as denied:
            # A decision of false is denied as it should be; anything else failed closed.
            allowed = decision["response"]["decision"]
            self.denied[denied.codes[0] if allowed else "by the decision"] += 1
            return
        self.permits += 1
        if len(self.latencies) < KEPT:
            self.latencies.append(time.perf_counter() - began)

    async def work(self, policy: Policy) -> None:
        """Loads the log until stdin closes."""
        job = self._job
        key = read_key_file(Path(job["key"]))
        assert key.vkey is not None
        signer = signer_for(key.vkey.name, key.private, use="gateway")
        pool = [json.loads(record) for record in decisions(POOL, job["seed"], key.vkey.name)]
        for record in pool:
            del record["id"], record["time"]
        ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        running: set[asyncio.Task[None]] = set()
        async with Gateway(job["url"], signer, policy=policy, deadline=PATIENCE) as gateway:
            print("ready", flush=True)
            due = time.perf_counter()
            while not ended.done():
                ask = self._random.random() < job["permits"]
                work = self._permit if ask else self._batch
                running.add(task := asyncio.create_task(work(gateway, pool)))
                task.add_done_callback(running.discard)
                due += self._random.expovariate(job["calls_per_s"])
                # While the log is away calls pile up, as callers do; not without a bound.
                pause = due - time.perf_counter()
                await asyncio.sleep(max(0.0, pause))
                while len(running) >= job["waiting"] and not ended.done():
                    await asyncio.wait(running, timeout=0.1, return_when="FIRST_COMPLETED")
                    due = time.perf_counter()
            if running:
                await asyncio.wait(running)

    def result(self) -> dict[str, Any]:
        """What the verdict needs to know."""
        return {
            "acknowledged": self.acknowledged,
            "permits": self.permits,
            "latencies": self.latencies,
            "denied": self.denied,
            "errors": self.errors,
        }


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    with Path(job["receipts"]).open("wb") as receipts:
        load = Load(job, receipts)
        run(load.work(parse_policy(Path(job["policy"]).read_bytes())))
    Path(job["result"]).write_text(json.dumps(load.result()))


if __name__ == "__main__":
    main()
