"""C2SP tlog-tiles over HTTP: the checkpoint, hash tiles and entry bundles.

Nothing beyond the published size is shown: a reader who trusts only cosigned checkpoints could not
verify it, and a restart may never publish exactly that size.
"""

from __future__ import annotations

import asyncio
import gzip
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from muniment.tlog.tiles import ENTRIES, parse_tile_path
from muniment_log.http.problems import not_published_yet
from muniment_log.publish.published import published_size
from muniment_service.http import Problem, Request, Response

if TYPE_CHECKING:
    from muniment_log.core.ports import TileSource
    from muniment_log.publish.published import PublishedHead

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""Tiles never change ("its caching headers SHOULD be long-lived")."""

CHECKPOINT_CACHE: Final = "public, max-age=1"
"""The checkpoint does ("its headers SHOULD prevent caching beyond a few seconds")."""

_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_COMPRESS_FROM: Final = 1024  # bytes; below, the headers of compression outweigh it
_COMPRESSION: Final = 1  # JSON shrinks to a tenth at the fastest level already


class Reads:
    """Handlers of the static reads."""

    def __init__(self, publisher: PublishedHead, tiles: TileSource) -> None:
        self._publisher = publisher
        self._tiles = tiles

    async def checkpoint(self, _: Request) -> Response:
        """``/checkpoint``: the published one."""
        published = self._publisher.published
        if published is None:
            raise not_published_yet(0)
        body = published.encode()
        return Response(
            200,
            body,
            _TEXT,
            {
                "Cache-Control": CHECKPOINT_CACHE,
                "ETag": f'"{sha256(body).hexdigest()[:32]}"',
                # Any web page may verify a log for itself.
                "Access-Control-Allow-Origin": "*",
            },
        )

    async def tile(self, request: Request) -> Response:
        """``/tile/<L>/<N>[.p/<W>]`` and ``/tile/entries/<N>[.p/<W>]``."""
        if request.query:
            raise Problem(400, "bad-query", "tiles take no parameters")
        tile = parse_tile_path(request.path[1:])
        published = published_size(self._publisher.published)
        if tile.end > published:
            raise not_published_yet(published)
        data = (await self._tiles.read([tile]))[tile]
        tag = f"{tile.level}-{tile.index}-{tile.width}"
        headers = {
            "Cache-Control": IMMUTABLE,
            "Access-Control-Allow-Origin": "*",
        }
        if tile.level == ENTRIES:
            # Hashes do not compress; entries do ("SHOULD be compressed at the HTTP layer").
            headers["Vary"] = "Accept-Encoding"
            if len(data) >= _COMPRESS_FROM and accepts_gzip(
                request.headers.get("Accept-Encoding", "")
            ):
                # zlib releases the interpreter lock.
                data = await asyncio.to_thread(
                    gzip.compress, data, compresslevel=_COMPRESSION, mtime=0
                )
                headers["Content-Encoding"] = "gzip"
                tag += "-gzip"
        headers["ETag"] = f'"{tag}"'
        return Response(200, data, _BYTES, headers)


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip (RFC 9110 section 12.5.3)."""
    weights: dict[str, bool] = {}
    for item in header.lower().split(","):
        coding, _, parameter = item.partition(";")
        name, _, value = parameter.partition("=")
        refused = name.strip() == "q" and not value.strip().strip("0.")
        weights[coding.strip()] = not refused
    return weights.get("gzip", weights.get("*", False))
