"""Power loss under a gateway's spool that keeps addenda: what it has told is there whatever is cut.

A process really puts records that withhold a member into a spool; its file operations are recorded,
and every disk state that a power cut could leave is opened, see `faults.disk`.
"""

import asyncio
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from faults import strace
from faults.cuts import Cuts
from logsim import GATEWAY_SIGNER, LogSim, lacking_addenda, logged_records
from muniment.gateway.gateway import Gateway

pytestmark = pytest.mark.timeout(600)

TESTS = Path(__file__).resolve().parents[1]
PUTS = 12
PER_PUT = 2

# Says over a socket, which is recorded, how many records are acknowledged.
PROGRAM = """
import asyncio, json, socket, sys
sys.path.insert(0, {tests!r})
from logsim import GATEWAY_SIGNER, lines
from muniment.gateway.gateway import Gateway

async def main(url, path, keep):
    mine, other = socket.socketpair()
    async with Gateway(url, GATEWAY_SIGNER, spool=path, keep=keep) as gateway:
        for number in range(0, {puts} * {per_put}, {per_put}):
            records = list(map(json.loads, lines({per_put}, number)))
            for at, record in enumerate(records):
                record["id"] = f"r-{{number + at}}"
                record["request"]["context"] = {{"secret": "s" * 300}}
            await gateway.spool.put(records)
            mine.send(b"<put %d>" % (number + {per_put}))
            other.recv(100)
        await asyncio.wait_for(gateway.spool.drained(), 60)

asyncio.run(main(*sys.argv[1:]))
"""

_PUT = re.compile(rb"<put (\d+)>")
_ID = re.compile(rb'"id":"(r-\d+)"')
_DIGEST = re.compile(rb'"addenda":\{"/request/context":"([0-9a-f]{64})"')


@dataclass
class Found:
    """What a spool's file holds after the cut.

    Attributes:
        waiting: the ids of the records that wait to be sent.
        named: the digests that these name.
        to_send: of the addenda that go with them.
        kept: of those that the spool keeps.
    """

    waiting: set[bytes] = field(default_factory=set[bytes])
    named: set[str] = field(default_factory=set[str])
    to_send: set[str] = field(default_factory=set[str])
    kept: set[str] = field(default_factory=set[str])


def digest_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def look(folder: Path) -> Found:
    found = Found()
    path = folder / "it.spool"
    if not path.exists():
        return found
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        if "entry" not in tables:
            return found
        for (data,) in db.execute("SELECT data FROM entry"):
            found.waiting |= set(_ID.findall(data))
            found.named |= {digest.decode() for digest in _DIGEST.findall(data)}
        found.to_send = {digest_of(data) for (data,) in db.execute("SELECT data FROM addendum")}
        found.kept = {digest_of(data) for (data,) in db.execute("SELECT data FROM kept")}
    return found


@dataclass
class Told:
    """What the world knows: how many are acknowledged, and which records and digests left."""

    keep: str
    put: int = 0
    sent: set[bytes] = field(default_factory=set[bytes])
    named: set[str] = field(default_factory=set[str])

    def hear(self, data: bytes) -> None:
        for put in _PUT.finditer(data):
            self.put = int(put[1])
        self.sent |= set(_ID.findall(data))
        self.named |= {digest.decode() for digest in _DIGEST.findall(data)}

    def judge(self, found: Found) -> None:
        acknowledged = {b"r-%d" % number for number in range(self.put)}
        assert acknowledged <= found.waiting | self.sent, "an acknowledged record is lost"
        there = found.to_send if self.keep == "log" else found.kept
        assert found.named <= there, "a record waits without its addendum"
        if self.keep == "gateway":
            assert self.named <= found.kept, "a record has left before its addendum was on disk"


@pytest.mark.parametrize("keep", ["log", "gateway"])
@pytest.mark.parametrize("is_lossy", [True, False])
async def test_spool_keeps_its_word_through_any_power_cut(
    tmp_path: Path, keep: str, *, is_lossy: bool
) -> None:
    strace.needed()
    folder, output = tmp_path / "spool", tmp_path / "trace"
    folder.mkdir()
    program = PROGRAM.format(tests=str(TESTS), puts=PUTS, per_put=PER_PUT)
    sim = LogSim()
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, spool=folder / "it.spool"):
            pass  # makes the file, and the salt beside it
        there = {str(file): file.read_bytes() for file in folder.iterdir()}
        if is_lossy:  # some answers are lost, some batches too
            sim.script.extend(["lose", "drop", None] * 4)
        argv = [sys.executable, "-c", program, url, str(folder / "it.spool"), keep]
        process = await asyncio.create_subprocess_exec(
            *strace.recording(output, argv), stdin=subprocess.DEVNULL
        )
        assert await process.wait() == 0
    trace = strace.read(output, folder)
    told = Told(keep)

    async def open_it(place: Path) -> Found:
        return look(place)

    counts = await Cuts(told.hear, open_it, told.judge, samples=1, there=there).run(trace, seed=15)
    assert told.put == PUTS * PER_PUT
    assert counts.opened > 20, counts
    assert len(logged_records(sim)) == len(told.named) == PUTS * PER_PUT
    assert lacking_addenda(sim) == (set() if keep == "log" else told.named)
