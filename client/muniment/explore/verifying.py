"""The page verify.html, which verifies files in the browser, as the explorer serves it."""

from aiohttp import web

from muniment.explore.site import Site
from muniment.page import content_security_policy, read_page


def routes(site: Site) -> list[web.RouteDef]:
    """The tab, and the page itself with the policy that it states."""
    page, policy = read_page(), content_security_policy()

    async def tab(request: web.Request) -> web.Response:
        return await site.page(request, "verify.html", title="Verify")

    async def verify(_: web.Request) -> web.Response:
        return web.Response(
            body=page,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": policy},
        )

    return [web.get("/verify", tab), web.get("/verify.html", verify)]
