"""A log in memory for the tests of clients: C2SP reads and ``/v1``, built on formats only.

It behaves unless it is told not to: lose replies, delay, refuse, hold early batches back or refuse
them, freeze or roll back its checkpoint, serve wrong tiles, fork its history.
"""

import asyncio
import base64
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bodies import split_body
from muniment.records.addenda import named_digests
from muniment.records.api import Decision, Outcome, RecordError, check_records, parse_record
from muniment.records.manifest import (
    NO_PREVIOUS,
    Batch,
    build_batch,
    parse_batch,
    token_stream,
    verify_batch,
)
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.cosignature import Ed25519Cosigner, verifier_for
from muniment.tlog.encoding import FormatError, VerificationError, frame
from muniment.tlog.merkle import leaf_hash, leaf_hashes, root_of
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policy import Policy, parse_policy
from muniment.tlog.proofs import plan_inclusion
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, parse_tile_path, tile_at
from waiting import served

ORIGIN = "log.example/sim"
GATEWAY = "gw.example/edge"
NOW = 1_790_000_000


def private(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())


LOG_SIGNER = Ed25519Signer(ORIGIN, private(ORIGIN))
GATEWAY_SIGNER = Ed25519Signer(GATEWAY, private(GATEWAY))
WITNESSES = [Ed25519Cosigner(f"witness.example/w{n}", private(f"w{n}")) for n in (1, 2, 3)]
POLICY_TEXT = "".join(
    [
        f"log {LOG_SIGNER.vkey}\n",
        *[f"witness w{n} {witness.vkey}\n" for n, witness in enumerate(WITNESSES, 1)],
        "group majority 2 w1 w2 w3\nquorum majority\n",
    ]
)
POLICY: Policy = parse_policy(POLICY_TEXT.encode())


def decision(number: int, *, producer: str = GATEWAY, decision: bool = True) -> bytes:
    """A valid canonical record."""
    value = {
        "id": f"d-{number}",
        "kind": "decision",
        "producer": producer,
        "request": {
            "action": {"name": "call"},
            "resource": {"id": f"tool-{number % 7}", "type": "tool"},
            "subject": {"id": "agent-1", "type": "agent"},
        },
        "response": {"decision": decision},
        "time": NOW * 1000 + number,
        "v": 1,
    }
    return json.dumps(value, separators=(",", ":")).encode()


def lines(count: int, start: int = 0) -> list[bytes]:
    """AuthZEN pairs as a gateway's user writes them."""
    return [
        json.dumps(
            {
                "request": {
                    "subject": {"type": "agent", "id": "a"},
                    "action": {"name": "call"},
                    "resource": {"type": "tool", "id": f"t-{number}"},
                },
                "response": {"decision": True},
            }
        ).encode()
        for number in range(start, start + count)
    ]


@dataclass
class LogSim:
    """One log. Public attributes are switches for its behaviour."""

    entries: list[bytes] = field(default_factory=list)
    streams: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    receipts: dict[tuple[str, str, int], dict[str, int]] = field(default_factory=dict)
    roots: dict[tuple[str, str, int], tuple[bytes, bytes]] = field(default_factory=dict)
    addenda: dict[str, bytes] = field(default_factory=dict)
    # Behaviour on the write path: what to do with the next batches, first come first served.
    # "lose" commits and drops the connection, "drop" drops it before, (status, problem) refuses.
    script: deque[object] = field(default_factory=deque)
    delay: Callable[[], float] = lambda: 0.0
    holds_early: bool = False
    publishes: bool = True
    # Behaviour on the read path.
    witnesses: Sequence[Ed25519Cosigner] = tuple(WITNESSES)
    frozen: bytes | None = None
    published_size: int | None = None
    overrides: dict[str, bytes | int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    erased: dict[str, int] = field(default_factory=dict)
    drops_partial_tiles: bool = False
    receipt_changes: dict[str, object] = field(default_factory=dict)
    posts: int = 0
    reads: list[str] = field(default_factory=list)
    most_in_flight: int = 0
    _in_flight: int = 0
    _committed: asyncio.Event = field(default_factory=asyncio.Event)

    # The tree

    @property
    def size(self) -> int:
        return len(self.entries)

    def root(self, size: int | None = None) -> bytes:
        return root_of(leaf_hashes(self.entries[: self.size if size is None else size]))

    def checkpoint(
        self, size: int | None = None, *, now: int = NOW, root: bytes | None = None
    ) -> bytes:
        size = self.size if size is None else size
        head = Checkpoint(ORIGIN, size, self.root(size) if root is None else root)
        return sign_checkpoint(head, [LOG_SIGNER, *self.witnesses], now).encode()

    def tile(self, tile: Tile) -> bytes:
        if tile.level == ENTRIES:
            return frame(self.entries[tile.start : tile.end])
        hashes = leaf_hashes(self.entries[tile.start : tile.end])
        span = TILE_WIDTH**tile.level
        return b"".join(root_of(hashes[at : at + span]) for at in range(0, len(hashes), span))

    # Writing

    def append(self, records: Sequence[bytes], *, stream: str = "default") -> None:
        """A batch of the gateway, logged as it should be."""
        first, previous = self.streams.get((GATEWAY, stream), (0, NO_PREVIOUS))
        self.commit(build_batch(ORIGIN, GATEWAY_SIGNER, stream, first, previous, records))

    def append_token(self, records: Sequence[bytes], producer: str) -> None:
        """A batch that the log framed for a client with a token."""
        label = token_stream(producer)
        first, previous = self.streams.get((producer, label), (0, NO_PREVIOUS))
        self.commit(
            build_batch(ORIGIN, LOG_SIGNER, label, first, previous, records, producer=producer)
        )

    def commit(self, batch: Batch) -> dict[str, int]:
        manifest = batch.manifest
        key = (manifest.producer, manifest.stream)
        first = self.size
        self.entries += [*batch.records, batch.manifest_note]
        receipt = {
            "first": first,
            "count": manifest.count,
            "manifest": first + manifest.count,
            "size": self.size,
        }
        self.receipts[(*key, manifest.first)] = receipt
        self.roots[(*key, manifest.first)] = (manifest.root, manifest.previous)
        self.streams[key] = (manifest.next, batch.leaf_hashes[-1])
        self._committed.set()
        self._committed = asyncio.Event()
        return receipt

    # HTTP

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/batches", self._batches)
        app.router.add_get("/{path:.*}", self.read_path)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        async with served(runner) as url:
            yield url

    async def read_path(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path.lstrip("/")
        self.reads.append(path)
        if path in self.damaged:
            kind = "addendum" if path.startswith("addenda/") else "tile"
            return problem(500, f"damaged-{kind}")
        override = self.overrides.get(path)
        if isinstance(override, int):
            return problem(override, "overridden")
        if override is not None:
            return web.Response(body=override)
        if path.startswith("addenda/"):
            digest = path.rpartition("/")[2]
            if digest in self.addenda:
                return web.Response(body=self.addenda[digest])
            if digest in self.erased:
                return problem(410, "erased", record=self.erased[digest])
            return problem(404, "not-found")
        size = self.size if self.published_size is None else self.published_size
        if path == "checkpoint":
            if not self.publishes:
                return problem(404, "not-published-yet")
            return web.Response(body=self.frozen or self.checkpoint(size))
        if path.startswith("v1/streams/"):
            name, _, label = request.match_info["path"].removeprefix("v1/streams/").rpartition("/")
            if name != GATEWAY:
                return problem(404, "unknown-gateway")
            first, manifest = self.streams.get((name, label), (0, NO_PREVIOUS))
            return web.json_response(
                {
                    "gateway": name,
                    "stream": label,
                    "next": first,
                    "manifest": base64.b64encode(manifest).decode(),
                }
            )
        try:
            tile = parse_tile_path(path)
            if self.drops_partial_tiles and tile.is_partial:
                tile_at(tile.level, tile.index, self.size)
                if tile_at(tile.level, tile.index, self.size).width == TILE_WIDTH:
                    return problem(404, "not-found")
            if tile.end > self.size:
                raise ValueError
            return web.Response(body=self.tile(tile))
        except ValueError:
            return problem(404, "not-found")

    async def _batches(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.posts += 1
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(self.delay())
            step = self.script.popleft() if self.script else None
            if step == "drop":
                return self._hang_up(request)
            if isinstance(step, tuple):
                status, slug, *members = step
                return problem(status, slug, **(members[0] if members else {}))
            if step == "garbage":
                return web.Response(body=b"<html>hello from a proxy</html>")
            answer = await self._accept(body)
            if step == "lose":
                return self._hang_up(request)
            if isinstance(answer, web.Response):
                return answer
            receipt: dict[str, object] = {**answer, **self.receipt_changes}
            if request.query.get("wait") == "published":
                if not self.publishes:
                    return problem(503, "not-published", receipt=receipt)
                receipt["published"] = self.published(answer)
            return web.json_response(receipt)
        finally:
            self._in_flight -= 1

    def published(self, receipt: dict[str, int]) -> dict[str, object]:
        size = self.size
        proofs = []
        for index in range(receipt["first"], receipt["manifest"]):
            plan = plan_inclusion(index, size)
            hashes = {}
            for node in plan.nodes:
                start = node.index << node.level
                hashes[node] = self.root_between(start, start + (1 << node.level))
            proofs.append([base64.b64encode(h).decode() for h in plan.assemble(hashes)])
        return {"checkpoint": self.checkpoint(size).decode(), "proofs": proofs}

    def root_between(self, start: int, end: int) -> bytes:
        return root_of(leaf_hashes(self.entries[start:end]))

    async def _accept(self, body: bytes) -> "web.Response | dict[str, int]":
        try:
            framed, addenda = split_body(body)
            batch = parse_batch(framed)
            verify_batch(batch, [verifier_for(GATEWAY_SIGNER.vkey)], origin=ORIGIN)
        except FormatError as error:
            return problem(400, "malformed-batch", detail=str(error))
        except VerificationError as error:
            return problem(403, "bad-signature", detail=str(error))
        manifest = batch.manifest
        key = (manifest.producer, manifest.stream)
        try:
            check_records(batch.records, manifest.producer)
        except RecordError as error:
            return problem(422, "bad-record", entry=error.entry, detail=str(error))
        brought = {sha256(one).hexdigest(): one for one in addenda}
        if len(brought) < len(addenda):
            return problem(422, "bad-addendum", detail="came before in this request")
        if (refusal := self._refusal_of_addenda(batch, brought)) is not None:
            return refusal
        while True:
            expected, previous = self.streams.get(key, (0, NO_PREVIOUS))
            if manifest.first <= expected or not self.holds_early:
                break
            try:
                async with asyncio.timeout(2):
                    await self._committed.wait()
            except TimeoutError:
                break
        if manifest.first > expected:
            return problem(409, "stream-gap", expected=expected)
        if manifest.first < expected:
            known = self.receipts.get((*key, manifest.first))
            if known and self.roots[(*key, manifest.first)] == (manifest.root, manifest.previous):
                return known
            return problem(409, "stream-conflict", first=manifest.first)
        if manifest.previous != previous:
            return problem(409, "stream-conflict", first=manifest.first)
        self.addenda |= brought
        return self.commit(batch)

    def _refusal_of_addenda(self, batch: Batch, brought: dict[str, bytes]) -> web.Response | None:
        records = [parse_record(entry) for entry in batch.records]
        named = {digest for record in records for digest in named_digests(record).values()}
        for number, digest in enumerate(brought):
            if digest not in named:
                return problem(422, "bad-addendum", addendum=number)
        for number, record in enumerate(records):
            if isinstance(record, Decision | Outcome) and record.kept == "log":
                named = {*named_digests(record).values()}
                lacking = named - brought.keys() - self.addenda.keys()
                if lacking:
                    return problem(422, "bad-record", entry=number, detail=min(lacking))
        return None

    @staticmethod
    def _hang_up(request: web.Request) -> web.StreamResponse:
        request.transport.abort()
        return web.Response()


def problem(
    status: int, slug: str, *, retry_after: int | None = None, **members: object
) -> web.Response:
    return web.Response(
        status=status,
        headers={} if retry_after is None else {"Retry-After": str(retry_after)},
        body=json.dumps(
            {"type": f"urn:muniment:problem:{slug}", "title": slug, "status": status, **members}
        ).encode(),
        content_type="application/problem+json",
    )


def jitter(seed: int, most: float) -> Callable[[], float]:
    """Delays in [0, most) seconds, from a seed."""
    source = random.Random(seed)
    return lambda: source.random() * most


def logged_records(sim: LogSim) -> list[bytes]:
    return [entry for entry in sim.entries if entry.startswith(b"{")]


def records_of(sim: LogSim, kind: str) -> list[dict[str, Any]]:
    """The members of the records of a kind that a log has."""
    return [one for one in map(json.loads, logged_records(sim)) if one["kind"] == kind]


def lacking_addenda(sim: LogSim) -> set[str]:
    """The digests that the log's records name, and of which the log has no addendum."""
    found = {
        digest
        for entry in logged_records(sim)
        for digest in named_digests(parse_record(entry)).values()
    }
    return found - sim.addenda.keys()


def hash_of(entry: bytes) -> bytes:
    return leaf_hash(entry)
