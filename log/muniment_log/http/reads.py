"""C2SP tlog-tiles over HTTP: the checkpoint, hash tiles and entry bundles.

Nothing beyond the published size is shown: a reader who trusts only cosigned checkpoints could not
verify it, and a restart may never publish exactly that size.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from muniment.local.bytecache import ByteCache
from muniment.tlog.tiles import ENTRIES, parse_tile_path
from muniment_log.errors import NotPublishedError
from muniment_log.http.parameters import number_of, seconds_of
from muniment_log.http.problems import not_published_yet
from muniment_log.publish.published import published_size
from muniment_service.coding import COMPRESS_FROM, accepts_gzip, gzipped
from muniment_service.http import Problem, Request, Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.tiles import Tile

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""Tiles never change ("its caching headers SHOULD be long-lived")."""

CHECKPOINT_CACHE: Final = "public, max-age=1"
"""The checkpoint does ("its headers SHOULD prevent caching beyond a few seconds")."""

Cosigned = Callable[[], Awaitable[bytes | None]]
"""Gives the newest checkpoint that rated witnesses have cosigned; None when there is none."""


class Mirrored(Protocol):
    """Who knows what mirrors hold."""

    @property
    def has_mirrors(self) -> bool:
        """Whether there are mirrors that may come to hold anything."""
        ...

    async def newest(self) -> bytes | None:
        """The newest checkpoint whose leaves mirrors hold; None when there is none."""
        ...

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is mirrored, and returns its checkpoint.

        Raises:
            NotPublishedError: not in time.
            UnavailableError: the log stops.
        """
        ...


_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_COMPRESSED_BYTES: Final = 8 << 20  # kept in memory: some hundred bundles of short records
_PLAIN_BYTES: Final = 16 << 20  # likewise, for readers who take no gzip: as many


class PublishedSource(Protocol):
    """Who knows the published checkpoint."""

    @property
    def published(self) -> SignedCheckpoint | None:
        """The published checkpoint; None before the first."""
        ...


class TileStore(Protocol):
    """Who has the tiles of the published tree; see `TileSource`."""

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """The bytes of hash tiles and entry bundles."""
        ...


class Reads:
    """Handlers of the static reads."""

    def __init__(
        self,
        publisher: PublishedSource,
        tiles: TileStore,
        cosigned: Cosigned | None = None,
        mirrored: Mirrored | None = None,
        readable: Callable[[], int] | None = None,
    ) -> None:
        """Takes what is read. `readable` leaves, where more are than are published."""
        self._readable = readable
        self._publisher = publisher
        self._mirrored = mirrored
        self._cosigned = cosigned
        self._tiles = tiles
        # Full bundles as they go out, compressed or not: followers and auditors all come for the
        # newest ones. What is here has been checked, and is not read from storage again.
        self._compressed: ByteCache[Tile, bytes] = ByteCache(_COMPRESSED_BYTES)
        self._plain: ByteCache[Tile, bytes] = ByteCache(_PLAIN_BYTES)

    async def checkpoint(self, _: Request) -> Response:
        """``/checkpoint``: the published one."""
        published = self._publisher.published
        if published is None:
            raise not_published_yet(0)
        return _note(published.encode())

    async def cosigned(self, _: Request) -> Response:
        """``/checkpoint.cosigned``: the newest that rated witnesses have cosigned, too."""
        note = None if self._cosigned is None else await self._cosigned()
        if note is None:
            raise Problem(
                404,
                "not-cosigned",
                "this log has no witnesses that it asks within a rate, or none has cosigned yet: "
                "take /checkpoint",
            )
        return _note(note)

    async def mirrored(self, request: Request) -> Response:
        """``/checkpoint.mirrored[?size=N&timeout=seconds]``: the newest that mirrors hold.

        With a size it waits for a tree as large. Who asks a static copy in the same way is given
        what is there, and looks for himself.
        """
        wanted = request.parameters("size", "timeout") if request.query else {}
        size = number_of({"size": "0", **wanted}, "size")
        seconds = seconds_of(wanted.get("timeout", "0"))
        note = None if self._mirrored is None else await self._mirrored.newest()
        if wanted and self._mirrored is not None and self._mirrored.has_mirrors:
            try:
                note = (await self._mirrored.wait(size, seconds)).encode()
            except NotPublishedError as error:
                raise Problem(
                    503,
                    "not-mirrored",
                    f"the mirrors of this log hold {error.published} leaves, not yet {size}",
                    headers={"Retry-After": "1"},
                ) from error
        if note is None:
            raise Problem(
                404,
                "not-mirrored",
                "this log has no mirrors, or none has all of a published tree yet: take "
                "/checkpoint",
            )
        return _note(note)

    async def tile(self, request: Request) -> Response:
        """``/tile/<L>/<N>[.p/<W>]`` and ``/tile/entries/<N>[.p/<W>]``."""
        if request.query:
            raise Problem(400, "bad-query", "tiles take no parameters")
        tile = parse_tile_path(f"tile/{request.rest}")
        published = published_size(self._publisher.published)
        if tile.end > published and (self._readable is None or tile.end > self._readable()):
            raise not_published_yet(published)
        tag = f"{tile.level}-{tile.index}-{tile.width}"
        headers = {
            "Cache-Control": IMMUTABLE if tile.end <= published else "no-store",
            "Access-Control-Allow-Origin": "*",
        }
        if tile.level != ENTRIES:
            # Hashes do not compress; entries do ("SHOULD be compressed at the HTTP layer").
            data = (await self._tiles.read([tile]))[tile]
        else:
            headers["Vary"] = "Accept-Encoding"
            data, coding = await self._bundle(tile, request.headers.get("Accept-Encoding", ""))
            if coding:
                headers["Content-Encoding"] = coding
                tag += f"-{coding}"
        headers["ETag"] = f'"{tag}"'
        return Response(200, data, _BYTES, headers)

    async def _bundle(self, tile: Tile, accepted: str) -> tuple[bytes, str]:
        """A bundle and its content coding, none where the reader takes none or it is short."""
        wants_gzip = accepts_gzip(accepted)
        if wants_gzip and (kept := self._compressed.get(tile)) is not None:
            return kept, "gzip"
        data = self._plain.get(tile)
        if data is None:
            data = (await self._tiles.read([tile]))[tile]
        if wants_gzip and len(data) >= COMPRESS_FROM:
            data, coding, cache = await gzipped(data), "gzip", self._compressed
        else:
            coding, cache = "", self._plain
        if not tile.is_partial:
            cache.put(tile, data)
        return data, coding


def _note(body: bytes) -> Response:
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
