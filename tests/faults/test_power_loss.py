"""Power loss: every disk state that a power cut could leave of a real process is opened and judged.

A log and a witness run for real, with a small write-ahead log so that checkpoints of it happen;
their file operations and everything that they send are recorded. Before each operation the states
are built that a power cut could leave there (see `faults.disk`), and each must hold all that had
been told by then. MUNIMENT_POWER_SAMPLES is how many random states are tried at each point; with
10, a few minutes.
"""

import asyncio
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

import decisions
import log_tools
import processes
from bodies import split_body
from faults import launch, strace, witnessstate
from faults.cuts import Cuts
from faults.logstate import Found, History, look
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, Deployment, Stream, ask, deployed, leaves_of
from log_load import withholding
from log_tools import all_entries
from muniment.records.batchbody import join_body
from muniment.records.manifest import MANIFEST, parse_batch
from muniment_log.core.naming import digests_of

# Hundreds of states are opened, each with files of its own: a minute alone on a machine.
pytestmark = pytest.mark.timeout(900)

SAMPLES = int(os.environ.get("MUNIMENT_POWER_SAMPLES", "1"))
PAGES = 32
"""Pages of the write-ahead log until a checkpoint."""

GO_ON_EVERY = 40
"""One in so many states is also gone on with."""

_RECEIPT = re.compile(rb'"manifest":(\d+),"size":(\d+)')
_ERASED = re.compile(rb'"records":\[(\d+)\],"is_clean":true')
ERASURE = b'"kind":"erasure"'
_OWN = re.compile(rb'"kind":"erasure"|\n%b token:' % re.escape(ORIGIN.encode()))
_HEAD = re.compile(
    ORIGIN.encode() + rb"(?:\n|\\n)(\d+)(?:\n|\\n)[A-Za-z0-9+/]{43}=(?:\n|\\n)(?:\n|\\n)"
)


@dataclass
class Recorded:
    """A run of the log.

    Attributes:
        trace: its calls.
        history: its leaves in the end.
        named: the digests of the addenda that each leaf names.
        erasures: the digests of the addenda that each leaf says to be erased.
        addenda: all that were sent, by digest.
        sent: each batch, as sent, and the index that its receipt gave it.
        made: the database before it, in the place where the log finds it.
    """

    trace: list[strace.Call] = field(default_factory=list)
    history: History = field(default_factory=lambda: History([]))
    named: list[frozenset[bytes]] = field(default_factory=list[frozenset[bytes]])
    erasures: list[frozenset[bytes]] = field(default_factory=list[frozenset[bytes]])
    addenda: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    sent: list[tuple[bytes, int]] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)

    def post(self, made: Deployment, body: bytes, query: str = "") -> None:
        answer = made.post(body, query)
        assert answer.status == 200, answer.body
        self.sent.append((body, answer.json["first"]))
        self.addenda |= {sha256(data).digest(): data for data in split_body(body)[1]}

    def drive(self, made: Deployment, streams: list[Stream], seed: int) -> None:
        """Commits of all sizes, alone and together, waiting for publication or not."""
        records = decisions.decisions(260, seed, producer=GATEWAY)
        at = 0
        for turn, count in enumerate([1, 20, 30, 1, 60, 1]):
            some, addenda = records[at : at + count], list[bytes]()
            at += count
            if turn % 2:
                some, addenda = withholding(some, 1000 * seed + at)
            body = join_body(streams[turn % 2].take(some), addenda)
            self.post(made, body, PUBLISHED if turn % 3 == 0 else "")
            if turn == 3:
                assert ask(f"{made.url}/checkpoint").status == 200
        with ThreadPoolExecutor(3) as together:
            parts = [
                withholding(records[at + 20 * n :][:20], 1000 * seed + 500 + 20 * n)
                for n in range(3)
            ]
            bodies = [
                join_body(stream.take(some), addenda)
                for stream, (some, addenda) in zip(streams, parts, strict=True)
            ]
            list(together.map(lambda body: self.post(made, body), bodies))
        withheld = next(first for body, first in self.sent[-3:] if split_body(body)[1])
        erase = processes.muniment_log(
            "erase", "--config", made.config, "--record", withheld, "--yes"
        )
        assert "Erased 1 addenda" in processes.run(erase, code=0).stdout
        self.post(made, made.stream().take(records[:1]), PUBLISHED)

    def read_leaves(self, made: Deployment) -> None:
        size = int(ask(f"{made.url}/checkpoint").body.split(b"\n")[1])
        self.history = History(leaves_of(made.url, size))
        self.named = [
            frozenset(() if leaf.startswith(MANIFEST) else digests_of(leaf))
            for leaf in self.history.leaves
        ]
        self.erasures = [
            frozenset(map(bytes.fromhex, json.loads(leaf)["digests"] if ERASURE in leaf else ()))
            for leaf in self.history.leaves
        ]


def record_log(folder: Path) -> Recorded:
    """Runs a new log twice, from its first breath to a clean stop."""
    recorded = Recorded()
    with deployed(folder) as made:
        made.log.terminate()
        home = made.folder / "log"
        for old in home.glob("log.db*"):
            old.unlink()
        processes.run(processes.muniment_log("new-database", "--config", made.config), code=0)
        recorded.made = {str(home / "log.db"): (home / "log.db").read_bytes()}
        streams = [made.stream() for _ in range(3)]
        for run in range(2):
            output = folder / f"trace{run}"
            argv = launch.command(PAGES, "muniment_log.cli", "serve", "--config", made.config)
            made.log = processes.start(
                strace.recording(output, argv), environment=launch.environment()
            )
            recorded.drive(made, streams, run)
            recorded.read_leaves(made)
            assert made.log.terminate() == 0
            recorded.trace += strace.read(output, home)
    return recorded


@dataclass
class ToldByLog:
    """What the world knows of a log: sizes of trees, -1 for no head."""

    named: list[frozenset[bytes]]
    erasures: list[frozenset[bytes]]
    durable: int = 0
    signed: int = -1
    published: int = -1
    erased: int = 0
    heads: list[int] = field(default_factory=list)

    def hear(self, data: bytes) -> None:
        for receipt in _RECEIPT.finditer(data):
            self.durable = max(self.durable, int(receipt[2]))
        for done in _ERASED.finditer(data):
            self.erased = max(self.erased, int(done[1]) + 1)
        for head in _HEAD.finditer(data):
            size = int(head[1])
            self.signed = max(self.signed, size)
            self.heads.append(size)
            # A proof in an answer, where line ends are escaped, rests on the signed head; what is
            # read from the log, on the published one.
            if data.startswith(b"HTTP/1.1 200") and b"\n%d\n" % size in head[0]:
                self.published = max(self.published, size)

    def judge(self, found: Found) -> None:
        assert found.size >= self.durable, "an acknowledged record is missing"
        assert found.size >= found.signed >= self.signed, "a head that was shown is lost"
        assert found.published >= self.published, "the published head went back"
        assert found.addenda >= frozenset[bytes]().union(*self.named[: self.durable]), (
            "an acknowledged record has lost its addendum"
        )
        assert found.addenda <= frozenset[bytes]().union(*self.named[: found.size]), (
            "an addendum without a record outlived a start"
        )
        erased = frozenset[bytes]().union(*self.erasures[: found.size])
        assert not found.readable & erased, "an addendum outlived its erasure"
        assert found.addenda <= found.readable | erased, "an addendum went without an erasure"
        assert self.erased <= found.size, "an erasure that was acknowledged is lost"


async def goes_on(path: Path, recorded: Recorded) -> None:
    """The gateways send all they ever sent again, and every batch is there exactly once."""
    async with log_tools.embedded(path) as log:
        before = log.head.size
        for body, first in recorded.sent:
            batch = parse_batch(split_body(body)[0])
            receipt = await log.sequencer.submit(batch)
            if first < before:
                assert receipt.first == first
        size = log.head.size
        leaves = await all_entries(log.tiles, size)
    assert leaves[:before] == recorded.history.leaves[:before]
    # What the log itself had not logged by then, nobody sends again.
    there = [leaf for leaf in leaves if not _OWN.search(leaf)]
    assert sorted(there) == sorted(
        leaf for leaf in recorded.history.leaves if not _OWN.search(leaf)
    )


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_log_keeps_its_word_through_any_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strace.needed()
    # As long as it was for the process: each start would write 32 MiB of zeros.
    for module in launch.WAL_OF["muniment_log.cli"]:
        monkeypatch.setattr(f"{module}.WAL_PAGES", PAGES)
    recorded = await asyncio.to_thread(record_log, tmp_path)
    checkpoints = sum(
        call.name == "sync" and call.path.endswith("log.db") for call in recorded.trace
    )
    assert checkpoints >= 4
    told = ToldByLog(recorded.named, recorded.erasures)
    opened = 0

    async def open_it(folder: Path) -> Found:
        nonlocal opened
        opened += 1
        path = folder / "log.db"
        found = await look(path, recorded.history, sorted(set(told.heads[-2:])))
        there = on_disk(folder)
        for digest in frozenset[bytes]().union(*recorded.erasures[: found.size]):
            assert recorded.addenda[digest] not in there, "the bytes outlived their erasure"
        if opened % GO_ON_EVERY == 0:
            await goes_on(path, recorded)
        return found

    cuts = Cuts(told.hear, open_it, told.judge, SAMPLES, recorded.made)
    counts = await cuts.run(recorded.trace, seed=6)
    assert told.durable == len(recorded.history.leaves)
    assert told.erased
    assert counts.opened > 500, counts


async def test_witness_keeps_its_word_through_any_power_cut(tmp_path: Path) -> None:
    strace.needed()
    recorded = await asyncio.to_thread(witnessstate.record, tmp_path, PAGES)
    checkpoints = sum(
        call.name == "sync" and call.path.endswith("witness.db") for call in recorded.trace
    )
    assert checkpoints >= 3
    told = witnessstate.Told(recorded)

    async def open_it(folder: Path) -> witnessstate.Found:
        return await witnessstate.look(folder / "witness.db", recorded)

    cuts = Cuts(told.hear, open_it, told.judge, SAMPLES, recorded.made)
    counts = await cuts.run(recorded.trace, seed=6)
    assert told.size == recorded.sizes[-1]
    assert counts.opened > 500, counts
