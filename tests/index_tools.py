"""What the tests of the index share: records that refer to each other, and a log in memory."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import logsim
from decisions import request
from muniment.errors import Unreachable
from muniment.index.follower import Follower
from muniment.index.reader import IndexReader
from muniment.index.store import IndexStore
from muniment.lineage.facts import FactsHead, MemoryFacts
from muniment.records.api import (
    ENDPOINTS,
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    SignedApproval,
    Target,
    Thing,
    Verification,
    encode_record,
    parse_record,
)
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.encoding import FormatError, frame
from muniment.tlog.heads import Head, Prefix
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.proofs import Plan, nodes_from_tiles, plan_consistency, plan_root
from muniment.tlog.tiles import Tile

ORIGIN = logsim.ORIGIN
PRODUCERS = ("gw.example/a", "gw.example/b")
KEYS = ("auth.example+01234567", "auth.example+89abcdef", "sha256:" + "ab" * 32)
ADDENDA = [sha256(b"%d" % number).hexdigest() for number in range(6)]
NOW = logsim.NOW

MANIFEST = build_batch(
    ORIGIN, logsim.GATEWAY_SIGNER, "s", 0, NO_PREVIOUS, [logsim.decision(0)]
).manifest_note
"""A leaf that is no record."""

ODD = (
    b"",
    b"{}",
    b"\xff\xfe",
    b'{"kind":"decision"}',
    b'{"kind":"surprise","id":"1"}',
    b'{"kind":"edge","id":"1"}',
    b'{"kind":"revocation","id":"1","target":{}}',
    b'{"kind":"erasure","id":"1"}',
    b'{"kind":"erasure","id":"1","digests":["x"]}',
    b'{"id":"1","kind":"outcome","execution":"1"}',
    b'{"kind":"edge","id":"x","from":{"type":"run","id":"1"},"to":{"type":"run","id":"1"}}',
    b'{"kind":"decision","id":"\\u0000","execution":"\\u0000"}',
    b"[" * 60_000,
)
"""Leaves that a log with all its checks would not have taken."""


def approval(random: Random, common: dict[str, Any]) -> SignedApproval:
    """What a person has said of a call, by a signature that nobody looks at."""
    return SignedApproval(
        id=common["id"],
        request="arq-1",
        gateway=common["producer"],
        call=f"sha256:{random.choice(ADDENDA)}",
        decision=random.random() < 0.8,
        approver="alice",
        at=NOW,
        not_after=NOW + 60,
        key=KEYS[0],
        signature="AAAA",
    )


def make_record(random: Random, *, ids: int = 12) -> Record:
    """A valid record about one of a few things, so that records meet."""

    def name() -> str:
        return str(random.randrange(ids))

    common: dict[str, Any] = {
        "v": 1,
        "id": name(),
        "time": NOW * 1000 + random.randrange(10),
        "producer": random.choice(PRODUCERS),
    }
    match random.randrange(10):
        case 0 | 1:
            return Decision(
                **common,
                request=request(name(), resource=("tool", "t")),
                response={"decision": random.random() < 0.8},
                execution=random.choice([None, name()]),
            )
        case 2:
            return Outcome(**common, execution=name(), status="completed")
        case 3:
            return Verification(**common, execution=name(), state="verified", checks=())
        case 4:
            target = random.choice(
                [
                    Target(decision=name()),
                    Target(execution=name()),
                    Target(key=random.choice(KEYS)),
                ]
            )
            return Revocation(**common, target=target, since=NOW, reason="because")
        case 5:
            erased = tuple(sorted(random.sample(ADDENDA, random.randrange(1, 4))))
            return Erasure(**common, digests=erased, by="operator")
        case 6:
            return Approval(**common, approval=approval(random, common))
    relation = random.choice(list(ENDPOINTS))
    sources, targets = ENDPOINTS[relation]
    while True:
        ends = [
            Thing(type=random.choice(sorted(types)), id=name(), **_elsewhere(random))
            for types in (sources, targets)
        ]
        edge = Edge(**common, relation=relation, from_=ends[0], to=ends[1])
        try:
            encode_record(edge)
        except FormatError:
            continue  # from a thing to itself
        return edge


def _elsewhere(random: Random) -> dict[str, Any]:
    if random.random() < 0.7:
        return {}
    origin = random.choice([ORIGIN, "other.example/log"])
    return {"origin": origin, "index": 7, "leaf": "A" * 43 + "="}


def make_entries(random: Random, count: int, *, odd: bool = True) -> list[bytes]:
    """Leaves: records, some manifests, and what no honest log has."""
    entries: list[bytes] = []
    while len(entries) < count:
        chance = random.random()
        if chance < 0.05:
            entries.append(MANIFEST)
        elif odd and chance < 0.1:
            entries.append(random.choice(ODD))
        else:
            entries.append(encode_record(make_record(random)))
    return entries


def known_records(entries: Sequence[bytes]) -> Iterator[tuple[int, Record]]:
    """The valid records, by the parser alone: the naive index."""
    for index, entry in enumerate(entries):
        try:
            yield index, parse_record(entry)
        except FormatError:
            continue


def known_indices(entries: Sequence[bytes]) -> list[int]:
    return [index for index, _ in known_records(entries)]


def naive_facts(entries: Sequence[bytes], size: int) -> MemoryFacts:
    return MemoryFacts(FactsHead(ORIGIN, size, NOW), known_records(entries[:size]))


class MemorySource:
    """A log in memory; public attributes switch its behaviour.

    Attributes:
        entries: Its leaves.
        size: What it has published.
        root: The root that it claims, when not the true one.
        now: When its witnesses cosign, Unix seconds.
        fail: Called before each read with its path; may raise or sleep.
        tampers: Bundle paths that are served as something else.
        reads: Paths read so far.
    """

    def __init__(self, entries: Sequence[bytes], size: int | None = None) -> None:
        self.entries = list(entries)
        self.size = len(entries) if size is None else size
        self.root: bytes | None = None
        self.now = NOW
        self.fail: Callable[[str], None] = lambda _path: None
        self.tampers: dict[str, bytes] = {}
        self.reads: list[str] = []

    async def head(self) -> CosignedCheckpoint:
        self.fail("checkpoint")
        root = root_of(leaf_hashes(self.entries[: self.size])) if self.root is None else self.root
        signers = [logsim.LOG_SIGNER, *logsim.WITNESSES]
        signed = sign_checkpoint(Checkpoint(ORIGIN, self.size, root), signers, self.now)
        return logsim.POLICY.verify(signed)

    async def bundle(self, tile: Tile) -> bytes:
        self.reads.append(tile.path)
        self.fail(tile.path)
        await asyncio.sleep(0)
        return self.tampers.get(tile.path) or frame(self.entries[tile.start : tile.end])

    async def prefix(self, old: int, head: Head) -> Prefix:
        new = head.size
        self.fail("consistency")
        proof, root = plan_consistency(old, new), plan_root(old)
        nodes = (*proof.nodes, *root.nodes)
        tiles = Plan(tuple((node,) for node in nodes)).tiles(new)
        sim = logsim.LogSim(entries=self.entries[:new])
        hashes = nodes_from_tiles(nodes, new, {tile: sim.tile(tile) for tile in tiles})
        return Prefix(root.assemble(hashes)[0], proof.assemble(hashes))


class FailAfter:
    """Fails a read, once, after some others."""

    def __init__(self, reads: int) -> None:
        self.left = reads

    def __call__(self, path: str) -> None:
        if path == "checkpoint":
            return
        self.left -= 1
        if self.left == -1:
            raise Unreachable(f"{path}: the cable is out")


@asynccontextmanager
async def opened(path: Path, *, keeps_bundles: bool = True):
    store = await IndexStore.open(path, keeps_bundles=keeps_bundles)
    try:
        yield store
    finally:
        await store.close()


async def follow(path: Path, source: MemorySource):
    """One round into a replica at a path."""
    async with opened(path) as store:
        return await Follower(store, source).step()


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """The file itself; what was changed in it is committed in the end."""
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


@contextmanager
def reading(path: Path) -> Iterator[IndexReader]:
    with IndexReader(path) as reader:
        yield reader
