"""The index log over HTTP: its checkpoint and tiles, and proofs that lists leave nothing out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.complete.keys import Key, parse_key
from muniment.complete.listing import MAX_LISTED
from muniment.complete.prooffile import make_complete
from muniment.lineage.multiproof import plan_multiproof
from muniment.tlog.encoding import FormatError
from muniment.tlog.treereader import read_inclusions, read_nodes
from muniment_log.errors import IndexLogUnavailableError
from muniment_log.http.parameters import count_of, number_or
from muniment_log.http.problems import problem_of
from muniment_log.http.reads import CHECKPOINT_CACHE, Reads
from muniment_log.index.mapreading import read_entries
from muniment_service.http import Problem, Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.tiles import Tile
    from muniment_log.core.ports import TileSource
    from muniment_log.index.indexlog import IndexLog
    from muniment_service.http import Handler

MAX_KEYS: Final = 1024
"""Keys of one answer: a run with all its ancestors, their keys and delegations."""

MAX_RECORDS: Final = 10_000
"""Records that one answer carries."""

MAX_QUESTION: Final = 1 << 20
"""Bytes of a question that is sent as a body."""

_TEXT: Final = "text/plain; charset=utf-8"


class Complete:
    """Handlers of the index log's resources."""

    def __init__(self, index_log: IndexLog | None, tiles: TileSource) -> None:
        """Takes the index log, None for a log that keeps none, and the log's own tiles."""
        self._index_log = index_log
        self._tiles = tiles
        self._reads = Reads(self, self, readable=lambda: self.readable)

    # What the tiles of the index log are read by: it may be open or not, at any time.

    @property
    def published(self) -> SignedCheckpoint | None:
        """The index log's published checkpoint."""
        return self._log.opened.publisher.published

    async def read(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """Tiles of the index log."""
        return dict(await self._log.opened.tiles.read(tiles))

    @property
    def readable(self) -> int:
        """Leaves of the index log that are read: witnesses recompute what they shall cosign."""
        return self._log.opened.publisher.integrated.size

    @property
    def _log(self) -> IndexLog:
        if self._index_log is None:
            raise Problem(404, "index-log-disabled", "this log keeps no index log")
        return self._index_log

    async def checkpoint(self, request: Request) -> Response:
        """``/index/checkpoint``: the published one."""
        return await self._answered(self._reads.checkpoint, request)

    async def tile(self, request: Request) -> Response:
        """``/index/tile/…``: hash tiles and entry bundles of the index log."""
        return await self._answered(self._reads.tile, request)

    async def proof(self, request: Request) -> Response:
        """``GET /v1/index/proof?key=…&key=…``: a completeness proof of some keys."""
        return await self._answered(self._proof, request)

    async def long_proof(self, request: Request) -> Response:
        """``POST /v1/index/proof``: the same, with the query as the body."""
        return await self._answered(self._long_proof, request)

    async def _answered(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except IndexLogUnavailableError as error:
            raise problem_of(error) from error

    async def _long_proof(self, request: Request) -> Response:
        request.parameters()
        try:
            query = (await request.body(MAX_QUESTION)).decode("ascii")
        except UnicodeDecodeError as error:
            raise Problem(400, "bad-query", "the body is no query") from error
        return await self._proof(request, query)

    async def _proof(self, request: Request, query: str | None = None) -> Response:
        parameters, texts = request.parameters_and(
            "size", "limit", "records", repeated="key", most=MAX_KEYS + 3, query=query
        )
        keys = _keys(texts)
        least = number_or(parameters, "size", 0)
        limit = count_of(parameters, "limit", MAX_LISTED, MAX_LISTED)
        with_records = parameters.get("records", "0")
        if with_records not in {"0", "1"}:
            raise Problem(400, "bad-query", "records: expected 0 or 1")
        current = self._log.proving()
        size = current.leaf.head.size
        if size < least:
            raise Problem(
                404,
                "not-indexed-yet",
                f"the index log's newest published leaf is about {size} leaves",
                members={"covered": size},
                headers={"Retry-After": "1"},
            )
        try:
            found = await self._log.read(current, keys, limit)
        except FormatError as error:
            raise Problem(422, "list-too-long", str(error)) from error
        (path,) = await read_inclusions(
            current.tiles, current.number, current.number + 1, current.number + 1
        )
        entries: dict[int, bytes] = {}
        if with_records == "1":
            count = sum(len(each.indices) for each in found.lists.values())
            if count > MAX_RECORDS:
                raise Problem(
                    422,
                    "too-many-records",
                    f"{count} records, and an answer carries {MAX_RECORDS}: give a limit, "
                    "or fetch them by their indices",
                )
            entries = await asyncio.to_thread(read_entries, self._log.database, found.lists, size)
        nodes = plan_multiproof(entries, size) if entries else ()
        proof = make_complete(
            current.head,
            current.index_head,
            current.leaf.map_root,
            found.lists,
            found.proof,
            path,
            entries=entries,
            hashes=await read_nodes(self._tiles, nodes, size),
            version=current.leaf.version,
        )
        return Response(
            200,
            proof.encode(),
            _TEXT,
            {"Cache-Control": CHECKPOINT_CACHE, "Access-Control-Allow-Origin": "*"},
        )


def _keys(texts: Sequence[str]) -> list[Key]:
    if not texts:
        raise Problem(400, "bad-query", "key: missing")
    if len(texts) > MAX_KEYS:
        raise Problem(400, "bad-query", f"key: {len(texts)} of them, at most {MAX_KEYS}")
    try:
        return list(dict.fromkeys(map(parse_key, texts)))
    except FormatError as error:
        raise Problem(400, "bad-query", str(error)) from error
