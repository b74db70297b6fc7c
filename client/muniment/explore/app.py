"""The server of the pages: who may come in, what browsers may do with a page, and all routes."""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Middleware

from muniment.errors import InputError
from muniment.explore import decision, evidence, find, lineage, mesh, overview, verifying
from muniment.explore.site import NotYetError, Site
from muniment.lineage.facts import FactsError
from muniment.local.sqlitefile import DatabaseError

PAGES: Final[Sequence[Callable[[Site], list[web.RouteDef]]]] = (
    overview.routes,
    find.routes,
    decision.routes,
    lineage.routes,
    mesh.routes,
    evidence.routes,
    verifying.routes,
)
"""The routes of each page module."""

COOKIE: Final = "muniment_explore"
"""Carries the token from page to page, once the first URL has brought it."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer that does not set its own."""

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PagesAddress(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def check_entry(address: PagesAddress, token: str | None) -> None:
    """Raises InputError where others could reach the pages without a token."""
    if token is None and not address.is_loopback:
        raise InputError(
            f"{address.host} is reached from other machines: name a file with a token "
            "(--token-file), or listen on 127.0.0.1"
        )


def build(
    site: Site, token: str | None, pages: Sequence[Callable[[Site], list[web.RouteDef]]] = PAGES
) -> web.Application:
    """Makes the application; without a token, only names of this machine are answered."""
    app = web.Application(
        middlewares=[_entry(token), _told(site)],
        client_max_size=1 << 20,
    )
    app.on_response_prepare.append(_add_headers)
    for routes in pages:
        app.router.add_routes(routes(site))
    app.router.add_get("/static/{name}", _static)
    app.router.add_get("/status.json", _status(site))
    return app


@asynccontextmanager
async def serve(app: web.Application, address: PagesAddress) -> AsyncIterator[str]:
    """Serves it; yields its URL."""
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, address.host, address.port)
        try:
            await listener.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"cannot listen on {address.host} port {address.port}: {reason}"
            ) from None
        host, port = runner.addresses[0][:2]
        yield f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def _entry(token: str | None) -> Middleware:
    """Lets in who has the token; without one, who asks by a name of this machine.

    A page of another site can have its own name resolve to this machine (DNS rebinding); the
    browser then sends that name, and would hand the answer to that page.
    """
    wanted = None if token is None else token.encode()

    @web.middleware
    async def enter(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if wanted is None:
            if not _is_local(request.headers.get("Host", "")):
                return web.Response(
                    status=421, text="This explorer answers to names of this machine alone.\n"
                )
            return await handler(request)
        given = request.query.get("token")
        if given is not None and hmac.compare_digest(given.encode(), wanted):
            rest = [(key, value) for key, value in request.query.items() if key != "token"]
            response = web.HTTPSeeOther(request.path + (f"?{urlencode(rest)}" if rest else ""))
            response.set_cookie(COOKIE, token or "", httponly=True, samesite="Strict", path="/")
            raise response
        shown = request.cookies.get(COOKIE)
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if shown is None and scheme.lower() == "bearer":
            shown = credentials.strip()
        if shown is None or not hmac.compare_digest(shown.encode(), wanted):
            return web.Response(
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
                text="This explorer asks for its token: open the URL that it printed, or end the "
                "URL with ?token= and the token.\n",
            )
        return await handler(request)

    return enter


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine's loopback."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return PagesAddress(name.strip("[]").lower().rstrip("."), 0).is_loopback


def _told(site: Site) -> Middleware:
    """Makes pages of what handlers raise."""

    @web.middleware
    async def tell(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            code, words = error.status, error.text or error.reason
        except NotYetError:
            done, total = site.following.done
            code, words = HTTPStatus.SERVICE_UNAVAILABLE, "Nothing is verified yet."
            if total:
                words = f"Nothing is verified yet: {done:,} of {total:,} leaves are read."
            if site.following.trouble:
                words = f"{words} {site.following.trouble}"
        except (FactsError, DatabaseError) as error:
            code, words = HTTPStatus.SERVICE_UNAVAILABLE, str(error)
        try:
            status = await site.status()
        except (NotYetError, FactsError, DatabaseError):
            status = None
        title = HTTPStatus(code).phrase
        return site.answer(request, "told.html", title=title, status=status, code=code, words=words)

    return tell


async def _static(request: web.Request) -> web.Response:
    """A file of the package; nothing outside its one folder can be named."""
    name = request.match_info["name"]
    file = _STATIC / name
    if Path(name).suffix not in _TYPES or name not in {one.name for one in _STATIC.iterdir()}:
        raise web.HTTPNotFound(text="There is no such file.")
    return web.Response(
        body=file.read_bytes(),
        content_type=_TYPES[file.suffix],
        charset="utf-8",
        headers={"Cache-Control": "no-cache"},
    )


def _status(site: Site) -> _Handler:
    async def status(_: web.Request) -> web.Response:
        """What the head of every page says, for its script."""
        found = await site.status()
        return web.json_response(
            {
                "origin": found.origin,
                "size": found.size,
                "age": found.age,
                "trouble": found.trouble,
                "unverified": found.unverified,
                "condemned": found.is_condemned,
            }
        )

    return status
