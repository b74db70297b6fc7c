"""A spool keeps what its gateway withholds, until it is sent or erased."""

import json
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from bench import spooled
from logsim import LogSim, lacking_addenda, lines, logged_records, records_of
from muniment.gateway.governed import governed
from muniment.records.addenda import named_digests
from muniment.records.api import parse_record
from muniment.records.commitments import addendum
from secretive import AGENT, PAIR, REQUEST, files_of, secretive, tells_secrets

pytestmark = pytest.mark.usefixtures("fast_retries")


async def test_a_gateway_that_keeps_sends_none_reads_and_erases(tmp_path: Path) -> None:
    sim = LogSim()
    async with spooled(sim, tmp_path, keep="gateway") as gateway:

        @governed(gateway, decide=secretive, subject=AGENT)
        async def send(text: str) -> str:
            return "my secret result"

        await send("a secret")
        await gateway.submit([PAIR])
        await gateway.spool.put([PAIR])
        await gateway.spool.drained()
        assert sim.addenda == {}
        assert not tells_secrets(sim)
        kept = await gateway.spool.kept()
        named = {
            (record["id"], pointer, digest)
            for record in map(json.loads, logged_records(sim))
            for pointer, digest in named_digests(
                parse_record(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
            ).items()
        }
        assert {one.digest for one in kept} == {digest for *_, digest in named}
        assert {(one.record, one.pointer, one.digest) for one in kept} <= named
        assert all("kept" not in one for one in records_of(sim, "decision"))
        for one in kept:
            data = await gateway.spool.addendum(one.digest)
            assert data is not None
            assert (sha256(data).hexdigest(), len(data)) == (one.digest, one.size)
        assert await gateway.spool.addendum("0" * 64) is None
        assert b"secret" in files_of(tmp_path)
        everything = [one.digest for one in kept]
        assert await gateway.spool.erase(["0" * 64], by="dpo") == 0
        count = await gateway.spool.erase([*everything, "0" * 64], by="dpo", reason="asked to")
        assert count == len(kept)
        assert b"secret" not in files_of(tmp_path).lower()
        assert await gateway.spool.kept() == []
        await gateway.spool.drained()
    [erasure] = records_of(sim, "erasure")
    assert erasure["digests"] == sorted(everything)
    assert (erasure["by"], erasure["reason"]) == ("dpo", "asked to")


async def test_addenda_are_kept_before_their_record_leaves(tmp_path: Path) -> None:
    seen: list[int] = []

    def look() -> float:
        """Called when a batch has come to the log, and before it is taken."""
        with sqlite3.connect(tmp_path / "spool") as db:
            seen.extend(db.execute("SELECT count(*) FROM kept").fetchone())
        db.close()
        return 0.0

    sim = LogSim(delay=look)
    async with spooled(sim, tmp_path, keep="gateway") as gateway:
        await gateway.submit([PAIR])
        await gateway.authorize(PAIR)
    assert seen == [3, 6]


async def test_the_next_process_sends_what_the_last_one_left(tmp_path: Path) -> None:
    sim = LogSim()
    async with spooled(sim, tmp_path, keep="log") as gateway:
        sim.script.extend(["drop"] * 1000)  # nothing arrives
        await gateway.spool.put([PAIR, *lines(2), PAIR])
        data = addendum("0" * 32, "a secret")
        call = await gateway.spool.begin(
            {
                "kind": "outcome",
                "execution": "run-1",
                "status": "unknown",
                "inputs": {"arguments": f"sha256:{sha256(data).hexdigest()}"},
            },
            [data],
        )
        assert call == 1
    sim.script.clear()
    async with spooled(sim, tmp_path) as gateway:  # which withholds nothing itself
        await gateway.spool.drained()
    assert len(logged_records(sim)) == 5
    assert lacking_addenda(sim) == set()
    assert sim.addenda[sha256(data).hexdigest()] == data
    assert b"secret" not in files_of(tmp_path)


async def test_a_record_that_the_log_never_takes_keeps_its_addenda(tmp_path: Path) -> None:
    sim = LogSim()
    async with spooled(sim, tmp_path, keep="log") as gateway:
        sim.script.append((422, "bad-addendum", {"addendum": 2}))
        await gateway.spool.put([PAIR, PAIR])
        await gateway.spool.drained()
        assert await gateway.spool.refused() == 1
        assert gateway.spool.pending == 0
    assert len(records_of(sim, "decision")) == 1
    assert lacking_addenda(sim) == set()
    with sqlite3.connect(tmp_path / "spool") as db:
        assert db.execute("SELECT count(*), max(position) FROM addendum").fetchone() == (3, -1)
    db.close()


async def test_addenda_count_for_the_limits_of_the_spool(tmp_path: Path) -> None:
    sim = LogSim()
    long = {**PAIR, "request": {**REQUEST, "context": {"text": "x" * 10_000}}}
    async with spooled(sim, tmp_path, keep="log") as gateway:
        sim.script.extend(["drop"] * 1000)
        spool = gateway.spool
        before = spool.size
        await spool.put([long])
        assert spool.size - before > 10_000
        sim.script.clear()
        await spool.drained()
        assert spool.size == before == 0
