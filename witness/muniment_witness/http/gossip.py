"""What a witness serves beyond C2SP tlog-witness: gossip, evidence, tiles, history, its status.

Below the monitoring prefix of a log: `/tile/…`, the verified tiles of this witness's view, as far
as it still has them; `/history/<size>`, the accepted request that led on from a size, in the form
of add-checkpoint, so that a peer that was away can catch up step by step; and
`/shown-by/<hash of a name>`, the newest head that a peer of that name has shown to this witness.

Everything is public, and nothing is answered from the network: a request costs what is in memory
or one look into the database.
"""

from hashlib import sha256
from typing import Final

import msgspec

from muniment.tlog.encoding import FormatError, parse_decimal
from muniment.tlog.evidence import EXTENSION, MAX_EVIDENCE_SIZE
from muniment.tlog.tiles import parse_tile_path
from muniment.tlog.witnesswire import origin_hash
from muniment_service.http import Handler, Problem, Request, Response, json_response
from muniment_service.routing import App
from muniment_witness.gossip.peers import (
    EVIDENCE_PATH,
    HEADS_PATH,
    MAX_HEADS_SIZE,
    EvidenceList,
    Listed,
    frame_heads,
)
from muniment_witness.gossip.watch import Watch
from muniment_witness.http.statusboard import StatusBoard

_BYTES: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_PAGE: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline';"
    " frame-ancestors 'none'"
}


def add_routes(app: App, watch: Watch) -> None:
    """Adds the routes of one witness."""
    served = _Served(watch)
    app.route("GET", "/", served.status)
    app.route("GET", "/status.json", served.status_json)
    app.route("GET", HEADS_PATH, served.heads)
    app.route("POST", HEADS_PATH, served.take_heads)
    app.route("GET", EVIDENCE_PATH, served.evidence)
    app.route("POST", EVIDENCE_PATH, served.take_evidence)
    app.prefix("GET", EVIDENCE_PATH + "/", served.file)
    for origin in sorted(watch.shared.config.logs.keys() | watch.shared.store.latest.keys()):
        path = f"/{origin_hash(origin)}/"
        app.prefix("GET", path, served.below(origin), label="/{origin hash}/*")


class _Served:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._board = StatusBoard(watch)
        self._observations = watch.shared.store.observations

    async def status(self, request: Request) -> Response:
        if "application/json" in request.headers.get("Accept", ""):
            return await self.status_json(request)
        return Response(200, await self._board.page(), "text/html; charset=utf-8", _PAGE)

    async def status_json(self, _: Request) -> Response:
        return Response(200, await self._board.json())

    async def heads(self, _: Request) -> Response:
        """The heads that are known beyond the cosigned ones.

        Those that could not be compared come first: somebody else may have the tiles.
        """
        logs = self._watch.shared.config.logs
        notes = [
            suspicion.note
            for origin, known in sorted(self._observations.suspicions.items())
            if origin in logs
            for suspicion in known.values()
        ]
        notes += [
            noted.note
            for origin, noted in sorted(self._observations.watched.items())
            if origin in logs
        ]
        return _tagged(frame_heads(notes), _BYTES)

    async def take_heads(self, request: Request) -> Response:
        body = await request.body(MAX_HEADS_SIZE)
        return json_response({"taken": self._watch.receiver.take_heads(body, request.client)})

    async def evidence(self, _: Request) -> Response:
        listed = [
            Listed(filed.origin, filed.hash.hex(), filed.kind, filed.time)
            for files in self._observations.evidence.values()
            for filed in files.values()
        ]
        return _tagged(msgspec.json.encode(EvidenceList(listed)), "application/json")

    async def take_evidence(self, request: Request) -> Response:
        body = await request.body(MAX_EVIDENCE_SIZE)
        return json_response(
            {"new": await self._watch.receiver.take_evidence(body, request.client)}
        )

    async def file(self, request: Request) -> Response:
        name = request.rest.removesuffix(EXTENSION)
        for files in self._observations.evidence.values():
            for digest, filed in files.items():
                if digest.hex() == name:
                    headers = {**_FOREVER, "Content-Disposition": f'inline; filename="{name}"'}
                    return Response(200, filed.file, _TEXT, headers)
        raise Problem(404, "not-found", "this witness has no evidence of that hash")

    def below(self, origin: str) -> Handler:
        async def answer(request: Request) -> Response:
            kind, _, rest = request.rest.partition("/")
            if kind == "tile":
                return self._tile(origin, request.rest)
            if kind == "history":
                return await self._step(origin, rest)
            if kind == "shown-by":
                return self._shown(origin, rest)
            raise Problem(404, "not-found", "there is nothing at this path")

        return answer

    def _tile(self, origin: str, path: str) -> Response:
        try:
            data = self._watch.cache.get(origin, parse_tile_path(path))
        except FormatError as error:
            raise Problem(404, "not-found", str(error)) from error
        if data is None:
            raise Problem(404, "not-held", "this witness does not hold that tile at present")
        return Response(200, data, _BYTES, _FOREVER)

    async def _step(self, origin: str, rest: str) -> Response:
        step = await self._watch.shared.store.step_from(origin, parse_decimal(rest, "size"))
        if step is None:
            raise Problem(404, "not-held", "no accepted checkpoint led on from that size")
        return Response(200, step.encode(), _TEXT)

    def _shown(self, origin: str, rest: str) -> Response:
        for (peer, of), noted in self._observations.shown.items():
            if of == origin and sha256(peer.encode()).hexdigest() == rest:
                return Response(200, noted.note, _TEXT)
        raise Problem(404, "not-held", "no peer of that name has shown a head of this log")


def _tagged(body: bytes, content_type: str) -> Response:
    headers = {"ETag": f'"{sha256(body).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    return Response(200, body, content_type, headers)
