"""An index is cosigned only when this witness has computed the same one.

For an index log with ``recompute``, the witness follows the leaves of the log that it is about,
into a map of its own, and compares each new leaf of the index with that before it cosigns the head
that holds it. A leaf with another map root becomes evidence against the log's key. Until the map
has caught up, nothing is cosigned, and the log asks again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from muniment.local.logs import event
from muniment.local.sqliteerrors import InUseError, UnwritableError
from muniment.local.sqlitefile import DatabaseError
from muniment.map.mapfile import MapFile, forget_map
from muniment.map.recompute import Recomputer, Wrong, about
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.evidence import WrongMapRoot, key_name, strip
from muniment.tlog.heads import Head
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import Fetch, TreeTiles, read_prefix
from muniment.tlog.witnesswire import origin_hash
from muniment_service.http import Problem
from muniment_witness.gossip.evidence import EvidenceArchive
from muniment_witness.gossip.shared import Shared
from muniment_witness.gossip.tiles import TileReader
from muniment_witness.judge.decide import Authentic
from muniment_witness.store.compared import ComparedHeads

WAIT_SECONDS: Final = 2.0
"""How long a request waits for the map; then it is told to come back."""

_LOGGER: Final = logging.getLogger(__name__)

_Compare = Callable[[MapFile], Awaitable[Wrong | None]]


class Maps:
    """The maps of a witness, by the origin of the log; they outlive a change of configuration."""

    def __init__(self, database: Path) -> None:
        """Takes the witness's database, beside which the maps are."""
        self._database = database
        self.compared: Final = ComparedHeads(database)
        self._maps: dict[str, MapFile] = {}
        self._work: dict[str, asyncio.Task[Wrong | None]] = {}

    def path(self, origin: str) -> Path:
        """Where the map of a log is."""
        return self._database.with_name(f"{self._database.name}.map-{origin_hash(origin)[:16]}")

    async def compare(self, origin: str, compare: _Compare) -> Wrong | None:
        """Compares by a log's map, in a task that goes on when nobody waits for it any more.

        While one is under way, that one is waited for, whatever it compares. Raises TimeoutError
        when it is not done within WAIT_SECONDS; else as `Recomputer.compare`.
        """
        task = self._work.get(origin)
        if task is None:
            task = asyncio.create_task(self._run(origin, compare), name=f"recompute {origin}")
            self._work[origin] = task
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.shield(task)

    def is_at_work(self, origin: str) -> bool:
        """Whether a comparison by a log's map is under way."""
        return origin in self._work

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends what is under way, and closes the files."""
        tasks = list(self._work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for map_ in self._maps.values():
            await map_.close()

    async def _run(self, origin: str, compare: _Compare) -> Wrong | None:
        try:
            map_ = self._maps.get(origin)
            if map_ is None:
                map_ = self._maps[origin] = await self._open(origin)
            try:
                return await compare(map_)
            except DatabaseError:
                # It holds nothing that the leaves do not, and is made again from the first one.
                await map_.clear()
                raise
        finally:
            del self._work[origin]

    async def _open(self, origin: str) -> MapFile:
        path = self.path(origin)
        try:
            return await MapFile.open(path, origin)
        except (InUseError, UnwritableError):
            raise  # nothing is wrong with what is in the file
        except DatabaseError as error:
            event(_LOGGER, logging.WARNING, "the map is made again", error=str(error))
            forget_map(path)
            return await MapFile.open(path, origin)


@dataclass(eq=False, kw_only=True)
class IndexJudge:
    """Compares the indices that this witness is asked to cosign."""

    shared: Shared
    archive: EvidenceArchive
    reader: TileReader
    maps: Maps

    async def judge(self, request: Authentic) -> None:
        """Returns when an index may be cosigned, as far as its leaves go, or is suspended.

        Raises Problem, 503, when it is not known yet.
        """
        checkpoint = request.checkpoint
        origin = checkpoint.origin
        options = self.shared.options.get(origin)
        if options is None or not options.recompute:
            return
        cosigned, head = self.shared.store.head(origin), checkpoint.head
        if head.size < cosigned.size or self.shared.suspensions.evidence(origin):
            return  # it is refused, whatever its leaves are
        compared = self.maps.compared
        if head in compared.of(origin):
            return
        # What was cosigned is not believed for that: it may be older than `recompute`.
        start = cosigned.size if cosigned in compared.of(origin) else 0
        log = about(origin) or ""
        behind = self.maps.is_at_work(log)

        async def compare(map_: MapFile) -> Wrong | None:
            if start and not await self._extends(request, cosigned):
                return None  # it is refused, whatever its leaves are; and not all were compared
            recomputer = Recomputer(map_, self._fetch(log), self._fetch(origin))
            wrong = await recomputer.compare(start, head)
            while wrong is not None:
                await self._accuse(request, wrong)
                if self.shared.suspensions.evidence(origin):
                    break
                # The operator has acknowledged this one, not those that may follow it.
                wrong = await recomputer.compare(wrong.index + 1, head)
            if wrong is None:
                await asyncio.to_thread(compared.add, origin, head, cosigned)
            return wrong

        try:
            await self.maps.compare(log, compare)
        except TimeoutError:
            raise _not_yet("the map is behind the index: it is being computed") from None
        except MunimentError as error:
            event(
                _LOGGER, logging.WARNING, "cannot compute an index", origin=origin, error=str(error)
            )
            raise _not_yet(f"the index could not be computed: {error}") from None
        if behind:
            raise _not_yet("another head of the index was compared meanwhile")

    async def _extends(self, request: Authentic, cosigned: Head) -> bool:
        """Whether a head begins with the cosigned one; raises as `Recomputer.compare`."""
        head = request.checkpoint.head
        try:
            verify_consistency(cosigned.size, cosigned.root, head.size, head.root, request.proof)
        except VerificationError:
            # The request may be about another size, and its head extend the cosigned one yet.
            tiles = TreeTiles(head, self._fetch(request.checkpoint.origin))
            return (await read_prefix(tiles, cosigned.size, head.size)).root == cosigned.root
        return True

    async def _accuse(self, request: Authentic, wrong: Wrong) -> None:
        """Keeps the evidence that an index is not that of its leaves."""
        signed = SignedCheckpoint(request.checkpoint, request.note)
        name = key_name(signed, self.shared.logs[request.checkpoint.origin].verifiers)
        evidence = WrongMapRoot(
            wrong.index, wrong.leaf, wrong.proof, wrong.computed, strip(signed, name)
        )
        # Each leaf is a contradiction of its own, whatever else the same head has shown.
        await self.archive.file(evidence, "recomputed", lambda _: True, computed=wrong.computed)

    def _fetch(self, origin: str) -> Fetch:
        url = self.shared.options[origin].url or ""

        async def fetch(tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
            return await self.reader.fetch(origin, url, tiles)

        return fetch


def _not_yet(detail: str) -> Problem:
    return Problem(503, "index-not-computed", detail, headers={"Retry-After": "1"})
