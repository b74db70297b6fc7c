"""C2SP tlog-mirror, the log's side: giving one mirror what it lacks, and taking its cosignature.

First the mirror gets a checkpoint (`add-checkpoint`), which it does not sign. Then it gets the
entries up to it (`add-entries`), each package of up to 256 with the proof that it belongs there;
when it has stored all of them it answers with its cosignature. A request may be cut off anywhere:
what the mirror has stored by then it keeps, and its next answer says where to go on.
"""

from __future__ import annotations

import asyncio
import gzip
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from muniment.tlog.addcheckpoint import MAX_ATTEMPTS, ConflictError, WitnessError, excerpt
from muniment.tlog.mirrors import mirrors_of
from muniment.tlog.mirrorwire import (
    INFO_CONTENT_TYPE,
    MAX_PACKAGES,
    Upload,
    encode_package,
    parse_mirror_info,
)
from muniment.tlog.proofs import nodes_from_tiles, plan_subtree, tiles_of_nodes
from muniment_log.errors import LogError
from muniment_log.publish.witness import WitnessClient, asked_pause, by_url, interpreting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from muniment.http.answer import Answer
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.mirrorwire import MirrorInfo, PackageRange
    from muniment.tlog.policy import Policy, PolicyWitness
    from muniment.tlog.treereader import AuthenticTiles
    from muniment_log.publish.witness import Cosigned, Session

UPLOAD_SECONDS: Final = 60.0
"""One request with entries: up to UPLOAD_BYTES, which the mirror stores before it answers."""

UPLOAD_BYTES: Final = 8 << 20
"""A request with more has one package, of 16.8 MB at most: Sunlight refuses from 20 MiB on."""

_READ_TOGETHER: Final = 8
"""Bundles that are read and hashed together, while the event loop does nothing else."""

_COMPRESS_FROM: Final = 1024
_COMPRESSION: Final = 1  # records shrink to a tenth at the fastest level already
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_GOING_ON: Final = frozenset({202, 409})
_ASKING_FOR_TIME: Final = frozenset({429, 503})


class MirrorClient(WitnessClient):
    """One mirror, at one submission URL; `size` is that of the last checkpoint it was given."""

    def __init__(self, session: Session, url: str, mirrors: Sequence[PolicyWitness]) -> None:
        """Takes the policy's mirrors that share this URL."""
        super().__init__(session, url, mirrors)
        self._next: int | None = None  # the first entry that it lacks, when it has told
        # Packing takes longer than carrying it to another process of this machine.
        self._packs = urlsplit(url).hostname not in _LOOPBACK

    async def mirror(
        self,
        signed: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
        tiles: AuthenticTiles,
    ) -> Cosigned:
        """Gives the mirror a checkpoint that the log has signed, and the entries up to it.

        `prove` makes the consistency proof between two sizes, and `tiles` are of a tree that
        contains the checkpoint's. Raises ConflictError if the mirror has a later checkpoint
        already, so that another is to be tried; WitnessError, which says why, if no valid
        cosignature came.
        """
        try:
            await self._add(signed, prove)
            return await self._upload(signed, prove, tiles)
        except BaseException:
            self._next = None  # the next time it is asked what it has
            raise

    async def _add(
        self,
        signed: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
    ) -> None:
        """Makes a checkpoint the mirror's pending one; what it answers may be anything."""
        await self._exchange.add(signed, prove, self._post, lambda _: None)

    async def _upload(
        self,
        signed: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
        tiles: AuthenticTiles,
    ) -> Cosigned:
        end = signed.checkpoint.size
        # An upload of nothing at the end asks what the mirror lacks, and costs little.
        upload = Upload(
            signed.checkpoint.origin, end if self._next is None else min(self._next, end), end
        )
        steps_back = 0
        while True:
            answer = await self._send(await _packages(upload, tiles))
            if answer.status == 200:
                cosigned = self._cosigned(signed, answer.body)
                self._next = end
                return cosigned
            info = _info_of(answer)
            if info.next_entry <= upload.start:
                steps_back += 1
                if steps_back == MAX_ATTEMPTS:
                    raise WitnessError(
                        f"it does not go on: it was sent entries from {upload.start} on, and asks "
                        f"for {info.next_entry}"
                    )
            if info.size > end:
                raise ConflictError(f"it is at a later checkpoint, of {info.size}")
            if info.size < end:  # it does not know this checkpoint any more
                steps_back += 1
                if steps_back >= MAX_ATTEMPTS:
                    raise WitnessError(f"it does not keep the checkpoint of {end}")
                await self._add(signed, prove)
            upload = Upload(upload.origin, min(info.next_entry, end), end, info.ticket)

    async def _send(self, parts: list[bytes]) -> Answer:
        if self._packs and sum(map(len, parts)) >= _COMPRESS_FROM:
            # zlib releases the interpreter lock.
            body, coding = await asyncio.to_thread(_pack, parts), "gzip"
        else:
            body, coding = b"".join(parts), ""
        return await self._ask("POST", "/add-entries", body, seconds=UPLOAD_SECONDS, coding=coding)

    def _cosigned(self, signed: SignedCheckpoint, body: bytes) -> Cosigned:
        with interpreting("answer"):
            return self._check(signed, body)


def mirror_clients_of(policy: Policy, session: Session) -> list[MirrorClient]:
    """One client for each URL of a policy's mirrors; those without a URL cannot be asked."""
    return [MirrorClient(session, url, lines) for url, lines in by_url(mirrors_of(policy)).items()]


def _info_of(answer: Answer) -> MirrorInfo:
    """How to go on after a 202 or 409; for any other answer a WitnessError."""
    if answer.status not in _GOING_ON or answer.media_type != INFO_CONTENT_TYPE:
        pause = asked_pause(answer) if answer.status in _ASKING_FOR_TIME else 0.0
        raise WitnessError(
            f"add-entries: status {answer.status}: {excerpt(answer.body)}", retry_after=pause
        )
    with interpreting("answer"):
        return parse_mirror_info(answer.body)


def _pack(parts: list[bytes]) -> bytes:
    return gzip.compress(b"".join(parts), compresslevel=_COMPRESSION, mtime=0)


async def _packages(upload: Upload, tiles: AuthenticTiles) -> list[bytes]:
    """The body of a request: as many packages as one should have, each with its proof."""
    parts = [upload.encode()]
    places = list(islice(upload.packages, MAX_PACKAGES))
    size, count = 0, 1
    try:
        while places:
            some, places = places[:count], places[count:]
            for package in await _read(some, upload.end, tiles):
                if size and size + len(package) > UPLOAD_BYTES:
                    return parts
                parts.append(package)
                size += len(package)
            count = min(2 * count, _READ_TOGETHER)
            await asyncio.sleep(0)
    except LogError as error:
        raise WitnessError(f"it could not be given what it lacks: {error}") from error
    return parts


async def _read(places: Sequence[PackageRange], size: int, tiles: AuthenticTiles) -> list[bytes]:
    """Packages of the tree of `size`, in one round to the storage."""
    plans = [plan_subtree(place.base, place.end, size) for place in places]
    nodes = tuple(dict.fromkeys(node for plan in plans for node in plan.nodes))
    bundles = [place.bundle for place in places]
    found = await tiles.read([*bundles, *tiles_of_nodes(nodes, size)])
    hashes = nodes_from_tiles(nodes, size, found)
    return [
        encode_package(_without(found[bundle], place.start - place.base), plan.assemble(hashes))
        for place, bundle, plan in zip(places, bundles, plans, strict=True)
    ]


def _without(bundle: bytes, count: int) -> bytes:
    """A bundle without its first entries, which the mirror has."""
    at = 0
    for _ in range(count):
        at += 2 + int.from_bytes(bundle[at : at + 2], "big")
    return bundle[at:]
