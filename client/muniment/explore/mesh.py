"""The mesh: who vouches for the log."""

from aiohttp import web

from muniment.explore.site import Site


def routes(site: Site) -> list[web.RouteDef]:
    """The tab."""

    async def tab(request: web.Request) -> web.Response:
        return await site.page(request, "mesh.html", title="Mesh")

    return [web.get("/mesh", tab)]
