"""A mirror in this process, beside a witness or alone, and uploads made by the RFC 6962 oracle."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import rfc6962
from clocks import WallClock
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import frame
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.mirrorwire import MirrorInfo, Upload, encode_package, parse_mirror_info
from muniment.tlog.note import Signer, verify_note
from muniment.tlog.tiles import bundles_of, check_bundle, tiles_of
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures
from muniment_service.config import Address
from muniment_service.http import Problem, Request, Response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_witness import app as assembly
from muniment_witness.config import LogOptions, WitnessConfig
from muniment_witness.gossip.net import transport
from muniment_witness.gossip.recompute import Maps
from muniment_witness.judge.decide import KnownLog
from muniment_witness.mirror.mirror import Mirror
from muniment_witness.mirror.table import MirrorConfig, MirrorTable
from muniment_witness.store.database import create
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.mirrordb import MirrorStore, create_mirror
from muniment_witness.witnessfile import LogEntry, WitnessFile
from rawhttp import Body
from waiting import at_work
from witness_tools import WITNESS, GrowingLog, log_signer, witness_signer

MIRROR = "mirror.example/m1"
NOW = 1_700_000_000


@dataclass
class MirrorLog(GrowingLog):
    """A log with what it sends to a mirror."""

    def leaves(self, size: int) -> list[bytes]:
        return list(_leaves(self.fork_at, size))

    def packages(self, start: int, end: int, most: int | None = None) -> list[bytes]:
        """The packages of an upload, or its first so many, each with its proof."""
        places = list(Upload(self.origin, start, end).packages)[:most]
        leaves = self.leaves(end) if places else []
        return [
            encode_package(
                frame(leaves[place.start : place.end]),
                rfc6962.SUBTREE_PROOF(place.base, place.end, leaves),
            )
            for place in places
        ]

    def upload(
        self, start: int, end: int, ticket: bytes = b"", *, packages: int | None = None
    ) -> bytes:
        """A whole request body, or one of its first so many packages."""
        parts = self.packages(start, end, packages)
        return Upload(self.origin, start, end, ticket).encode() + b"".join(parts)


@lru_cache(maxsize=64)
def _leaves(fork_at: int | None, size: int) -> tuple[bytes, ...]:
    at = size if fork_at is None else fork_at
    return tuple(b"leaf %d %d" % (index, index >= at) for index in range(size))


@dataclass
class Running:
    """A mirror that runs in this process."""

    app: App
    mirror: Mirror
    log: MirrorLog
    prefix: str = ""
    answers: list[Response] = field(default_factory=list)

    async def call(
        self, method: str, path: str, body: bytes | Body = b"", **headers: str
    ) -> Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, Body) else Body(body)
        return await self.app.respond(Request(method, path, fields, content))

    async def pend(self, old: int, new: int, log: GrowingLog | None = None) -> Response:
        """Makes a checkpoint pending."""
        body = (log or self.log).request(old, new).encode()
        return await self.call("POST", "/add-checkpoint", body)

    async def send(self, body: bytes | Body, **headers: str) -> Response:
        """Sends an upload."""
        headers = {"Content_Type": "application/octet-stream", **headers}
        return await self.call("POST", "/add-entries", body, **headers)

    async def read(self, path: str, origin: str | None = None) -> Response:
        """Reads at the mirror's monitoring prefix."""
        log = origin_hash(origin or self.log.origin)
        return await self.call("GET", f"/mirror/{log}/{path}")


class Pieces(Body):
    """A body that comes in pieces, each after some turns of the loop, and may then break off."""

    def __init__(self, *pieces: bytes, turns: int = 1, breaks: bool = False) -> None:
        super().__init__(b"".join(pieces))
        self._parts = pieces
        self._turns = turns
        self._breaks = breaks

    async def pieces(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            yield part
        if self._breaks:
            raise Problem(400, "incomplete-body", "the client has gone")


async def check_held(running: Running, log: MirrorLog) -> None:
    """Reads all that a mirror has cosigned of a log, and hashes it anew."""

    async def read(path: str) -> bytes:
        response = await running.read(path, log.origin)
        assert response.status == 200
        return response.body

    note = await read("checkpoint")
    size = int(note.split(b"\n")[1])
    paths = [tile.path for tile in (*bundles_of(0, size, size), *tiles_of(size))]
    check_copy(log, size, {path: await read(path) for path in paths})


def check_copy(log: MirrorLog, size: int, files: Mapping[str, bytes]) -> None:
    """Checks bundles and tiles of a tree, by their paths, against the log's own leaves."""
    leaves: list[bytes] = []
    for tile in bundles_of(0, size, size):
        leaves += check_bundle(tile, files[tile.path])
    assert leaves == log.leaves(size)
    hashes = leaf_hashes(leaves)
    for tile in tiles_of(size):
        width = 1 << 8 * tile.level
        starts = range(tile.start, tile.end, width)
        found = b"".join(root_of(hashes[start : start + width]) for start in starts)
        assert files[tile.path] == found


def info(response: Response, status: int) -> MirrorInfo:
    """The body of a 202 or 409."""
    assert response.status == status, (response.status, response.body)
    assert response.content_type == "text/x.tlog.mirror-info"
    return parse_mirror_info(response.body)


@asynccontextmanager
async def mirror(
    folder: Path,
    log: MirrorLog,
    signers: Sequence[Signer],
    *,
    witness: Sequence[Signer] = (),
    clock: WallClock | None = None,
    more: Sequence[GrowingLog] = (),
    **table: Any,
) -> AsyncIterator[Running]:
    """Runs a mirror of a log in a folder, which may have the files of an earlier one."""
    clock = clock or WallClock(NOW)
    file = WitnessFile(
        name=WITNESS if witness else "",
        listen=Address("127.0.0.1:0"),
        database=folder / "w.db",
        keys=(folder / "w.key",) if witness else (),
        mirror=MirrorTable(
            name=MIRROR, keys=(folder / "m.key",), database=folder / "m.db", **table
        ),
        log=tuple(LogEntry(vkeys=tuple(one.vkeys), origin=one.origin) for one in (log, *more)),
    )
    assert file.mirror is not None
    known = {one.origin: KnownLog(one.origin, one.verifiers) for one in (log, *more)}
    config = WitnessConfig(
        folder / "witness.toml",
        file,
        tuple(witness),
        known,
        {origin: LogOptions() for origin in known},
        (),
        mirror=MirrorConfig(file.mirror, tuple(signers)),
    )
    if not await asyncio.to_thread((folder / "m.db").exists):
        await create_mirror(folder / "m.db", [signer.vkey for signer in signers])
        await create(folder / "w.db", config.owner, "init")
    heads = await HeadStore.open(folder / "w.db", config.owner, cosigns=bool(witness))
    store = await MirrorStore.open(folder / "m.db", [signer.vkey for signer in signers])
    made = Mirror(store, heads, signers, clock)
    await made.follow(config.mirrored)
    async with transport(1.0) as network:
        lasting = assembly.Lasting(
            store=heads,
            transport=network,
            clock=clock,
            maps=Maps(folder / "w.db"),
            mirror=made,
        )
        parts = assembly.build(config, lasting, Metrics("m"))
        try:
            async with at_work(parts.watch.cosigner.run()):
                yield Running(parts.routes, made, log)
        finally:
            await made.close()
            await heads.close()


def mirror_signer(algorithm: str = "ed25519", name: str = MIRROR) -> Signer:
    return witness_signer(algorithm, name)


LOG = MirrorLog(signers=[log_signer(), log_signer(algorithm="mldsa44")])
KEYS = [mirror_signer(), mirror_signer("mldsa44")]


def problem(response: Response) -> tuple[int, str]:
    return response.status, json.loads(response.body)["type"].rpartition(":")[2]


def cosigned(response: Response, size: int) -> None:
    """Checks a 200: cosignatures of every mirror key, and of no other, over the tree."""
    assert response.status == 200, response.body
    lines = parse_cosignatures(response.body)
    assert [(line.name, line.key_id) for line in lines] == [
        (MIRROR, key.vkey.key_id) for key in KEYS
    ]
    note = parse_signed_checkpoint(LOG.checkpoint(size).encode() + response.body).note
    verify_note(note, [verifier_for(key.vkey) for key in KEYS])
