"""A mirror of the tests' own (C2SP tlog-mirror), which can be told how to fail; without a disk."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

import rfc6962
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.heads import Head
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.mirrorwire import INFO_CONTENT_TYPE, MAX_PACKAGES, MirrorInfo, UploadReader
from muniment.tlog.note import Signer
from muniment.tlog.proofs import verify_subtree
from muniment.tlog.witnesswire import format_cosignatures
from publishing import extending
from waiting import served

NOW = 1_790_000_000

Fault = Callable[["FakeMirror", str], Awaitable[web.Response | None]]


async def no_fault(_: "FakeMirror", __: str) -> web.Response | None:
    return None


@dataclass(eq=False)
class FakeMirror:
    """What the text asks of a mirror.

    Attributes:
        fault: Called first with each request's path; answers in the mirror's place if it wants to.
        most: Packages that it takes of a request; then it answers 202, as of one cut off.
        forgets: Whether it knows but the newest pending checkpoint.
    """

    name: str
    signers: list[Signer]
    fault: Fault = no_fault
    most: int = MAX_PACKAGES
    url: str = ""
    head: Head = field(default=Head(0, EMPTY_ROOT))
    pending: dict[int, SignedCheckpoint] = field(default_factory=dict)
    leaves: list[bytes] = field(default_factory=list)
    mirrored: int = 0
    packages: int = 0
    codings: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def lines(self) -> str:
        return "".join(
            f"witness {self.name}{i} {signer.vkey} {self.url}\n"
            for i, signer in enumerate(self.signers)
        )

    @property
    def names(self) -> list[str]:
        return [f"{self.name}{i}" for i in range(len(self.signers))]

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.path)
        answer = await self.fault(self, request.path)
        if answer is not None:
            return answer
        body = await request.read()  # without its content coding
        if request.path == "/add-checkpoint":
            return self.add_checkpoint(body)
        if request.path == "/add-entries":
            assert request.headers["Content-Type"] == "application/octet-stream"
            self.codings.append(request.headers.get("Content-Encoding", ""))
            return self.add_entries(body)
        return web.Response(status=404)

    def add_checkpoint(self, body: bytes) -> web.Response:
        signed = extending(self.head, body)
        if isinstance(signed, web.Response):
            return signed
        self.head = signed.checkpoint.head
        self.pending[self.head.size] = signed
        return web.Response(body=b"")

    def info(self, status: int, size: int) -> web.Response:
        told = MirrorInfo(
            size if size in self.pending else self.head.size, len(self.leaves), b"ticket"
        )
        return web.Response(
            status=status, body=told.encode(), headers={"Content-Type": INFO_CONTENT_TYPE}
        )

    def add_entries(self, body: bytes) -> web.Response:
        reader = UploadReader()
        reader.feed(body)
        upload = reader.header()
        end, had = upload.end, len(self.leaves)
        if end not in self.pending or end < self.mirrored or upload.start > len(self.leaves):
            return self.info(409, end)
        root = self.pending[end].checkpoint.root
        taken = 0
        while taken < self.most and (package := reader.package()) is not None:
            place = package.place
            assert place.start <= len(self.leaves)
            entries = [*self.leaves[place.base : place.start], *package.entries]
            subtree = rfc6962.MTH(entries)
            verify_subtree(place.base, place.end, subtree, end, root, package.proof)
            self.leaves[place.start : place.end] = package.entries
            taken += 1
        self.packages += taken
        if not reader.complete or len(self.leaves) < end:
            if len(self.leaves) > had:
                return self.info(202, end)
            return web.Response(status=400)
        self.mirrored = end
        assert rfc6962.MTH(self.leaves[:end]) == root
        note = self.pending[end].note
        lines = [signer.sign(note.text, NOW) for signer in self.signers]
        return web.Response(body=format_cosignatures(lines))


@contextlib.asynccontextmanager
async def serving(*mirrors: FakeMirror, host: str = "127.0.0.1") -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for mirror in mirrors:
            server = web.Server(mirror.handle, access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            mirror.url = await stack.enter_async_context(served(runner, host))
        yield
