"""The processes that put load on a log, as a user's programs would (`python -m benchmark.load`).

A worker makes its decisions, says ``ready`` on stdout, waits for a line on stdin, does its work,
writes what it measured to a file, and says so: nothing but the work is timed.
"""

import asyncio
import atexit
import json
import resource
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import convert

from benchmark.bare import bare_decisions
from benchmark.traced import GATEWAY, install, write
from muniment.gateway.gateway import Gateway
from muniment.http.client import HttpClient
from muniment.http.logclient import LogClient
from muniment.local.keyfiles import read_key_file
from muniment.records.batchbody import join_body
from muniment.records.commitments import addendum
from muniment.records.kinds import Decision, Edge, Record, Thing
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.cosignature import signer_for
from muniment.tlog.note import Signer
from muniment.tlog.policy import Policy, parse_policy
from muniment_service.process import run

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from decisions import decisions  # pyright: ignore[reportMissingImports]  # of the tests

POOL = 20_000  # distinct decisions; beyond them only the ids are new


def endless(producer: str, seed: int, at_least: int) -> Iterator[bytes]:
    """Canonical decisions of varied content, each with an id of its own."""
    pool = decisions(min(POOL, at_least), seed, producer)
    yield from pool
    marker = b'"id":"'
    # The record's own id is the last member of that name before `kind`, and 32 digits long.
    cuts = [record.rindex(marker, 0, record.index(b'"kind"')) + len(marker) for record in pool]
    parts = [(record[:cut], record[cut + 32 :]) for record, cut in zip(pool, cuts, strict=True)]
    serial = seed << 64
    while True:
        for before, after in parts:
            serial += 1
            yield b"%b%032x%b" % (before, serial, after)


def open_key(path: str) -> Signer:
    key = read_key_file(Path(path))
    assert key.vkey is not None
    return signer_for(key.vkey.name, key.private, use="gateway")


async def ingest(job: dict[str, Any]) -> dict[str, Any]:
    """Send signed batches until the count is reached.

    As many as the window allows are in flight, and no more than are offered a second, if that is
    given. With `bare`, they are small ones from that number on.
    """
    signer = open_key(job["key"])
    producer = signer.vkey.name
    if "bare" in job:
        stream = bare_decisions(producer, job["bare"])
    else:
        stream = endless(producer, job["seed"], job["count"])
    size, count = job["batch"], job["count"]
    async with Gateway(
        job["url"], signer, stream=job["stream"], batch_records=size, window=job["window"]
    ) as gateway:
        warm = [next(stream) for _ in range(size)]
        prepared = [[next(stream) for _ in range(size)] for _ in range(min(count, POOL) // size)]
        await gateway.submit(warm)
        wait_for_go()
        began, at = time.perf_counter(), time.time()
        running: set[asyncio.Task[Any]] = set()
        last: list[Any] = []
        samples: list[tuple[int, float]] = []
        logged = 0

        async def finish(most: int) -> None:
            # Two windows of calls wait, so that the gateway always has a batch to send.
            nonlocal running, last, logged
            while len(running) > most:
                done, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
                last = [task.result() for task in done]
                logged += len(done) * size
                while job.get("sample") and logged >= (len(samples) + 1) * job["sample"]:
                    samples.append(
                        ((len(samples) + 1) * job["sample"], time.perf_counter() - began)
                    )
                    print(json.dumps({"logged": samples[-1][0]}), flush=True)

        for number in range(count // size):
            records = (
                prepared[number] if number < len(prepared) else [next(stream) for _ in range(size)]
            )
            if job.get("per_second"):
                due = began + number * size / job["per_second"]
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            running.add(asyncio.create_task(gateway.submit(records)))
            await finish(2 * job["window"] - 1)
        await finish(0)
        took = time.perf_counter() - began
    receipts = [receipt for batch in last for receipt in batch]
    return {
        "count": count // size * size,
        "seconds": took,
        "began": at,
        "samples": samples,
        "cpu_seconds": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
        "checks": [(r.index, r.leaf_hash.hex()) for r in receipts[:: max(1, len(receipts) // 5)]],
    }


async def withheld(job: dict[str, Any]) -> dict[str, Any]:
    """Send batches that are made already, of decisions that withhold a member or do not.

    Each addendum is of 300 bytes.
    """
    signer = open_key(job["key"])
    stream = endless(signer.vkey.name, job["seed"], job["count"])
    bodies, first, previous = [], 0, NO_PREVIOUS

    def nonce(number: int) -> str:
        return f"{(job['seed'] << 64) + number:032x}"  # what the log has already it need not store

    for _ in range(job["count"] // job["batch"]):
        records, addenda = [next(stream) for _ in range(job["batch"])], []
        if job["withhold"]:
            addenda = [addendum(nonce(first + n), "x" * 246) for n in range(job["batch"])]
            records = [
                b'{"addenda":{"/request/arguments":"%b"},' % sha256(data).hexdigest().encode()
                + record[1:]
                for record, data in zip(records, addenda, strict=True)
            ]
        batch = build_batch(job["origin"], signer, job["stream"], first, previous, records)
        bodies.append(join_body(batch.body, addenda))
        first, previous = first + job["batch"], batch.leaf_hashes[-1]
    left = iter(bodies)
    async with LogClient(job["url"]) as client:

        async def sender() -> None:
            for body in left:
                await client.submit_batch(body)

        wait_for_go()
        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(sender() for _ in range(job["window"])))
        took, used = time.perf_counter() - began, time.process_time() - used
        if job["withhold"]:
            await client.addendum(sha256(addendum(nonce(0), "x" * 246)).hexdigest())
    return {
        "count": first,
        "seconds": took,
        "cpu_seconds": used,
    }


def load_policy(path: str) -> Policy:
    return parse_policy(Path(path).read_bytes())


async def lone(job: dict[str, Any]) -> dict[str, Any]:
    """Decisions to their verified, cosigned proofs: one at a time, or at an offered rate."""
    signer = open_key(job["key"])
    stream = endless(signer.vkey.name, job["seed"], job["count"] + job["warm_up"])
    latencies: list[float] = []

    async with Gateway(
        job["url"], signer, stream=job["stream"], policy=load_policy(job["policy"])
    ) as gateway:

        async def one(record: bytes, *, due: float | None = None) -> None:
            # At an offered rate the clock starts when the decision was due, not when it was sent:
            # a stall is then charged to all that waited for it.
            began = time.perf_counter() if due is None else due
            (receipt,) = await gateway.submit([record], published=True)
            receipt.tlog_proof()
            latencies.append(time.perf_counter() - began)

        for _ in range(job["warm_up"]):
            await one(next(stream))
        latencies.clear()
        records = [next(stream) for _ in range(job["count"])]
        wait_for_go()
        before, began = time.process_time(), time.perf_counter()
        if not job["rate"]:
            for record in records:
                await one(record)
        else:
            tasks = []
            for number, record in enumerate(records):
                due = began + number / job["rate"]
                if (pause := due - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                tasks.append(asyncio.create_task(one(record, due=due)))
            await asyncio.gather(*tasks)
        took = time.perf_counter() - began
    return {
        "latencies": latencies,
        "seconds": took,
        "cpu_seconds": time.process_time() - before,
    }


async def single(job: dict[str, Any]) -> dict[str, Any]:
    """One record a request with a bearer token, so many connections at once."""
    producer, count = job["producer"], job["count"]
    stream = endless(producer, job["seed"], count + 1)
    records = [next(stream) for _ in range(count)]
    headers = {"Authorization": f"Bearer {job['token']}"}
    latencies: list[float] = []
    async with HttpClient(job["url"], headers=headers, connections=job["connections"]) as client:

        async def one(record: bytes) -> None:
            began = time.perf_counter()
            answer = await client.ask(
                *("POST", "/v1/records"),
                limit=4096,
                seconds=60,
                body=record,
                media_type="application/json",
            )
            if answer.status != 200 or json.loads(answer.body)["count"] != 1:
                raise RuntimeError(f"{answer.status}: {answer.body!r}")
            latencies.append(time.perf_counter() - began)

        async def connection(share: list[bytes]) -> None:
            for record in share:
                await one(record)

        await one(next(stream))
        latencies.clear()
        wait_for_go()
        began = time.perf_counter()
        parts = [records[n :: job["connections"]] for n in range(job["connections"])]
        await asyncio.gather(*(connection(part) for part in parts))
        took = time.perf_counter() - began
    return {"count": count, "seconds": took, "latencies": latencies}


async def gets(job: dict[str, Any]) -> dict[str, Any]:
    """Reads: each path once, over a few connections."""
    paths = job["paths"]
    async with HttpClient(job["url"], headers={}) as client:

        async def connection(share: list[str]) -> None:
            for path in share:
                answer = await client.ask("GET", path, limit=1 << 20, seconds=60)
                if answer.status != 200 or not answer.body:
                    raise RuntimeError(f"{path}: {answer.status}")

        await connection(paths[:10])
        wait_for_go()
        began = time.perf_counter()
        parts = [paths[n :: job["connections"]] for n in range(job["connections"])]
        await asyncio.gather(*(connection(part) for part in parts))
        return {"count": len(paths), "seconds": time.perf_counter() - began}


async def lineage(job: dict[str, Any]) -> dict[str, Any]:
    """A chain of runs, each triggered by the next and authorised by a decision of its own."""
    signer = open_key(job["key"])
    stream = endless(signer.vkey.name, job["seed"] + 1, job["count"])
    records: list[Record] = []
    now = int(time.time() * 1000)
    for number in reversed(range(job["count"])):
        run = Thing(type="run", id=f"chain-{number}")
        decision = json.loads(next(stream))
        decision |= {"response": {"decision": True}, "execution": run.id, "time": now}
        decision.pop("denial", None)
        records.append(convert(decision, Decision))
        aims = {"authorized_by": Thing(type="decision", id=decision["id"])}
        if number + 1 < job["count"]:
            aims["triggered_by"] = Thing(type="run", id=f"chain-{number + 1}")
        for relation, aim in aims.items():
            common = {"v": 1, "time": now, "producer": signer.vkey.name}
            id_ = f"{relation}-{number}"
            records.append(Edge(**common, id=id_, relation=relation, from_=run, to=aim))  # type: ignore[arg-type]
    async with Gateway(job["url"], signer, stream=job["stream"]) as gateway:
        wait_for_go()
        receipts = await gateway.submit(records)
    return {"checks": [(r.index, r.leaf_hash.hex()) for r in receipts[::500]]}


def wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


WORKERS = {
    "lineage": lineage,
    "ingest": ingest,
    "withheld": withheld,
    "lone": lone,
    "single": single,
    "gets": gets,
}


def main() -> None:
    job = json.loads(Path(sys.argv[2]).read_text())
    if "trace" in job:
        atexit.register(write, noted := [], Path(job["trace"]))
        install(GATEWAY, noted)
    Path(job["result"]).write_text(json.dumps(run(WORKERS[sys.argv[1]](job))))
    print(json.dumps({"done": True}), flush=True)


if __name__ == "__main__":
    main()
