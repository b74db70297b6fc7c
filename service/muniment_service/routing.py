"""From a request to its handler, and from what that raises to a problem.

Paths are compared as sent, undecoded, so that one resource has one spelling. What a handler raises
is a `Problem`, or an error named in the service's table from domain error to status; anything else
is a defect, answered with a bare 500 and logged.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from muniment.local.logs import event
from muniment.tlog.encoding import FormatError
from muniment_service.http import Handler, Problem, Request, Response, json_response
from muniment_service.metrics import CONTENT_TYPE, Metrics

ANY: Final = "*"
"""The method of a route that takes every one, HEAD as itself."""

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOGGER: Final = logging.getLogger(__name__)


class _Route(Struct):
    label: str
    handlers: dict[str, Handler] = field(default_factory=dict)


async def _permitted(methods: str, _: Request) -> Response:
    """Answers OPTIONS: what a page of another origin may ask (Fetch, "CORS-preflight request")."""
    headers = {
        "Allow": f"{methods}, OPTIONS",
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "If-None-Match",
        "Access-Control-Max-Age": "86400",
    }
    return Response(204, headers=headers)


class App:
    """Routes requests to handlers, turns what they raise into problems, and counts answers."""

    def __init__(
        self,
        metrics: Metrics,
        errors: Mapping[type[Exception], tuple[int, str]] | None = None,
        *,
        for_pages: bool = False,
    ) -> None:
        """Makes an app without routes.

        `errors` is the service's one table: domain error to HTTP status and problem slug. The most
        derived class of an error wins. FormatError is 400 `malformed` by default. With `for_pages`,
        web pages of any origin may read what GET answers.
        """
        self.metrics: Final = metrics
        self._for_pages: Final = for_pages
        self._errors: Final[dict[type, tuple[int, str]]] = {FormatError: (400, "malformed")}
        self._errors.update(errors or {})
        self._exact: Final[dict[str, _Route]] = {}
        self._prefixes: Final[dict[str, _Route]] = {}
        self._lengths: Final[list[int]] = []  # of the prefixes, each once, the longest first

    def route(self, method: str, path: str, handler: Handler, *, label: str | None = None) -> None:
        """Serves one exact path, as sent; GET serves HEAD too.

        With a label, metrics count the route by that: many paths may be one.
        """
        route = self._exact.setdefault(path, _Route(label or path))
        if method in route.handlers:
            raise ValueError(f"{method} {path} is routed twice")
        route.handlers[method] = handler

    def prefix(
        self, method: str, prefix: str, handler: Handler, *, label: str | None = None
    ) -> None:
        """Serves all paths that begin with `prefix` and have no exact route.

        Of several prefixes the longest is meant. The label is as that of `route`.
        """
        route = self._prefixes.setdefault(prefix, _Route(label or prefix + "*"))
        if method in route.handlers:
            raise ValueError(f"{method} {prefix}* is routed twice")
        route.handlers[method] = handler
        if len(prefix) not in self._lengths:
            self._lengths.append(len(prefix))
            self._lengths.sort(reverse=True)

    @property
    def routes(self) -> list[tuple[str, str]]:
        """The method and path of each route; a prefix ends in ``*``."""
        exact = [(method, path) for path, one in self._exact.items() for method in one.handlers]
        return exact + [
            (m, f"{prefix}*") for prefix, one in self._prefixes.items() for m in one.handlers
        ]

    def operations(
        self,
        ready: Callable[[], Mapping[str, Any]],
        metrics: Callable[[Handler], Handler] = lambda handler: handler,
    ) -> None:
        """Adds `/healthz`, `/readyz` and `/metrics`.

        `ready` describes the service when it can do its work, and raises `Problem` 503 when not;
        `metrics` wraps the handler of the metrics, to protect them.
        """

        async def healthz(_: Request) -> Response:
            return json_response({"status": "ok"})

        async def readyz(_: Request) -> Response:
            return json_response({"status": "ready", **ready()})

        async def render(_: Request) -> Response:
            return Response(200, await self.metrics.of_all(), CONTENT_TYPE)

        self.route("GET", "/healthz", healthz)
        self.route("GET", "/readyz", readyz)
        self.route("GET", "/metrics", metrics(render))

    async def respond(self, request: Request) -> Response:
        """Answers a request; raises nothing but cancellation."""
        started = time.perf_counter()
        route = self._find(request)
        method = request.method
        try:
            if method == "HEAD" and (route is None or ANY not in route.handlers):
                request.method = "GET"
            response = await self._handler(route, request)(request)
            if response.status == 200 and "ETag" in response.headers:
                response = _conditional(request, response)
        except Problem as problem:
            response = problem.response()
        except Exception as error:  # noqa: BLE001  # the outermost handler: all must be answered
            response = self._failed(request, error)
        if self._for_pages and method in _READS:
            headers = {**response.headers, "Access-Control-Allow-Origin": "*"}
            response = msgspec.structs.replace(response, headers=headers)
        self.metrics.answered(
            route.label if route else "other",
            method if method in _METHODS else "other",
            response.status,
            started,
        )
        return response

    def _find(self, request: Request) -> _Route | None:
        path = request.path
        route = self._exact.get(path)
        if route is not None:
            return route
        # A witness has as many prefixes as logs, and they have a few lengths.
        for length in self._lengths:
            route = self._prefixes.get(path[:length])
            if route is not None:
                request.rest = path[length:]
                return route
        return None

    def _handler(self, route: _Route | None, request: Request) -> Handler:
        if route is None:
            raise Problem(404, "not-found", "there is nothing at this path")
        handler = route.handlers.get(request.method) or route.handlers.get(ANY)
        if handler is None:
            allow = sorted(route.handlers) + ["HEAD"] * ("GET" in route.handlers)
            if self._for_pages and request.method == "OPTIONS":
                return partial(_permitted, ", ".join(allow))
            raise Problem(
                405,
                "method-not-allowed",
                "this path does not take this method",
                headers={"Allow": ", ".join(allow)},
            )
        return handler

    def _failed(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if (entry := self._errors.get(kind)) is not None:
                status, slug = entry
                return Problem(status, slug, str(error)).response()
        event(
            _LOGGER,
            logging.ERROR,
            "unhandled exception in a request handler",
            exc_info=error,
            method=request.method,
            path=request.path[:200],
        )
        return Problem(500, "internal", HTTPStatus.INTERNAL_SERVER_ERROR.description).response()


def _conditional(request: Request, response: Response) -> Response:
    """RFC 9110 section 13.1.2: 304 when the client has this representation already."""
    wanted = request.headers.get("If-None-Match")
    if wanted is None or request.method != "GET":
        return response
    tag = response.headers["ETag"].removeprefix("W/")
    tags = [part.strip().removeprefix("W/") for part in wanted.split(",")]
    if tag not in tags and wanted.strip() != "*":
        return response
    return Response(304, b"", response.content_type, response.headers)
