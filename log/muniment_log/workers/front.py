"""What a worker answers itself, and what it hands on to the process that orders and commits.

It takes records, and reads of what it knows to be published: those need nothing but the log's file.
All else is handed on as it came, so that there is one place where it is answered. What is newest is
among it: a worker hears of a new head a moment later than those who wait for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.tlog.encoding import FormatError, parse_decimal
from muniment.tlog.tiles import parse_tile_path
from muniment_log.errors import LogError
from muniment_log.http.complete import MAX_QUESTION
from muniment_log.http.parameters import number_of
from muniment_log.http.problems import ERRORS, problem_of
from muniment_log.http.query import Query
from muniment_log.http.reads import Reads
from muniment_log.http.submit import Submit
from muniment_log.workers.wire import Answered, Forwarded
from muniment_service.http import Problem, Response
from muniment_service.routing import App

if TYPE_CHECKING:
    from muniment_log.core.budgets import Budgets
    from muniment_log.core.orders import OrdersPort
    from muniment_log.http.access import AccessControl
    from muniment_log.workers.channel import Channel
    from muniment_log.workers.remote import RemoteHead, WorkerTiles
    from muniment_service.http import Request
    from muniment_service.metrics import Metrics

_TILES: Final = "/tile/"
_ENTRIES: Final = "/v1/entries/"
_INCLUSION: Final = "/v1/proofs/inclusion"
_CONSISTENCY: Final = "/v1/proofs/consistency"
_SUBMISSIONS: Final = frozenset({"/v1/batches", "/v1/records"})
_WITH_BODY: Final = "/v1/index/proof"
"""The one path beside those of submissions where a POST is taken."""


class Front:
    """A `Responder`."""

    def __init__(
        self,
        *,
        channel: Channel,
        access: AccessControl,
        budgets: Budgets,
        orders: OrdersPort,
        head: RemoteHead,
        tiles: WorkerTiles,
        metrics: Metrics,
    ) -> None:
        """Makes the handlers over the ports; `channel` leads to who answers all else."""
        self._channel = channel
        self._head = head
        self._begun = asyncio.Event()
        submit = Submit(
            access=access,
            budgets=budgets,
            orders=orders,
            publisher=head,
            tiles=tiles,
            metrics=metrics,
        )
        reads, query = Reads(head, tiles), Query(head, tiles)
        self._app = app = App(metrics, ERRORS)
        app.route("POST", "/v1/batches", submit.batches)
        app.route("POST", "/v1/records", submit.records)
        app.prefix("GET", _TILES, access.reading_tiles(reads.tile))
        app.prefix("GET", _ENTRIES, access.reading(query.entry))
        app.route("GET", _INCLUSION, access.reading(query.inclusion))
        app.route("GET", _CONSISTENCY, access.reading(query.consistency))

    def begin(self) -> None:
        """Answers from now on: who may submit and read is in force.

        Before, a worker that listens already may know less than `muniment-log reload` has put in
        force meanwhile: a token that was revoked, say. What has come waits.
        """
        self._begun.set()

    async def respond(self, request: Request) -> Response:
        """Answers a request; raises nothing but cancellation."""
        if not self._begun.is_set():
            await self._begun.wait()
        if request.method == "POST" and request.path in _SUBMISSIONS:
            return await self._app.respond(request)
        if request.method in {"GET", "HEAD"} and self._is_known(request):
            return await self._app.respond(request)
        try:
            return await self._forward(request)
        except Problem as problem:
            return problem.response()
        except LogError as error:
            return problem_of(error).response()

    def _is_known(self, request: Request) -> bool:
        """Whether it is about nothing but what this worker knows to be published."""
        path, known = request.path, self._head.size
        try:
            if path.startswith(_TILES):
                return not request.query and parse_tile_path(path[1:]).end <= known
            if path.startswith(_ENTRIES):
                return parse_decimal(path.removeprefix(_ENTRIES), "index") < known
            if path == _CONSISTENCY:
                return number_of(request.parameters("from", "to"), "to") <= known
            if path == _INCLUSION and "json" in request.headers.get("Accept", ""):
                parameters = request.parameters("index", "size")
                return "size" in parameters and number_of(parameters, "size") <= known
        except (FormatError, Problem):
            pass  # whoever answers it says what is wrong
        return False

    async def _forward(self, request: Request) -> Response:
        body = b""
        if request.method == "POST" and request.path == _WITH_BODY:
            body = await request.body(MAX_QUESTION)
        answer = await self._channel.ask_for(Answered, "request", Forwarded.of(request, body))
        return Response(answer.status, answer.body, answer.content_type, answer.headers)
