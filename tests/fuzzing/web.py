"""Fuzz targets of what comes over the network beside bodies: targets, headers, URLs, answers."""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from yarl import URL

from fuzzing.law import parsed, target, text_of
from fuzzing.notes import VERIFIERS
from muniment.errors import BadAnswer, Refused
from muniment.http.answer import Answer
from muniment.http.loganswers import LogReceipt, StreamHead, decode_answer
from muniment.http.logrequests import MAX_RETRY_AFTER, refusal_of
from muniment.http.retryafter import retry_after
from muniment.http.typedjson import decode_json
from muniment.http.urls import check_url
from muniment.monitor.webhook import check_webhook
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, MunimentError, unframe
from muniment_log.http.lookup import _name
from muniment_log.http.submit import _waiting
from muniment_service.coding import accepts_gzip
from muniment_service.config import Address
from muniment_service.http import Problem, Request, Response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_witness.cli.remote import lines_of
from muniment_witness.config import check_url as check_witness_url
from muniment_witness.gossip.peers import EvidenceList
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import authentic
from rawhttp import Body
from signing import ORIGIN

_LOG: Final = KnownLog(ORIGIN, VERIFIERS)


def _app() -> App:
    app = App(Metrics("fuzz"))

    async def named(request: Request) -> Response:
        return Response(200, _name(request.rest, 128).encode("ascii"))

    async def waiting(request: Request) -> Response:
        seconds = _waiting(request).seconds
        assert seconds is None or 0 <= seconds <= 60
        return Response(200, b"", headers={"ETag": '"tag"'})

    app.prefix("GET", "/name/", named)
    app.route("GET", "/wait", waiting)
    return app


_APP: Final = _app()


def _now(answer: Coroutine[Any, Any, Response]) -> Response:
    """The outcome of a coroutine that waits for nothing."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@target("request")
def _request(data: bytes) -> None:
    """A request line and one header: an answer that is no 500, whose problem is JSON."""
    head, _, value = data.partition(b"\n")
    method, _, path = text_of(head).partition(" ")
    request = Request(method, path, {"If-None-Match": text_of(value)}, Body())
    response = _now(_APP.respond(request))
    assert response.status in {200, 304, 400, 404, 405}
    if response.status >= 400:
        problem = decode_json(response.body, dict[str, Any], "problem")
        assert problem["status"] == response.status
    accepts_gzip(text_of(data))


@target("answer")
def _answer(data: bytes) -> None:
    """An answer of a log: a status, a header, and a body."""
    head, _, body = data.partition(b"\n")
    status, _, after = text_of(head).partition(" ")
    wait = retry_after(after, 0.0, MAX_RETRY_AFTER)
    assert wait is None or wait >= 0
    for kind in (StreamHead, LogReceipt):
        with suppress(BadAnswer):
            decode_answer(body, kind, "answer")
    headers = {"content-type": "application/problem+json", "retry-after": after}
    found = refusal_of(Answer(404 if len(status) % 2 else 503, headers, body), "/")
    assert isinstance(found, Refused)
    str(found.problem)


@target("heads")
def _heads(data: bytes) -> None:
    """What peers push and answer: framed notes."""
    with suppress(MunimentError):
        for note in unframe(data, "heads"):
            signed = parsed(parse_signed_checkpoint, lambda signed: signed.encode(), note)
            if signed is not None and signed.checkpoint.origin == ORIGIN:
                authentic(_LOG, signed)


@target("peer-json")
def _peer_json(data: bytes) -> None:
    with suppress(FormatError):
        decode_json(data, EvidenceList, "list")
    with suppress(FormatError):
        lines = lines_of(decode_json(data, dict[str, Any], "status"))
        assert all(line.isascii() and line.isprintable() for line in lines)


@target("url")
def _url(data: bytes) -> None:
    """What is accepted as a base URL names a host, and can be asked for a path below."""
    text = text_of(data)
    for check in (check_url, check_witness_url, check_webhook):
        try:
            url = check(text)
        except ValueError:
            continue
        asked = URL(url + "/checkpoint", encoded=True) if check is not check_webhook else URL(url)
        assert asked.host
        assert asked.scheme in {"http", "https"}


@target("address")
def _address(data: bytes) -> None:
    with suppress(ValueError):
        address = Address(text_of(data))
        assert Address(str(address)) == address


@target("parameters")
def _parameters(data: bytes) -> None:
    request = Request("GET", "/?" + text_of(data), {}, Body())
    with suppress(Problem):
        found = request.parameters("a", "wait", "timeout")
        assert set(found) <= {"a", "wait", "timeout"}
