"""Finding decisions: a form, a URL for each search, pages of results, and all of them as lines."""

from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from muniment.explore.counting import CODES
from muniment.explore.searching import ANSWERS, FIELDS, parse_search, search
from muniment.explore.site import Site
from muniment.explore.table import TableReader
from muniment.index.reader import IndexReader
from muniment.index.search import Search
from muniment.tlog.encoding import FormatError

_LINES_AT_ONCE = 500
_DIGITS = 18  # of an index


def routes(site: Site) -> list[web.RouteDef]:
    """The tab, and its results as JSON lines."""

    async def tab(request: web.Request) -> web.Response:
        given = _given(request)
        if (leaf := _index(request.query.get("leaf", ""))) is not None:
            raise web.HTTPSeeOther(f"/decision/{leaf}")
        error, results, wanted = "", None, Search()
        try:
            wanted = parse_search(given)
        except FormatError as wrong:
            error = str(wrong)
        else:
            before = _before(request)
            results = await site.look(lambda reader, table: search(reader, table, wanted, before))
        return await site.page(
            request,
            "find.html",
            title="Find",
            given=given,
            error=error,
            results=results,
            is_open=wanted == Search(),
            older=_older(given, results.before) if results is not None else None,
            lines=f"/find.jsonl?{urlencode(given)}",
            codes=CODES,
            answers=tuple(ANSWERS),
        )

    async def lines(request: web.Request) -> web.StreamResponse:
        try:
            wanted = parse_search(_given(request))
        except FormatError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        response = web.StreamResponse()
        response.content_type = "application/jsonl"
        before = _before(request)
        while True:
            data, before = await site.look(partial(_lines, wanted, before))
            if not response.prepared:
                await response.prepare(request)
            await response.write(data)
            if before is None:
                return response

    return [web.get("/find", tab), web.get("/find.jsonl", lines)]


def _given(request: web.Request) -> dict[str, str]:
    return {name: request.query[name] for name in FIELDS if request.query.get(name, "").strip()}


def _before(request: web.Request) -> int | None:
    return _index(request.query.get("before", ""))


def _index(text: str) -> int | None:
    """A leaf's index; None for what is none."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def _older(given: dict[str, str], before: int | None) -> str | None:
    return None if before is None else f"/find?{urlencode({**given, 'before': before})}"


def _lines(
    wanted: Search, before: int | None, reader: IndexReader, table: TableReader
) -> tuple[bytes, int | None]:
    """The next results as lines of JSON, with the leaves verbatim; and where to go on."""
    found, next_ = search(reader, table, wanted, before, _LINES_AT_ONCE)
    leaves = reader.leaves([index for index, _ in found])
    lines = [b'{"index":%d,"record":%b}\n' % (index, leaves[index]) for index, _ in found]
    return b"".join(lines), next_
