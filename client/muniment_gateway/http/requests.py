"""What the gateway's handlers have in common: how bodies are read, and how errors are worded."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from msgspec import structs

from muniment.records.canonical import parse_json
from muniment.records.submission import is_traceparent
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import parse_any
from muniment_gateway.deciding.decider import Decider
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.engines.port import PassedOn
from muniment_gateway.http.access import Clients
from muniment_service.http import Handler, Problem, Request, Response, json_response

MAX_BODY: Final = 4 << 20
"""Largest request, in bytes."""

MOST_SURE: Final = 24 << 10
"""Bytes of a body that has room in a record beside the answers."""

REQUEST_ID: Final = "X-Request-ID"

PASSED_ON: Final = (REQUEST_ID, "traceparent", "tracestate")
"""Headers that go with a request to the engines."""

_MALFORMED: Final = frozenset({400, 408, 413, 415})
"""Statuses of bodies that are the fault of who sends them."""

_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")


def passed_on(request: Request) -> dict[str, str]:
    """The headers of a request that go to the engines."""
    found = {name: request.headers.get(name) for name in PASSED_ON}
    return {k: v for k, v in found.items() if v is not None and _PRINTABLE.fullmatch(v)}


def call_of(
    request: Request, clients: Clients, surface: str = "authzen", query: str = ""
) -> RequestDetails:
    """What came with a request, with a query for the engine; raises `Problem` 401."""
    trace = request.headers.get("traceparent")
    return RequestDetails(
        clients.name(request),
        surface,
        PassedOn(passed_on(request), query),
        trace if is_traceparent(trace) else None,
    )


def with_request_id(request: Request, response: Response) -> Response:
    """The response with the id of the request that it answers, if that has one."""
    given = request.headers.get(REQUEST_ID)
    if given is None:
        return response
    return structs.replace(response, headers={**response.headers, REQUEST_ID: given})


async def read_json(request: Request) -> tuple[Any, bool]:
    """Reads a body of JSON; also tells whether a record can surely hold all of it.

    Raises:
        Problem: 400 when it is said to be of another type; and as `Request.body`.
        FormatError: If it is not JSON.
    """
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = await request.body(MAX_BODY)
    if media_type != "application/json":
        raise Problem(400, "media-type", "the Content-Type must be application/json")
    if len(body) <= MOST_SURE:
        with suppress(FormatError):
            return parse_json(body, "the body"), True
    return parse_any(body, "the body"), False


async def read_asked(request: Request, decider: Decider, call: RequestDetails) -> tuple[Any, bool]:
    """As `read_json`, where a decision is asked for: what is none is a denial, on record."""
    try:
        return await read_json(request)
    except (FormatError, Problem) as error:
        if isinstance(error, FormatError) or error.status in _MALFORMED:
            reason = str(error) if isinstance(error, FormatError) else error.detail
            await decider.refuse(None, call, reason)
        raise


def in_form(handler: Handler, worded: Callable[[int, str], object]) -> Handler:
    """A handler whose refusals have a protocol's form, made of status and text by `worded`."""

    def refused(status: int, detail: str, headers: Mapping[str, str]) -> Response:
        text = detail.encode("utf-8", "backslashreplace").decode("utf-8")
        return json_response(worded(status, text), status, headers)

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except FormatError as error:
            return refused(400, str(error), {})
        except Problem as problem:
            # A content coding is a bad request to AuthZEN; "not now" and "too large" are HTTP's.
            status = 400 if problem.status == 415 else problem.status
            return refused(status, problem.detail, problem.headers)

    return handle


def as_message(_status: int, text: str) -> str:
    """AuthZEN's form of an error: a message."""
    return text
