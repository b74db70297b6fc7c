"""The map: how fast it takes decisions at a size, what proofs cost, and torchwood's tree beside it.

torchwood's package carries a tag that keeps it out of builds. A copy without the tag is built, from
the Go module proxy's source at the version that `mpt/go.mod` pins; both sides take the same keys in
the same batches, in turn, and must come to the same root.
"""

import asyncio
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from benchmark.beside import go, in_turn, ratios
from benchmark.indexlog import index_log
from benchmark.load import endless
from benchmark.options import Options
from benchmark.rig import BenchError
from muniment.map.mapfile import MapFile
from muniment.map.reader import MapReader
from muniment.records.touched import map_key
from muniment.tlog.mpt import verify_many

ORIGIN: Final = "log.example/bench"
BATCH: Final = 20_000
"""Leaves in one batch: two seconds of ten thousand decisions each."""

REVOKED: Final = 1_000
SUBJECTS: Final = 5_000
PROOFS: Final = 300
SOURCE: Final = Path(__file__).parent / "mpt"


def complete(options: Options) -> dict[str, Any]:
    """All figures; those beside torchwood need Go."""
    with tempfile.TemporaryDirectory(prefix="muniment-complete-") as place:
        path = Path(place) / "map.db"
        filled = _child("fill", path, options.records, options.seed)
        return {
            "map": filled,
            "chain of four, revocations": _proofs(path, options, _status),
            "chain of four, and all of its lineage": _proofs(path, options, _lineage),
            "index log": index_log(options),
            "beside torchwood": _beside(Path(place), options),
        }


def _child(*arguments: object) -> dict[str, Any]:
    """Runs a part in a process of its own, whose memory is its alone."""
    argv = [sys.executable, "-m", "benchmark.complete", *map(str, arguments)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _records(seed: int) -> Iterator[bytes]:
    """Decisions on runs of their own, of some thousand agents; a thousand revocations first."""
    random = Random(seed)
    for number in range(REVOKED):
        yield (
            b'{"id":"r%d","kind":"revocation","producer":"gw.example","reason":"x","since":1,'
            b'"target":{"execution":"gone-%d"},"time":1,"v":1}' % (number, number)
        )
    one = next(one for one in endless("gw.example/bench", seed, 100) if b'"execution":' in one)
    run = re.findall(rb'"execution":"([^"]*)"', one)[0]
    agent = re.findall(rb'agent/\d+"', one)[0]
    number = 0
    while True:
        mine = one.replace(run, b"run-%d" % number, 1)
        yield mine.replace(agent, b'agent/%d"' % random.randrange(SUBJECTS), 1)
        number += 1


async def _fill(path: Path, records: int, seed: int) -> dict[str, Any]:
    """Fills a map; the rate is that of the last tenth."""
    map_ = await MapFile.open(path, ORIGIN)
    made, took, used = _records(seed), 0.0, 0.0
    late = 0
    while map_.size < records:
        leaves = [next(made) for _ in range(min(BATCH, records - map_.size))]
        began, cpu = time.perf_counter(), time.process_time()
        await map_.apply(map_.size, leaves)
        if map_.size > records * 0.9:
            late += len(leaves)
            took += time.perf_counter() - began
            used += time.process_time() - cpu
    await map_.close()
    began = time.perf_counter()
    map_ = await MapFile.open(path, ORIGIN)
    await map_.apply(map_.size, [next(made)])
    opened = time.perf_counter() - began
    await map_.close()
    return {
        "leaves": records,
        "rate_per_s": round(late / took),
        "cpu_us_per_leaf": round(used / late * 1e6, 1),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "file_mb": os.stat(path).st_size >> 20,  # noqa: PTH116 - pathlib would seem to block
        "open_s": round(opened, 1),
    }


def _status(chain: Sequence[str]) -> list[bytes]:
    """What a runtime asks again and again: that of the chain, and its keys, nothing is revoked."""
    keys = [map_key("revocations", f"execution\0{run}") for run in chain]
    keys += [map_key("revocations", f"decision\0decision-{run}") for run in chain]
    keys += [map_key("revocations", f"key_name\0{name}") for name in ("gw.example", ORIGIN)]
    return keys


def _lineage(chain: Sequence[str]) -> list[bytes]:
    """That, and that no other records are about the runs, and no delegations of their agents."""
    keys = [map_key("execution", run) for run in chain]
    keys += [map_key("from", f"agent\0agent-{number}") for number in range(4)]
    return [*keys, *_status(chain)]


def _proofs(
    path: Path, options: Options, keys_of: Callable[[Sequence[str]], list[bytes]]
) -> dict[str, Any]:
    random = Random(options.seed)
    made: list[float] = []
    verified: list[float] = []
    sizes: list[int] = []
    keys: list[bytes] = []
    with MapReader(path) as reader:
        for _ in range(PROOFS):
            runs = options.records - REVOKED
            keys = keys_of([f"run-{random.randrange(runs)}" for _ in range(4)])
            began = time.perf_counter()
            values, proof = reader.prove_many(keys)
            made.append(time.perf_counter() - began)
            began = time.perf_counter()
            verify_many(reader.root, values, proof)
            verified.append(time.perf_counter() - began)
            sizes.append(len(proof))
    return {
        "keys": len(keys),
        "proof_bytes": round(statistics.median(sizes)),
        "proof_bytes_most": max(sizes),
        "made_ms": round(statistics.median(made) * 1e3, 2),
        "made_ms_p99": round(statistics.quantiles(made, n=100)[98] * 1e3, 2),
        "verified_ms": round(statistics.median(verified) * 1e3, 3),
    }


def _build(place: Path) -> Path:
    """Builds the program over a copy of torchwood's package, without the tag that forbids it."""
    folder = place / "source"
    shutil.copytree(SOURCE, folder)
    run = partial(go, folder, modules="mod")
    found = json.loads(run("mod", "download", "-json", "filippo.io/torchwood"))
    run("mod", "download", "golang.org/x/sys")
    original = Path(found["Dir"]) / "mpt"
    for source in original.rglob("*.go"):
        to = folder / "mpt" / source.relative_to(original)
        if source.name.endswith("_test.go") or source.name == "mptload.go" or "testdata" in str(to):
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text().replace("//go:build ignore\n", "")
        to.write_text(text.replace("filippo.io/torchwood/mpt", "muniment.example/bench/mpt"))
    run("build", "-o", str(place / "torchwood-mpt"), ".")
    return place / "torchwood-mpt"


def _beside(place: Path, options: Options) -> dict[str, Any]:
    """Both trees take the same new keys in the same batches, round by round."""
    program = _build(place)
    keys = min(options.records, 100_000 if options.quick else 1_000_000)
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for number in range(2 if options.quick else 3):
        folder = place / f"round-{number}"
        folder.mkdir()

        def other(folder: Path = folder) -> None:
            argv = [str(program), str(folder), str(keys), str(BATCH), "1000"]
            done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
            theirs.append(json.loads(done.stdout))

        def own(folder: Path = folder) -> None:
            ours.append(_child("sets", folder / "map.db", keys))

        in_turn(number, own, other)
        shutil.rmtree(folder)
        if ours[-1]["root"] != theirs[-1]["root"]:
            raise BenchError("the two trees do not have one root")
    found: dict[str, Any] = {"keys": keys, "keys_a_batch": BATCH}
    for row in ("sets_per_s", "cpu_us", "prove_us", "verify_us"):
        mine, others = [one[row] for one in ours], [one[row] for one in theirs]
        better = ratios(mine, others, more_is_better=row == "sets_per_s")
        found[row] = {
            "muniment": round(statistics.median(mine), 1),
            "torchwood": round(statistics.median(others), 1),
            "ratio": round(statistics.median(better), 3),
        }
    return found


async def _sets(path: Path, keys: int) -> dict[str, Any]:
    map_ = await MapFile.open(path, ORIGIN)
    began, used = time.perf_counter(), time.process_time()
    for first in range(0, keys, BATCH):
        leaves = [
            b'{"execution":"run-%d","id":"%d","kind":"outcome"}' % (number, number)
            for number in range(first, min(first + BATCH, keys))
        ]
        await map_.apply(first, leaves)
    took, cpu = time.perf_counter() - began, time.process_time() - used
    await map_.close()
    asked = [map_key("execution", f"run-{number * (keys // 1000)}") for number in range(1000)]
    with MapReader(path) as reader:
        began = time.perf_counter()
        proofs = [reader.prove_many([key]) for key in asked]
        proving = time.perf_counter() - began
        began = time.perf_counter()
        for values, proof in proofs:
            verify_many(reader.root, values, proof)
        verifying = time.perf_counter() - began
        root = reader.root.hex()
    return {
        "sets_per_s": keys / took,
        "cpu_us": cpu / keys * 1e6,
        "prove_us": proving / len(asked) * 1e6,
        "verify_us": verifying / len(asked) * 1e6,
        "root": root,
    }


def _main(part: str, path: str, count: str, seed: str = "1") -> None:
    if part == "fill":
        found = asyncio.run(_fill(Path(path), int(count), int(seed)))
    else:
        found = asyncio.run(_sets(Path(path), int(count)))
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
