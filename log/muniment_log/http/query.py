"""The service API's reads: entries and proofs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import format_base64, parse_decimal
from muniment.tlog.tlogproof import TlogProof
from muniment.tlog.treereader import (
    read_consistency,
    read_entry,
    read_inclusions,
    read_leaf_hash,
    read_root,
)
from muniment_log.http import bodies
from muniment_log.http.parameters import number_of, number_or
from muniment_log.http.problems import not_published_yet
from muniment_log.http.reads import IMMUTABLE
from muniment_log.publish.published import published_size
from muniment_service.http import Problem, Request, Response, json_response

if TYPE_CHECKING:
    from muniment_log.core.ports import TileSource
    from muniment_log.http.reads import PublishedSource

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Query:
    """Handlers of what is read of the published tree under /v1."""

    def __init__(self, publisher: PublishedSource, tiles: TileSource) -> None:
        self._publisher = publisher
        self._tiles = tiles

    async def entry(self, request: Request) -> Response:
        """``GET /v1/entries/{index}``: the leaf bytes."""
        request.parameters()
        index = parse_decimal(request.rest, "index")
        size = published_size(self._publisher.published)
        if index >= size:
            raise not_published_yet(size)
        data = await read_entry(self._tiles, index, size)
        return Response(
            200,
            data,
            _TEXT if data.startswith(MANIFEST) else _JSON,
            {"Muniment-Leaf-Index": str(index), "Cache-Control": IMMUTABLE},
        )

    async def inclusion(self, request: Request) -> Response:
        """``GET /v1/proofs/inclusion?index=[&size=]``: a tlog-proof, or JSON when asked for."""
        parameters = request.parameters("index", "size")
        index = number_of(parameters, "index")
        asked = number_or(parameters, "size", None)
        if asked is not None and index >= asked:
            raise Problem(400, "bad-query", f"index: a tree of {asked} leaves has no leaf {index}")
        published = self._publisher.published
        if published is None:
            raise not_published_yet(0)
        newest = published.checkpoint.size
        size = newest if asked is None else asked
        if size > newest or index >= newest:
            raise not_published_yet(newest)
        (proof,) = await read_inclusions(self._tiles, index, index + 1, size)
        if _JSON in request.headers.get("Accept", ""):
            return json_response(
                bodies.Inclusion(
                    index=index,
                    size=size,
                    leaf_hash=format_base64(await read_leaf_hash(self._tiles, index, size)),
                    proof=[format_base64(node) for node in proof],
                    root=format_base64(await read_root(self._tiles, size)),
                ),
                headers={"Vary": "Accept"},
            )
        if size != newest:
            raise Problem(
                404,
                "no-checkpoint",
                f"there is a checkpoint of size {newest} only; other sizes as {_JSON}",
                members={"published": newest},
            )
        data = TlogProof(index, proof, published).encode()
        return Response(200, data, _TEXT, {"Vary": "Accept"})

    async def consistency(self, request: Request) -> Response:
        """``GET /v1/proofs/consistency?from=&to=``."""
        parameters = request.parameters("from", "to")
        old, new = number_of(parameters, "from"), number_of(parameters, "to")
        if old > new:
            raise Problem(400, "bad-query", "from: larger than to")
        published = published_size(self._publisher.published)
        if new > published:
            raise not_published_yet(published)
        proof = await read_consistency(self._tiles, old, new)
        return json_response(bodies.Consistency(old, new, [format_base64(node) for node in proof]))
