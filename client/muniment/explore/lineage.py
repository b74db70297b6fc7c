"""The lineage of a run: as a list, as a picture that a script draws, as JSON for that script."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from muniment.explore.graphjson import members
from muniment.explore.site import Site
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage import Break, Graph, Ref, graph_of
from muniment.lineage.graph import GraphNode, RelationLink
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision
from muniment.records.members import MAX_NAME
from muniment.records.thingnames import thing_id
from muniment.tlog.encoding import parse_decimal

ROWS: Final = 100
"""Runs on one page of the list, and breaks, relations and others' words shown of a graph."""

NEWEST: Final = 20
"""Runs offered before one is named."""

KEPT: Final = 4
"""Graphs kept."""

LOOKED_AT: Final = 2048
"""Leaves looked through for these."""


class LineageQuestion(NamedTuple):
    """Which run, and with the revocations in force when: Unix seconds; None for now."""

    run: str
    at: int | None

    def query(self, **more: object) -> str:
        """The same as a query of a URL."""
        at = {} if self.at is None else {"at": self.at}
        return urlencode({"run": self.run, **at, **more})


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run of the list: its number there, what is said, and by what it was triggered."""

    number: int
    node: GraphNode
    breaks: list[Break]
    is_revoked: bool
    parents: list[RelationLink]


def routes(site: Site) -> list[web.RouteDef]:
    """The tab, a run's page by path or query, and its graph."""
    graphs = Graphs()

    async def page(request: web.Request) -> web.Response:
        asked = _asked(request)
        if asked is None:
            newest = await site.ask(_newest)
            return await site.page(request, "lineage.html", title="Lineage", newest=newest)
        at = site.now if asked.at is None else asked.at
        graph = await site.ask(partial(graphs.make, asked.run, at))
        rows, first = _rows(graph), _first(request)
        return await site.page(
            request,
            "run.html",
            title=f"Lineage of {asked.run}",
            asked=asked,
            at=at,
            graph=graph,
            beyond=len(graph.breaks) - len(graph.traced.breaks),
            rows=rows[first : first + ROWS],
            first=first,
            total=len(rows),
            rest=max(0, len(rows) - first - ROWS),
            most=ROWS,
            numbers={row.node.ref: row.number for row in rows},
            delegations=[link for link in graph.links if link.relation == "delegated_by"],
            thing_id=thing_id,
        )

    async def graph(request: web.Request) -> web.Response:
        asked = _asked(request)
        if asked is None:
            raise web.HTTPBadRequest(text="Name a run: ?run=ID")
        at = site.now if asked.at is None else asked.at
        text = await site.ask(partial(graphs.encode, asked.run, at))
        return web.Response(text=text, content_type="application/json")

    return [
        web.get("/lineage", page),
        web.get("/lineage.json", graph),
        web.get("/lineage/{run:.+}", page),
    ]


def _asked(request: web.Request) -> LineageQuestion | None:
    run = request.match_info.get("run") or request.query.get("run", "").strip()
    if not run:
        return None
    if len(run) > MAX_NAME:
        raise web.HTTPBadRequest(text="No run has so long an id.")
    return LineageQuestion(run, _time(request.query.get("at", "").strip()))


def _time(text: str) -> int | None:
    """Unix seconds of a time that a person has written; None for none."""
    if not text:
        return None
    try:
        if text.isdecimal():
            return parse_decimal(text, "time")
        time = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise web.HTTPBadRequest(
            text="A time is written as 2027-01-31T00:00:00Z, or as Unix seconds."
        ) from None


def _first(request: web.Request) -> int:
    text = request.query.get("from", "0")
    return int(text) if text.isdecimal() and len(text) < 9 else 0


class Graphs:
    """The graphs made last: a page and its picture are of one graph, which is made once."""

    def __init__(self) -> None:
        """Begins with none."""
        self._made: dict[tuple[str, int, int], Graph] = {}

    def make(self, run: str, at: int, reader: IndexReader) -> Graph:
        """The graph of a run, with the revocations in force at a time, Unix seconds.

        Called by the threads of the readers.
        """
        facts = ReplicaFacts(reader)
        key = (run, at, facts.head.size)
        graph = self._made.get(key)
        if graph is None:
            graph = graph_of(run, facts, at, gateways=reader.gateways())
            for old in list(self._made)[: -KEPT + 1]:
                self._made.pop(old, None)  # the other thread may have been faster
            self._made[key] = graph
        return graph

    def encode(self, run: str, at: int, reader: IndexReader) -> str:
        """The same as JSON."""
        return json.dumps(members(self.make(run, at, reader)), separators=(",", ":"))


def _rows(graph: Graph) -> list[RunRow]:
    """The runs of a graph, each with what is wrong with it and what belongs to it."""
    runs = graph.runs
    breaks: dict[Ref, list[Break]] = {node.ref: list(node.breaks) for node in runs}
    revoked = {node.ref for node in runs if node.is_revoked}
    for node in graph.nodes.values():
        if node.owner is not None and node.owner in breaks:
            breaks[node.owner] += node.breaks
            if node.is_revoked:
                revoked.add(node.owner)
    parents: dict[Ref, list[RelationLink]] = {node.ref: [] for node in runs}
    for link in graph.links:
        if link.relation == "triggered_by" and link.source in parents:
            parents[link.source].append(link)
    return [
        RunRow(number, node, breaks[node.ref], node.ref in revoked, parents[node.ref])
        for number, node in enumerate(runs, 1)
    ]


def _newest(reader: IndexReader) -> list[Decision]:
    """The newest decisions that name a run, one for each run."""
    size = ReplicaFacts(reader).head.size
    leaves = reader.leaves(range(max(0, size - LOOKED_AT), size))
    found = {
        record.execution: record
        for record in reversed(parse_leaves(list(leaves.values())))
        if isinstance(record, Decision) and record.execution is not None
    }
    return list(islice(found.values(), NEWEST))
