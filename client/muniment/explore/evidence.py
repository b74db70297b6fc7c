"""Evidence of split views."""

from aiohttp import web

from muniment.explore.site import Site


def routes(site: Site) -> list[web.RouteDef]:
    """The tab."""

    async def tab(request: web.Request) -> web.Response:
        return await site.page(request, "evidence.html", title="Evidence")

    return [web.get("/evidence", tab)]
