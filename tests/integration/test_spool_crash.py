"""The spool through kill -9: whatever `put` has acknowledged is in the log once, in order.

And with it the addenda of what is withheld: with the log, or in the spool's file.
"""

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from logsim import GATEWAY_SIGNER, LogSim, jitter, lacking_addenda, lines, logged_records
from muniment.gateway.gateway import Gateway

TESTS = Path(__file__).resolve().parents[1]

# Puts numbered records as fast as it can, and prints each number once it is on disk. Withholds a
# member of each, if it is told who keeps that.
WRITER = """
import asyncio, json, sys
sys.path.insert(0, {tests!r})
from logsim import GATEWAY_SIGNER, lines
from muniment.gateway.gateway import Gateway

async def main(url, path, number, keep):
    async with Gateway(url, GATEWAY_SIGNER, spool=path, keep=keep or None) as gateway:
        while True:
            records = list(map(json.loads, lines(3, number)))
            for record in records:
                record["request"]["context"] = {{"secret": "s" * 300}}
            await gateway.spool.put(records)
            number += 3
            print(number, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
"""


def numbers(sim: LogSim) -> list[int]:
    return [
        int(json.loads(entry)["request"]["resource"]["id"][2:]) for entry in logged_records(sim)
    ]


@pytest.mark.parametrize(("seed", "keep"), [(1, ""), (2, ""), (3, "log"), (4, "gateway")])
async def test_acknowledged_records_survive_kill_9_exactly_once(
    tmp_path: Path, seed: int, keep: str
) -> None:
    chance = random.Random(seed)
    sim = LogSim(delay=jitter(seed, 0.02))
    path = tmp_path / "spool"
    program = WRITER.format(tests=str(TESTS))
    acknowledged = 0
    async with sim.serve() as url:
        for _ in range(5):
            # Some answers are lost, some batches too.
            sim.script.extend(chance.choices(["lose", "drop", None], k=20))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", program, url, str(path), str(acknowledged), keep),
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
            )
            assert process.stdout is not None
            try:
                first = await asyncio.wait_for(process.stdout.readline(), 60)
                assert first
                await asyncio.sleep(chance.uniform(0.05, 0.6))
            finally:
                process.kill()
                rest = await process.stdout.read()
                await process.wait()
            # The last line may be cut off: then nobody has seen it whole.
            told = [line for line in (first + rest).split(b"\n")[:-1] if line]
            acknowledged = int(told[-1])
            # A put that was not acknowledged may be on disk all the same; the next writer has to
            # go on behind it, as a gateway's user does by never using a number again.
            acknowledged = max(acknowledged, stored(path), *(n + 1 for n in numbers(sim)))
            # What the log has, it has with its addenda, or they are here.
            assert lacking_addenda(sim) <= (kept(path) if keep == "gateway" else set())
        async with Gateway(url, GATEWAY_SIGNER, spool=path) as gateway:
            await gateway.spool.put(lines(1, acknowledged))
            await asyncio.wait_for(gateway.spool.drained(), 60)
            assert gateway.spool.failure is None
    assert numbers(sim) == list(range(acknowledged + 1))
    assert lacking_addenda(sim) <= kept(path)
    assert len(sim.addenda) == (acknowledged if keep == "log" else 0)
    assert len(kept(path)) == (acknowledged if keep == "gateway" else 0)
    if keep:
        assert not any(b"ssss" in entry for entry in logged_records(sim))


def kept(path: Path) -> set[str]:
    """The digests of the addenda that the spool's file keeps."""
    with sqlite3.connect(path) as db:
        found = {digest for (digest,) in db.execute("SELECT digest FROM kept")}
    db.close()
    return found


def stored(path: Path) -> int:
    """The number after the last record in the spool's file."""
    with sqlite3.connect(path) as db:
        row = db.execute("SELECT data FROM entry ORDER BY position DESC LIMIT 1").fetchone()
    db.close()
    return 0 if row is None else int(json.loads(row[0])["request"]["resource"]["id"][2:]) + 1
