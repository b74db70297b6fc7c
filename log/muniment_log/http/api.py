"""The routes of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from muniment import __version__
from muniment.tlog.tiles import COSIGNED, MIRRORED
from muniment_log.core.orders import Orders
from muniment_log.http.addenda import AddendaReads
from muniment_log.http.deferred import Deferred
from muniment_log.http.problems import ERRORS
from muniment_log.http.query import Query
from muniment_log.http.reads import Reads
from muniment_log.http.streams import StreamEnds
from muniment_log.http.submit import Submit
from muniment_log.publish.published import published_size
from muniment_service.http import Problem, Request, Response, text_response
from muniment_service.routing import App

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from muniment_log.core.addenda import AddendaPort
    from muniment_log.core.budgets import Budgets
    from muniment_log.core.ports import SequencerPort, TileSource
    from muniment_log.http.access import AccessControl
    from muniment_log.http.complete import Complete
    from muniment_log.http.lookup import Lookup
    from muniment_log.http.reads import Cosigned, Mirrored
    from muniment_log.index.indexlog import IndexLog
    from muniment_log.index.supervisor import IndexReads, LogIndex
    from muniment_log.publish.published import PublishedHead
    from muniment_service.http import Handler
    from muniment_service.metrics import Metrics


def build(
    *,
    access: AccessControl,
    budgets: Budgets,
    sequencer: SequencerPort,
    publisher: PublishedHead,
    tiles: TileSource,
    addenda: AddendaPort,
    metrics: Metrics,
    index: LogIndex | None = None,
    index_log: IndexLog | None = None,
    cluster: Callable[[], Mapping[str, Any]] | None = None,
    cosigned: Cosigned | None = None,
    mirrored: Mirrored | None = None,
    min_index: int = 0,
) -> App:
    """Puts the routes together over the ports.

    Without an index, lookups answer that the log keeps none; so do proofs without an index log.
    `cluster` tells how the cluster is that the log runs on; it raises `Problem` when nothing works.
    `cosigned` gives the newest checkpoint that rated witnesses have cosigned, `mirrored` the one
    whose leaves mirrors hold. Entries before `min_index` were pruned.
    """
    app = App(metrics, ERRORS)
    reads = Reads(publisher, tiles, cosigned, mirrored)
    submit = Submit(
        access=access,
        budgets=budgets,
        orders=Orders(sequencer, addenda),
        publisher=publisher,
        tiles=tiles,
        metrics=metrics,
    )
    query = Query(publisher, tiles)
    streams = StreamEnds(access, sequencer)
    lookup = Deferred(lambda: _lookup(None if index is None else index.reads))
    complete = Deferred(lambda: _complete(index_log, tiles))

    def settled(handler: Handler) -> Handler:
        async def after(request: Request) -> Response:
            await publisher.settled()
            return await handler(request)

        return after

    def read(handler: Handler) -> Handler:
        return access.reading(settled(handler))

    def tile(handler: Handler) -> Handler:
        return access.reading_tiles(settled(handler))

    origin = access.admission.origin
    app.operations(_readiness(publisher, index, index_log, cluster), metrics=read)
    app.route("GET", "/", settled(_front(origin, publisher)))
    app.route("GET", "/openapi.json", _once(lambda: _document(origin)))
    app.route("GET", "/verify.html", _once(_page))
    app.route("GET", "/checkpoint", tile(reads.checkpoint))
    app.route("GET", f"/{COSIGNED}", tile(reads.cosigned))
    app.route("GET", f"/{MIRRORED}", tile(reads.mirrored))
    app.route("GET", "/min_index", tile(_min_index(min_index)))
    app.prefix("GET", "/tile/", tile(reads.tile))
    app.route("GET", "/index/checkpoint", tile(complete.handler(lambda made: made.checkpoint)))
    app.prefix("GET", "/index/tile/", tile(complete.handler(lambda made: made.tile)))
    withheld = AddendaReads(access, addenda)
    app.prefix("GET", "/addenda/", access.reading_addenda(withheld.addendum))
    app.route("POST", "/v1/batches", submit.batches)
    app.route("POST", "/v1/records", submit.records)
    app.prefix("GET", "/v1/streams/", read(streams.stream))
    app.prefix("GET", "/v1/entries/", read(query.entry))
    app.prefix("GET", "/v1/decisions/", read(lookup.handler(lambda made: made.decision)))
    app.route("GET", "/v1/decisions", read(lookup.handler(lambda made: made.find)))
    app.prefix("GET", "/v1/keys/", read(lookup.handler(lambda made: made.key)))
    app.prefix("GET", "/v1/executions/", read(lookup.handler(lambda made: made.execution)))
    app.prefix("GET", "/v1/lineage/", read(lookup.handler(lambda made: made.lineage)))
    app.route("GET", "/v1/index/proof", read(complete.handler(lambda made: made.proof)))
    app.route("POST", "/v1/index/proof", read(complete.handler(lambda made: made.long_proof)))
    app.route("GET", "/v1/proofs/inclusion", read(query.inclusion))
    app.route("GET", "/v1/proofs/consistency", read(query.consistency))
    return app


def state_of(
    publisher: PublishedHead, index: LogIndex | None, index_log: IndexLog | None
) -> dict[str, Any]:
    """How far the log is, and its witnesses."""
    state: dict[str, Any] = {
        "integrated": publisher.integrated.size,
        "published": published_size(publisher.published),
        "witnesses": publisher.witnesses,
    }
    if index is not None:
        # Told, and never a reason not to be ready: records do not wait for the index.
        state["index"] = index.process.state
    if index_log is not None:
        state["index_log"] = index_log.state  # likewise
    return state


def _readiness(
    publisher: PublishedHead,
    index: LogIndex | None,
    index_log: IndexLog | None,
    cluster: Callable[[], Mapping[str, Any]] | None,
) -> Callable[[], Mapping[str, Any]]:
    def ready() -> dict[str, Any]:
        state = state_of(publisher, index, index_log)
        if cluster is not None:
            state["cluster"] = cluster()
        if publisher.doubt:
            raise Problem(503, "unavailable", publisher.doubt, members=state)
        if publisher.is_stalled:
            raise Problem(503, "no-quorum", "the witness quorum is not met", members=state)
        return state

    return ready


def _front(origin: str, publisher: PublishedHead) -> Callable[[Request], Any]:
    async def front(_: Request) -> Response:
        size = published_size(publisher.published)
        return text_response(f"{origin}: a muniment log of {size} published leaves\n")

    return front


def _min_index(index: int) -> Callable[[Request], Any]:
    async def answer(_: Request) -> Response:
        return text_response(f"{index}\n", headers={"Access-Control-Allow-Origin": "*"})

    return answer


def _once(make: Callable[[], Response]) -> Handler:
    """One answer for all, made when it is first asked for."""

    def given(response: Response) -> Handler:
        async def give(_: Request) -> Response:
            return response

        return give

    return Deferred(make).handler(given)


def _lookup(reads: IndexReads | None) -> Lookup:
    from muniment_log.http.lookup import Lookup  # noqa: PLC0415  # brings index and lineage

    return Lookup(reads)


def _complete(index_log: IndexLog | None, tiles: TileSource) -> Complete:
    from muniment_log.http.complete import Complete  # noqa: PLC0415  # the same, and proofs

    return Complete(index_log, tiles)


def _document(origin: str) -> Response:
    from muniment_log.http.openapi import document  # noqa: PLC0415  # schemas of all bodies

    return Response(200, msgspec.json.encode(document(origin, __version__)))


def _page() -> Response:
    """The page that verifies in a browser; who does not trust the log takes it from the release."""
    from muniment import page  # noqa: PLC0415  # a quarter of a megabyte

    return Response(
        200,
        page.read_page(),
        "text/html; charset=utf-8",
        {
            "Content-Security-Policy": page.content_security_policy(),
            "Cache-Control": "public, max-age=3600",
            "ETag": f'"{page.page_digest()[:32]}"',
        },
    )
