"""HTTP as handlers see it: requests in, responses out, RFC 9457 problems for what is refused.

There is nothing here of the server below (server.py), and nothing of paths (routing.py).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from muniment.tlog.encoding import MunimentError

PROBLEM_PREFIX: Final = "urn:muniment:problem:"
PROBLEM_TYPE: Final = "application/problem+json"
MAX_PARAMETERS: Final = 16

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


def overloaded(slug: str, detail: str, *, seconds: int = 1) -> Problem:
    """A refusal for now: 503 with Retry-After in seconds."""
    return Problem(503, slug, detail, headers={"Retry-After": str(seconds)})


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


class Responder(Protocol):
    """What a server serves: an `App`, or what stands before one."""

    async def respond(self, request: Request) -> Response:
        """Answers a request; raises nothing but cancellation."""
        ...


def _origin_form(target: str) -> str:
    """The path and query of an absolute-form target (RFC 9112 section 3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        return target
    return rest[rest.index("/") :] if "/" in rest else "/"
