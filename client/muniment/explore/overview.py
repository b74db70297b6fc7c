"""The overview: what is decided, by whom, and how the log stands."""

from aiohttp import web

from muniment.explore.site import Site
from muniment.index.reader import IndexReader
from muniment.lineage.facts import Found
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Record

_NEWEST = 12  # leaves looked at for the list of what came last


def routes(site: Site) -> list[web.RouteDef]:
    """The tab."""

    async def tab(request: web.Request) -> web.Response:
        newest = await site.ask(_newest)
        return await site.page(request, "overview.html", title="Overview", newest=newest)

    return [web.get("/", tab)]


def _newest(reader: IndexReader) -> list[Found[Record]]:
    """The records among the newest leaves, the newest first."""
    head = reader.head()
    size = head.size if head is not None else 0
    leaves = reader.leaves(range(max(0, size - _NEWEST), size))
    records = parse_leaves(list(leaves.values()))
    found = [Found(at, one) for at, one in zip(leaves, records, strict=True) if one is not None]
    return found[::-1]
