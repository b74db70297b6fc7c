"""C2SP tlog-mirror over HTTP: `add-entries`, and what the mirror holds in the form of tlog-tiles.

This module only converts: `receiving` takes uploads, `copies` cosigns. The mirror's checkpoints and
tiles are below its own prefix, so that nobody takes them for the witness's.
"""

from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Final

import msgspec

from muniment.tlog.contentcoding import Gunzip
from muniment.tlog.encoding import FormatError
from muniment.tlog.mirrorwire import INFO_CONTENT_TYPE, UPLOAD_CONTENT_TYPE
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, parse_tile_path
from muniment.tlog.witnesswire import format_cosignatures, origin_hash
from muniment_service.coding import COMPRESS_FROM, accepts_gzip, gzipped
from muniment_service.http import Handler, Problem, Request, Response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_witness.http.about import members
from muniment_witness.mirror.copies import LogCopy
from muniment_witness.mirror.mirror import Mirror
from muniment_witness.mirror.receiving import Receiver, UploadCosigned
from muniment_witness.mirror.table import MirrorTable
from muniment_witness.witnessfile import About

_TEXT: Final = "text/plain; charset=utf-8"
_ACCEPTED: Final[Mapping[str, str]] = {"Accept-Encoding": "gzip"}
_PIECE: Final = 256 << 10
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_SECONDS: Final = 5
"""How long a cache may serve a checkpoint."""


class MirrorHttp:
    """The handlers of one mirror."""

    def __init__(self, mirror: Mirror, table: MirrorTable, about: About, metrics: Metrics) -> None:
        """Answers for a mirror, and counts in `metrics`; `about` is of the process it runs in."""
        self._mirror = mirror
        self._table = table
        self._about = about
        self._receiver = Receiver(mirror, table.inflight_bytes, table.upload_seconds)
        self._uploads = metrics.counter(
            "mirror_uploads", "Answers to add-entries by status.", ("status",)
        )
        self._entries = metrics.gauge("mirror_entries", "Entries held of each log.", ("origin",))
        self._mirrored = metrics.gauge(
            "mirror_checkpoint_size", "Size of each mirror checkpoint.", ("origin",)
        )

    @property
    def path(self) -> str:
        """Below which the copies are."""
        return self._table.path

    def add_to(self, app: App) -> None:
        """Adds the routes."""
        path = self.path
        app.route("POST", "/add-entries", self._add_entries)
        app.route("GET", f"{path}/mirror.v0.json", self._about_json)
        for origin, copy in self._mirror.copies.items():
            prefix = f"{path}/{origin_hash(origin)}/"
            app.prefix("GET", prefix, self._reading(copy), label=f"{path}/{{origin hash}}/*")
            self._show(copy)

    async def _add_entries(self, request: Request) -> Response:
        try:
            response = await self._receive(request)
        except Problem as problem:
            response = problem.response()
        except FormatError as error:
            response = Problem(400, "malformed", str(error)).response()
        self._uploads.labels(str(response.status)).inc()
        headers = {**response.headers, **_ACCEPTED}
        return Response(response.status, response.body, response.content_type, headers)

    async def _receive(self, request: Request) -> Response:
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != UPLOAD_CONTENT_TYPE:
            raise Problem(415, "content-type", f"an upload is {UPLOAD_CONTENT_TYPE}")
        coding = request.headers.get("Content-Encoding", "identity").lower()
        if coding not in {"identity", "gzip", "x-gzip"}:
            raise Problem(415, "content-encoding", "only gzip is understood")
        pieces = request.pieces() if coding == "identity" else _gunzipped(request.pieces())
        outcome = await self._receiver.receive(pieces, request.about)
        self._show(outcome.copy)
        if isinstance(outcome, UploadCosigned):
            return Response(200, format_cosignatures(outcome.lines), _TEXT)
        return Response(outcome.status, outcome.info.encode(), INFO_CONTENT_TYPE)

    def _show(self, copy: LogCopy) -> None:
        self._entries.labels(copy.origin).set(copy.next_entry)
        self._mirrored.labels(copy.origin).set(copy.mirrored)

    def _reading(self, copy: LogCopy) -> Handler:
        async def read(request: Request) -> Response:
            if request.query:
                raise Problem(400, "bad-query", "what is mirrored takes no parameters")
            if request.rest == CHECKPOINT:
                return _checkpoint(copy)
            tile = parse_tile_path(request.rest)
            try:
                data = (await copy.read([tile]))[tile]
            except LookupError as error:
                raise Problem(404, "not-held", str(error)) from error
            tag = f"{tile.level}-{tile.index}-{tile.width}"
            headers = dict(_FOREVER)
            if tile.level == ENTRIES:
                headers["Vary"] = "Accept-Encoding"
                takes = accepts_gzip(request.headers.get("Accept-Encoding", ""))
                if takes and len(data) >= COMPRESS_FROM:
                    data = await gzipped(data)
                    headers["Content-Encoding"] = "gzip"
                    tag += "-gzip"
            headers["ETag"] = f'"{tag}"'
            return Response(200, data, UPLOAD_CONTENT_TYPE, headers)

        return read

    async def _about_json(self, _: Request) -> Response:
        said = members(self._table.name, self._mirror.signers, self._about, self.path)
        return Response(200, msgspec.json.format(msgspec.json.encode(said)))


def _checkpoint(copy: LogCopy) -> Response:
    if copy.head is None:
        raise Problem(404, "not-mirrored-yet", "no checkpoint of this log was mirrored yet")
    note = copy.head.note
    headers = {
        "ETag": f'"{sha256(note).hexdigest()[:32]}"',
        "Cache-Control": f"public, max-age={_SECONDS}",
    }
    return Response(200, note, _TEXT, headers)


async def _gunzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gzip = Gunzip()
    async for piece in pieces:
        for part in gzip.pieces(piece, _PIECE):
            yield part
