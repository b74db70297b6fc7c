"""A log's publisher over witnesses of the tests' own, in one process, without HTTP of the log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

import log_tools
import signing
from log_tools import GatewayStream
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.heads import Head
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import Signer, verify_note
from muniment.tlog.policy import CosignedCheckpoint, Policy, parse_policy
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.witnesswire import (
    SIZE_CONTENT_TYPE,
    format_cosignatures,
    format_size,
    origin_hash,
    parse_add_checkpoint,
)
from muniment_log.core.heads import HeadSigner
from muniment_log.metrics import LogMetrics
from muniment_log.publish.clock import Clock, Timer
from muniment_log.publish.cosigners import CosignerSet
from muniment_log.publish.keeping import CosignedKeeper, Keeping, load_kept
from muniment_log.publish.mirrorclient import MirrorClient, mirror_clients_of
from muniment_log.publish.pace import PublisherLimits
from muniment_log.publish.publisher import Publisher
from muniment_log.publish.rated import RatedWitness
from muniment_log.publish.rollback import COPY, EMPTY, Doubts, PastCheck
from muniment_log.publish.witness import WitnessClient, clients_of, new_session
from muniment_service.metrics import Metrics
from waiting import at_work, served

NOW = 1_790_000_000
ORIGIN = log_tools.ORIGIN
LIMITS = PublisherLimits(round_seconds=0.3, backoff_first_seconds=0.02, backoff_most_seconds=0.05)
PATIENT = 60.0
"""Seconds for a request to a witness that a test holds up: longer than any test."""

Answer = Callable[["FakeWitness", bytes], Awaitable[web.Response]]


def cosigned(witness: "FakeWitness", signed: SignedCheckpoint, now: int = NOW) -> web.Response:
    lines = [signer.sign(signed.note.text, now) for signer in witness.signers]
    return web.Response(body=format_cosignatures(lines))


def conflict(body: bytes) -> web.Response:
    """tlog-witness: 409 with text/x.tlog.size."""
    return web.Response(status=409, body=body, headers={"Content-Type": SIZE_CONTENT_TYPE})


def extending(head: Head, body: bytes) -> SignedCheckpoint | web.Response:
    """The checkpoint of an add-checkpoint that extends a head, or the 409 that tells its size."""
    call = parse_add_checkpoint(body)
    new = call.checkpoint.checkpoint
    verify_note(call.checkpoint.note, [verifier_for(signing.log_signer().vkey)])
    if call.old_size != head.size:
        return conflict(format_size(head.size))
    verify_consistency(call.old_size, head.root, new.size, new.root, call.proof)
    return call.checkpoint


async def honest(witness: "FakeWitness", body: bytes) -> web.Response:
    signed = extending(witness.head, body)
    if isinstance(signed, web.Response):
        return signed
    witness.head = signed.checkpoint.head
    witness.notes.append(signed)
    return cosigned(witness, signed)


def fixed(status: int, body: bytes = b"") -> Answer:
    """Whatever it is asked, a witness answers this."""

    async def answer(_witness: "FakeWitness", _body: bytes) -> web.Response:
        return web.Response(status=status, body=body)

    return answer


down = fixed(503)


async def far_ahead(_witness: "FakeWitness", _body: bytes) -> web.Response:
    return conflict(format_size(2**62))


def after(gate: asyncio.Event) -> Answer:
    """An honest witness that first waits for a gate."""

    async def answer(witness: "FakeWitness", body: bytes) -> web.Response:
        await gate.wait()
        return await honest(witness, body)

    return answer


@dataclass(eq=False)
class FakeWitness:
    name: str
    signers: Sequence[Signer]
    answer: Answer = honest
    head: Head = field(default=Head(0, EMPTY_ROOT))
    notes: list[SignedCheckpoint] = field(default_factory=list)
    requests: int = 0
    shown: bytes | None = None
    url: str = ""
    delay: float = 0.0

    @property
    def lines(self) -> str:
        return "".join(
            f"witness {self.name}{i} {signer.vkey} {self.url}\n"
            for i, signer in enumerate(self.signers)
        )

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path == f"/{origin_hash(ORIGIN)}/checkpoint":
            return web.Response(status=404) if self.shown is None else web.Response(body=self.shown)
        assert request.path == "/add-checkpoint"
        self.requests += 1
        body = await request.read()
        await asyncio.sleep(self.delay)
        return await self.answer(self, body)


@contextlib.asynccontextmanager
async def serving(*witnesses: FakeWitness) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for witness in witnesses:
            server = web.Server(witness.handle, access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            witness.url = await stack.enter_async_context(served(runner))
        yield


def lone(answer: Answer = honest, **options: Any) -> FakeWitness:
    """A witness with an Ed25519 key."""
    return FakeWitness("a", [signing.witness("w.example/a")], answer, **options)


def trio() -> tuple[FakeWitness, FakeWitness, FakeWitness]:
    """One witness with an Ed25519 key, one with ML-DSA-44, one with both."""
    return (
        lone(),
        FakeWitness("b", [signing.witness_mldsa44("w.example/b")]),
        FakeWitness("c", [signing.witness("w.example/c"), signing.witness_mldsa44("w.example/c")]),
    )


def policy_of(*witnesses: FakeWitness, quorum: int = 2) -> Policy:
    text = f"log {signing.log_signer().vkey}\nlog {signing.log_mldsa44().vkey}\n"
    text += "".join(witness.lines for witness in witnesses)
    for witness in witnesses:
        names = " ".join(f"{witness.name}{i}" for i in range(len(witness.signers)))
        text += f"group {witness.name} any {names}\n"
    text += f"group q {quorum} {' '.join(w.name for w in witnesses)}\nquorum q\n"
    return parse_policy(text.encode())


class ManualClock(Clock):
    """Stands still until a test moves it; then the timers that are due call back, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[ManualTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        if seconds <= 0:
            return asyncio.get_running_loop().call_soon(callback)
        timer = ManualTimer(self, self.now + seconds, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= until]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback()
        self.now = until


@dataclass(eq=False)
class ManualTimer:
    clock: ManualClock
    at: float
    callback: Callable[[], object]

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


@dataclass
class Log:
    """A log with a publisher, without HTTP of its own."""

    inner: log_tools.Embedded
    publisher: Publisher
    clients: list[WitnessClient]
    task: asyncio.Task[None]
    policy: Policy | None = None
    stream: GatewayStream = field(default_factory=GatewayStream)
    mirrors: list[MirrorClient] = field(default_factory=list)

    async def add(self, count: int = 1) -> int:
        return (await self.inner.sequencer.submit(self.stream.take(count))).size

    async def wait(self, size: int, seconds: float = PATIENT) -> SignedCheckpoint:
        """Waits until a tree of this size is published, and then for what readers wait for."""
        published = await self.publisher.wait(size, seconds)
        await self.publisher.settled()
        return published

    def verify(self, published: SignedCheckpoint) -> CosignedCheckpoint:
        """What the log's policy says of a head."""
        return self.policy.verify(published, origin=ORIGIN)

    @property
    def shown(self) -> SignedCheckpoint:
        assert self.publisher.published is not None
        return self.publisher.published


@contextlib.asynccontextmanager
async def log_of(
    path: Path,
    policy: Policy | None,
    limits: PublisherLimits = LIMITS,
    *,
    is_held: bool = False,
    start_seconds: float = 2.0,
    request_seconds: float = 2.0,
    clock: Clock | None = None,
    per_day: Mapping[str, int] | None = None,
    keeper: CosignedKeeper | None = None,
    mirrored: CosignedKeeper | None = None,
) -> AsyncIterator[Log]:
    """A log; with `is_held`, one that takes nothing while its witnesses' answers forbid it.

    `per_day` gives witnesses, by URL, rates of their own.
    """
    rates = per_day or {}

    async def cleared() -> None:
        if is_held:
            await doubts.cleared()

    async def keeping(keeper: CosignedKeeper | None) -> Keeping:
        if keeper is None:
            return Keeping()
        return await load_kept(keeper, ORIGIN, inner.tiles, 1 << 62)

    async with (
        log_tools.embedded(path / "log.db", cleared=cleared) as inner,
        new_session(request_seconds) as session,
    ):
        loaded = await inner.store.load()
        every = [] if policy is None else clients_of(policy, session)
        clients = [client for client in every if client.url not in rates]
        rated = [RatedWitness(client, rates[client.url]) for client in every if client.url in rates]
        mirrors = [] if policy is None else mirror_clients_of(policy, session)
        signers = [signing.log_signer(), signing.log_mldsa44()]
        keys = [verifier_for(signer.vkey) for signer in signers]
        past = PastCheck(
            origin=ORIGIN, keys=keys, tiles=inner.tiles, head=lambda: inner.tiles.edge.head
        )
        unproven = "" if loaded.head.size else EMPTY
        if await inner.store.is_copy():
            unproven = COPY
        asked = CosignerSet(policy, clients, rated, mirrors)
        doubts = Doubts(
            check=past,
            cosigners=asked,
            silent=await past.at_start(clients, 2.0),
            seconds=start_seconds,
            unproven=unproven,
        )
        publisher = Publisher(
            signer=HeadSigner(ORIGIN, signers, lambda: NOW, loaded.signed),
            store=inner.store,
            tiles=inner.tiles,
            cosigners=asked,
            metrics=LogMetrics(Metrics("test")),
            limits=limits,
            doubts=doubts,
            head=loaded.head,
            signed=loaded.signed,
            published=loaded.published,
            is_committing=lambda: inner.sequencer.is_busy,
            clock=clock,
            rated_kept=await keeping(keeper),
            mirrors_kept=await keeping(mirrored),
        )
        inner.listener.publisher = publisher
        async with at_work(publisher.run()) as task:
            yield Log(inner, publisher, clients, task, policy, mirrors=mirrors)


@contextlib.asynccontextmanager
async def witnessed(
    path: Path,
    *witnesses: FakeWitness,
    quorum: int = 0,
    limits: PublisherLimits = LIMITS,
    **options: Any,
) -> AsyncIterator[Log]:
    """A log with witnesses that serve as long; its policy asks for two of them, or for the one."""
    async with serving(*witnesses):
        policy = policy_of(*witnesses, quorum=quorum or min(2, len(witnesses)))
        async with log_of(path, policy, limits, **options) as log:
            yield log
