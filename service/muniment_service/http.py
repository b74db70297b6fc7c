"""HTTP for services: requests in, responses out, RFC 9457 problems for everything that fails.

Handlers see `Request` and `Response` and nothing of the server below (server.py). The router is a
dictionary of exact paths and then a list of prefixes; paths are compared as sent, undecoded, so
that one resource has one spelling. Every refusal is a `Problem` or an error named in the service's
table from domain error to status; anything else is a defect, answered with a bare 500 and logged.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from muniment.local.logs import event
from muniment.tlog.encoding import FormatError, MunimentError
from muniment_service.metrics import CONTENT_TYPE, Metrics

PROBLEM_PREFIX: Final = "urn:muniment:problem:"
PROBLEM_TYPE: Final = "application/problem+json"
MAX_PARAMETERS: Final = 16

ANY: Final = "*"
"""The method of a route that takes every one, HEAD as itself."""

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOGGER: Final = logging.getLogger(__name__)

_NOTHING: Final[Mapping[str, str]] = {}


class Problem(MunimentError):  # noqa: N818  # RFC 9457's word for it
    """A refusal, to be answered as problem+json.

    The problem type is `urn:muniment:problem:<slug>`, which is stable. `detail` is for a person,
    the extension `members` are for a program.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.slug: Final = slug
        self.detail: Final = detail
        self.members: Final = members or {}
        self.headers: Final = headers or {}

    def response(self) -> "Response":
        """The problem as a response (RFC 9457 section 3)."""
        body = {
            "type": PROBLEM_PREFIX + self.slug,
            # Section 3.1.3: a title belongs to the type, and does not vary between occurrences.
            "title": self.slug.replace("-", " ").capitalize(),
            "status": self.status,
            # A path or header can bring lone surrogates, which JSON cannot carry.
            "detail": self.detail.encode("utf-8", "backslashreplace").decode("utf-8"),
            **self.members,
        }
        return Response(self.status, msgspec.json.encode(body), PROBLEM_TYPE, self.headers)


def overloaded(slug: str, detail: str, *, seconds: int = 1, status: int = 503) -> Problem:
    """A refusal for now: 503 (or 429) with Retry-After in seconds."""
    return Problem(status, slug, detail, headers={"Retry-After": str(seconds)})


class Response(msgspec.Struct, frozen=True):
    """A response. Cache-Control is `no-store` unless the headers say otherwise.

    With an `ETag` header, a 200 to a GET whose If-None-Match has it becomes a 304.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] = _NOTHING
) -> Response:
    """A JSON response; `value` is anything that msgspec encodes."""
    return Response(status, msgspec.json.encode(value), "application/json", headers)


def text_response(text: str, status: int = 200, headers: Mapping[str, str] = _NOTHING) -> Response:
    """A UTF-8 text response."""
    return Response(status, text.encode("utf-8"), "text/plain; charset=utf-8", headers)


class BodySource(Protocol):
    """Where a request's body comes from: the server, or a test."""

    async def read(
        self,
        most: int,
        more: int,
        admit: Callable[[bytes], object] | None,
        *,
        coded: bool = False,
    ) -> bytes:
        """Reads the whole body, see `Request.body`; `coded`, `Request.coded_body`."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Reads the body as it comes, see `Request.pieces`."""
        ...


class Request:
    """A request as handlers see it.

    Attributes:
        method: The method; GET also for HEAD.
        path: The path as sent, undecoded, without the query.
        rest: What follows the prefix, on a prefix route; otherwise empty.
        query: The query as sent, undecoded; empty without one.
        headers: The headers; names compare case-insensitively.
        client: Address that the connection came from; empty when unknown.
        about: Names of what it may be about, when that depends on the way that it came; None for
            whatever the service knows.
    """

    __slots__ = ("_body", "about", "client", "headers", "method", "path", "query", "rest")

    def __init__(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: BodySource,
        client: str = "",
    ) -> None:
        if not target.startswith("/"):
            target = _origin_form(target)
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.rest = ""
        self.headers = headers
        self.client = client
        self.about: frozenset[str] | None = None
        self._body = body

    async def body(
        self, most: int, *, more: int = 0, admit: Callable[[bytes], object] | None = None
    ) -> bytes:
        """Reads the body, of at most `most` bytes, or `more` behind these.

        A body of more than `most` bytes is read on only when `admit`, given what has come by then,
        does not raise: what is in front may tell who sends it.

        Raises Problem: 413 when it is larger, 408 when it comes too slowly, 415 when it is encoded,
        503 when too much is in flight, 400 when it ends early.
        """
        return await self._body.read(most, more, admit)

    async def coded_body(self, most: int) -> bytes:
        """Reads the body as it was sent, whatever its content encoding; raises as `body`."""
        return await self._body.read(most, 0, None, coded=True)

    def pieces(self) -> AsyncIterator[bytes]:
        """Reads the body as it comes, and as it was sent; it may be of any length.

        Nothing of it is counted as in flight: who reads on is done with what came before, or counts
        for itself. Raises Problem: 408 when nothing comes for as long as a body may take, 400 when
        it ends early; what came before that was given out.
        """
        return self._body.pieces()

    def parameters(self, *names: str) -> dict[str, str]:
        """The query's parameters; `names` are all that the resource knows.

        Raises Problem 400 on an unknown or repeated parameter.
        """
        return self.parameters_and(*names)[0]

    def parameters_and(
        self,
        *names: str,
        repeated: str | None = None,
        most: int = MAX_PARAMETERS,
        query: str | None = None,
    ) -> tuple[dict[str, str], list[str]]:
        """The query's parameters, and the values of one that may be `repeated`, in their order.

        `query` is read instead of the URL's when a request has sent it as its body. Raises Problem
        400 on an unknown parameter, on another one that is repeated, and on more than `most` in
        all.
        """
        query = self.query if query is None else query
        if not query:
            return {}, []
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=most)
        except ValueError as error:
            raise Problem(400, "bad-query", "the query cannot be decoded") from error
        values = [value for name, value in pairs if name == repeated]
        pairs = [pair for pair in pairs if pair[0] != repeated]
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Problem(400, "bad-query", "a parameter is repeated")
        for name in found:
            if name not in names:
                raise Problem(400, "bad-query", f"unknown parameter {name!r}")
        return found, values


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class _Route:
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


class Responder(Protocol):
    """What a server serves: an `App`, or what stands before one."""

    async def respond(self, request: Request) -> "Response":
        """Answers a request; raises nothing but cancellation."""
        ...


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
        self._prefixes: Final[list[tuple[str, _Route]]] = []

    def route(self, method: str, path: str, handler: Handler, *, label: str | None = None) -> None:
        """Serves one exact path, as sent; GET serves HEAD too.

        With a label, metrics count the route by that: many paths may be one.
        """
        route = self._exact.setdefault(path, _Route(label or path))
        if method in route.handlers:
            raise ValueError(f"{method} {path} is routed twice")
        route.handlers[method] = handler

    def prefix(self, method: str, prefix: str, handler: Handler) -> None:
        """Serves all paths that begin with `prefix` and have no exact route; first match wins."""
        route = dict(self._prefixes).get(prefix)
        if route is None:
            route = _Route(prefix + "*")
            self._prefixes.append((prefix, route))
        if method in route.handlers:
            raise ValueError(f"{method} {prefix}* is routed twice")
        route.handlers[method] = handler

    @property
    def routes(self) -> list[tuple[str, str]]:
        """The method and path of each route; a prefix ends in ``*``."""
        exact = [(method, path) for path, one in self._exact.items() for method in one.handlers]
        return exact + [(m, f"{prefix}*") for prefix, one in self._prefixes for m in one.handlers]

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
        route = self._exact.get(request.path)
        if route is None:
            for prefix, candidate in self._prefixes:
                if request.path.startswith(prefix):
                    request.rest = request.path[len(prefix) :]
                    return candidate
        return route

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


def _origin_form(target: str) -> str:
    """The path and query of an absolute-form target (RFC 9112 section 3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        return target
    return rest[rest.index("/") :] if "/" in rest else "/"


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
