"""Logs of other makers, or that others write to as well: said to be so, accused of nothing."""

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from auditing import OPTIONS, audit
from commands import online
from logsim import GATEWAY_SIGNER, NOW, ORIGIN, POLICY, POLICY_TEXT, LogSim, decision
from muniment.audit import reader
from muniment.audit.auditor import AuditOptions, AuditOutcome
from muniment.audit.report import Verdict
from muniment.audit.statefile import format_state, parse_state
from muniment.errors import BadAnswer, InputError
from muniment.http.logclient import LogClient
from muniment.index.replica import Watched, follow_once
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.staticct import leaves_of
from muniment.tlog.tiles import ENTRIES, Tile, parse_tile_path

pytestmark = pytest.mark.usefixtures("impatient")

TREE = AuditOptions(POLICY, tree_only=True)

OTHERS = [
    b"",
    b"\0",
    b"go.sum database\n",
    b'{"action":"read","v":1}',
    b"muniment",
    b"{}",
    b"[]",
    bytes(range(256)),
    b"x" * 65_500,
]
"""Leaves that other logs may have."""


def kinds(outcome: AuditOutcome) -> list[str]:
    return [finding.kind for finding in outcome.report.findings]


@pytest.mark.parametrize("size", [1, 9, 256, 878])
async def test_a_log_of_another_maker_is_said_to_be_one(size: int) -> None:
    sim = LogSim(entries=[OTHERS[n % len(OTHERS)] + b"%d" % n for n in range(size)])
    if size == 878:
        sim.entries = [b"%d" % n + OTHERS[n % 8] for n in range(size)]
    outcome = await audit(sim)
    report = outcome.report
    assert kinds(outcome) == ["foreign"]
    assert report.verdict is Verdict.UNVERIFIED
    assert (report.foreign, report.records, report.entries) == (size, 0, size)
    assert report.is_tree_verified
    assert "no log of Muniment" in report.findings[0].sentence
    assert not report.is_proven(report.findings[0])
    assert outcome.state is None


async def test_a_log_with_some_leaves_of_others() -> None:
    """Between batches and within them; the batches are still checked."""
    random = Random(7)
    sim = LogSim()
    foreign = 0
    for number in range(40):
        sim.append([decision(number * 30 + k) for k in range(random.randrange(1, 30))])
        for _ in range(random.randrange(4)):
            sim.entries.append(random.choice(OTHERS[:8]) + b"%d" % number)
            foreign += 1
        if number % 10 == 5:  # someone else's leaf comes between records and their manifest
            sim.entries.insert(len(sim.entries) - 1, b"in between %d" % number)
            foreign += 1
    first = next(at for at, one in enumerate(sim.entries) if is_foreign(one))
    outcome = await audit(sim)
    assert kinds(outcome) == ["foreign"]
    assert outcome.report.findings[0].index == first
    assert (outcome.report.foreign, outcome.report.manifests) == (foreign, 40)
    assert outcome.report.records == sim.size - foreign - 40
    assert outcome.report.signatures == 40


def is_foreign(entry: bytes) -> bool:
    return not entry.startswith((b"muniment/", b'{"id"'))


@pytest.mark.parametrize("span", [1, 16])
async def test_however_it_is_cut(span: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SPAN", span)
    sim = LogSim()
    sim.append([decision(k) for k in range(300)])
    sim.entries += [b"other %d" % n for n in range(700)]
    sim.append([decision(k) for k in range(300, 900)])
    outcome = await audit(sim)
    assert kinds(outcome) == ["foreign"]
    assert (outcome.report.foreign, outcome.report.records) == (700, 900)


async def test_what_a_manifest_covers_was_admitted_and_is_a_bad_record() -> None:
    sim = LogSim()
    records = [decision(1), b"nonsense"]
    sim.commit(build_batch(ORIGIN, GATEWAY_SIGNER, "s", 0, NO_PREVIOUS, records))
    outcome = await audit(sim)
    assert kinds(outcome) == ["bad-record"]
    assert outcome.report.verdict is Verdict.MISBEHAVIOUR


async def test_a_mixed_log_is_accused_of_nothing_else() -> None:
    sim = LogSim(entries=[b"other"])
    sim.append([decision(1)], stream="a")
    sim.streams.clear()
    sim.receipts.clear()
    sim.append([decision(1)], stream="a")
    outcome = await audit(sim)
    assert set(kinds(outcome)) == {"stream-fork", "foreign"}
    assert outcome.report.verdict is Verdict.UNVERIFIED


async def test_the_tree_alone() -> None:
    sim = LogSim(entries=[b"%d" % n for n in range(600)])
    first = await audit(sim, options=TREE)
    assert first.report.verdict is Verdict.CLEAN
    assert first.report.is_tree_verified
    assert first.state is not None
    assert parse_state(format_state(first.state)) == first.state
    assert b"tree_only" in format_state(first.state)
    sim.entries += [b"more %d" % n for n in range(100)]
    after = await audit(sim, first.state, TREE)
    assert (after.report.verdict, after.report.entries) == (Verdict.CLEAN, 100)
    with pytest.raises(InputError, match="tree alone"):
        await audit(sim, first.state, OPTIONS)
    ours = LogSim()
    ours.append([decision(1)])
    whole = (await audit(ours)).state
    assert whole is not None
    assert b"tree_only" not in format_state(whole)
    with pytest.raises(InputError, match="one of its own"):
        await audit(ours, whole, TREE)
    sim.overrides[Tile(0, 1).path] = sim.tile(Tile(0, 0))
    assert (await audit(sim, options=TREE)).report.verdict is Verdict.UNVERIFIED


async def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(POLICY_TEXT)
    sim = LogSim(entries=[b"%d" % n for n in range(300)])
    async with sim.serve() as url:
        audit = ("audit", "--log", url, "--policy", str(tmp_path / "policy"))
        told = await online(*audit, code=4)
        assert "PROVEN" not in told.output
        assert "not verified: foreign at entry 0: 300 of the 300 leaves" in told.output
        assert "The root is the checkpoint's." in told.output
        told = await online(*audit, "--tree")
        assert "Rehashed 300 leaves, whatever they are." in told.output
        value = json.loads((await online(*audit, "--tree", "--json")).output)
        assert (value["tree_only"], value["tree_verified"]) == (True, True)


# data tiles of static-ct-api


def entry(number: int, *, size: int = 40) -> tuple[bytes, bytes]:
    """A TileLeaf and its MerkleTreeLeaf, by the specification; odd ones are precertificates."""
    random = Random(number)
    body = random.randbytes(random.randrange(1, size))
    stamp = (NOW * 1000 + number).to_bytes(8)
    extensions = b"\0\x08" + b"\0" + b"\0\x05" + number.to_bytes(5)
    if number % 2:
        signed = stamp + b"\0\1" + random.randbytes(32) + len(body).to_bytes(3) + body + extensions
        rest = len(body).to_bytes(3) + body
    else:
        signed, rest = stamp + b"\0\0" + len(body).to_bytes(3) + body + extensions, b""
    chain = random.randbytes(32 * random.randrange(4))
    return signed + rest + len(chain).to_bytes(2) + chain, b"\0\0" + signed


@dataclass
class Sunlit(LogSim):
    """A log that serves data tiles, and answers 404 for entry bundles as any web server does."""

    tile_leaves: list[bytes] = field(default_factory=list)
    packed: bool = False

    def grow(self, count: int) -> "Sunlit":
        for number in range(self.size, self.size + count):
            tile_leaf, leaf = entry(number)
            self.tile_leaves.append(tile_leaf)
            self.entries.append(leaf)
        return self

    async def read_path(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path.lstrip("/")
        if path.startswith("tile/entries/"):
            return web.Response(status=404, text="404 page not found\n")
        if path.startswith("tile/data/"):
            self.reads.append(path)
            tile = parse_tile_path(path.replace("data", "entries", 1))
            if tile.end > self.size or (self.drops_partial_tiles and tile.is_partial):
                return web.Response(status=404)
            body = b"".join(self.tile_leaves[tile.start : tile.end])
            return web.Response(body=gzip.compress(body, mtime=0) if self.packed else body)
        return await super().read_path(request)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [1, 255, 256, 700])
async def test_data_tiles_are_read(size: int, packed: bool, tmp_path: Path) -> None:
    sim = Sunlit(packed=packed).grow(size)
    outcome = await audit(sim)
    assert kinds(outcome) == ["foreign"]
    assert outcome.report.is_tree_verified
    assert (await audit(sim, options=TREE)).report.verdict is Verdict.CLEAN
    async with sim.serve() as url:
        watched = Watched(url, POLICY)
        done = await follow_once(watched, tmp_path / "replica", progress=lambda *_: None)
    assert (done.checkpoint.size, done.unknown) == (size, size)
    assert not any(path.startswith("tile/entries/") for path in sim.reads)


async def test_a_partial_data_tile_that_is_gone_is_cut_from_the_full_one() -> None:
    sim = Sunlit(drops_partial_tiles=True).grow(512)
    sim.published_size = 300
    assert (await audit(sim, options=TREE)).report.verdict is Verdict.CLEAN


async def test_a_data_tile_that_is_none() -> None:
    sim = Sunlit().grow(10)
    whole = b"".join(sim.tile_leaves)
    assert leaves_of(whole, most=256) == sim.entries
    assert leaves_of(whole, most=3) == sim.entries[:3]
    for cut in range(1, len(whole)):
        try:
            leaves = leaves_of(whole[:cut], most=256)
        except FormatError:
            continue
        assert sum(map(len, sim.tile_leaves[: len(leaves)])) == cut
    for spoiled in (
        whole[:8] + b"\0\2" + whole[10:],
        whole + b"\0",
        sim.tile_leaves[0][:-2] + b"\0\1x",
    ):
        with pytest.raises(FormatError, match="data tile"):
            leaves_of(spoiled, most=256)
    sim.tile_leaves[3] = b"\x1f\x8b"
    async with sim.serve() as url, LogClient(url) as client:
        await client.checkpoint()
        with pytest.raises(BadAnswer, match="data tile"):
            await client.tile(Tile(ENTRIES, 0, 10))
        sim.tile_leaves = [b"\x1f\x8b nonsense"]
        with pytest.raises(BadAnswer, match="tile/data"):
            await client.tile(Tile(ENTRIES, 0, 1))
        big = (NOW * 1000).to_bytes(8) + b"\0\0\x01\0\0" + b"x" * 65_536 + b"\0\0\0\0"
        sim.tile_leaves = [big]
        with pytest.raises(BadAnswer, match="tile/data"):
            await client.tile(Tile(ENTRIES, 0, 1))


async def test_a_log_of_muniment_is_not_asked_for_data_tiles() -> None:
    sim = LogSim()
    sim.append([decision(1)])
    sim.overrides[Tile(ENTRIES, 0, 2).path] = 404
    sim.overrides[Tile(ENTRIES, 0).path] = 404
    async with sim.serve() as url, LogClient(url) as client:
        await client.checkpoint()
        with pytest.raises(Exception, match="behind"):
            await client.tile(Tile(ENTRIES, 0, 2))
    assert not any("data" in path for path in sim.reads)
    assert unframe(sim.tile(Tile(ENTRIES, 0, 2))) == sim.entries
