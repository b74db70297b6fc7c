"""Proxies that ask over HTTP: Envoy's ext_authz, Traefik's ForwardAuth, nginx's auth_request.

All three take 200 for yes. Of the rest, Envoy and Traefik hand any answer on to the client, other
2xx too, and nginx knows 401, 403 and failures; so whatever is no yes is 403 here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.proxied import PARTIAL, Proxied
from muniment_gateway.deciding.proxied import CLIENT_HEADER, ProxyAnswer, ProxyDecider
from muniment_gateway.http.access import Clients
from muniment_gateway.proxytable import Kind
from muniment_service.http import Problem, Request, Response
from muniment_service.routing import ANY, App

MAX_BODY: Final = 1 << 20
"""Largest body of a checked request, in bytes."""

_REMOVED: Final = "X-Envoy-Auth-Headers-To-Remove"
_OWN: Final = frozenset({CLIENT_HEADER.lower(), "content-length"})


class ForwardHttp:
    """The handlers of the proxies that ask over HTTP."""

    def __init__(self, desks: Sequence[ProxyDecider], clients: Clients) -> None:
        """Serves each at its path."""
        self._desks = desks
        self._clients = clients

    def add_routes(self, app: App) -> None:
        """Adds the routes: any method, and what stands behind the path."""
        for desk in self._desks:
            if desk.proxy.table.path is not None:
                app.prefix(ANY, desk.proxy.table.path, self._handler(desk))

    def _handler(self, desk: ProxyDecider) -> Callable[[Request], Awaitable[Response]]:
        table = desk.proxy.table
        read = _READERS[table.kind]

        async def handle(request: Request) -> Response:
            client = self._clients.find(request.headers.get(CLIENT_HEADER, ""))
            if client is None or (table.client is not None and client != table.client):
                answer = desk.turn_away(
                    "unknown-proxy", f"the proxy has not shown its token in {CLIENT_HEADER}"
                )
                return _response(answer, table.kind)
            try:
                proxied = await read(request)
            except (FormatError, Problem) as error:
                answer = await desk.refuse(str(error), client)
            else:
                answer = await desk.answer(proxied, client)
            return _response(answer, table.kind)

        return handle


def _response(answer: ProxyAnswer, kind: Kind) -> Response:
    headers = dict(answer.headers)
    if not answer.allows:
        return Response(403, answer.body, headers.pop("Content-Type"), headers)
    if kind == "envoy-http":
        headers[_REMOVED] = ",".join(name.lower() for name in answer.removed)
    return Response(200, b"", "text/plain", headers)


async def _of_envoy(request: Request) -> Proxied:
    """Envoy sends the request itself, but for its body: method, path behind ours, Host."""
    if not request.rest.startswith("/"):
        raise FormatError("the path behind the proxy's own begins with no slash")
    headers = _headers(request)
    body = await request.coded_body(MAX_BODY) if PARTIAL in headers else None
    query = f"?{request.query}" if request.query else ""
    return Proxied(
        request.method,
        request.rest + query,
        headers.get("host", ""),
        headers,
        body=body,
    )


async def _of_traefik(request: Request) -> Proxied:
    """Traefik tells all in headers, which it writes anew (`trustForwardHeader` is off)."""
    return _of_headers(request, "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host")


async def _of_nginx(request: Request) -> Proxied:
    """Nginx tells what its configuration says; without these headers nothing is decided."""
    return _of_headers(request, "x-original-method", "x-original-uri", "x-original-host")


def _of_headers(request: Request, method: str, target: str, host: str) -> Proxied:
    if request.rest:
        raise FormatError("the proxy asks at another path than its own")
    headers = _headers(request)
    for name in (method, target, host):
        if not headers.get(name):
            raise FormatError(f"the proxy sends no header {name}")
    return Proxied(headers[method], headers[target], headers[host], headers)


def _headers(request: Request) -> dict[str, str]:
    """The headers by name in lower case.

    The length is that of the question, and says nothing of the request's.
    """
    return {name: value for name, value in request.headers.items() if name not in _OWN}


_READERS: Final[dict[str, Callable[[Request], Awaitable[Proxied]]]] = {
    "envoy-http": _of_envoy,
    "traefik": _of_traefik,
    "nginx": _of_nginx,
}
