"""Any bytes at any endpoint of both services, over real sockets: a declared answer, never a 500.

Requests are well-formed ones with anything in them (methods, paths that are routes or nearly so,
headers, valid bodies that were changed), and such requests with some of their own bytes changed.
"""

import http.client
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import decisions
import witness_corpus
from log_deployment import GATEWAY, ORIGIN, PRODUCER, PUBLISHED, TOKEN, Deployment, ask, deployed
from muniment.tlog.witnesswire import origin_hash
from rawhttp import send

RECORDS = decisions.decisions(60, producer=GATEWAY)
DECLARED = {200, 204, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 431, 501, 503, 505}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class _Received:
    """What http.client wants of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def answer_of(data: bytes, method: str) -> Answer:
    response = http.client.HTTPResponse(_Received(data), method=method)  # type: ignore[arg-type]
    response.begin()
    return Answer(
        response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    )


def judge(answer: Answer, method: str) -> None:
    """What every answer promises."""
    assert answer.status in DECLARED, answer
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" in answer.headers
    if answer.status == 503:
        assert "retry-after" in answer.headers, answer
    if answer.status >= 400 and method != "HEAD":
        kind = answer.headers["content-type"]
        if answer.status == 409 and kind == "text/x.tlog.size":
            assert answer.body.strip().isdigit()
        else:
            assert kind == "application/problem+json", answer
            problem = json.loads(answer.body)
            assert problem["status"] == answer.status
            assert problem["type"].startswith("urn:muniment:problem:")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment")) as made:
        posted = made.post(made.stream().take(RECORDS), PUBLISHED)
        assert posted.status == 200, posted.body
        yield made


class Service(NamedTuple):
    """What to send to a service: its paths, and bodies that it would take."""

    url: str
    paths: list[str]
    bodies: list[bytes]


def log_service(deployment: Deployment) -> Service:
    run = json.loads(RECORDS[0]).get("execution", "run-1")
    record = json.loads(RECORDS[1])
    evaluation = json.dumps({key: record[key] for key in ("request", "response")}).encode()
    return Service(
        deployment.url,
        [
            *("/", "/checkpoint", "/tile/0/000.p/7", "/tile/entries/000.p/3", "/tile/0/x001/000"),
            *("/v1/batches", "/v1/batches?wait=published&timeout=1", "/v1/records"),
            *(f"/v1/streams/{GATEWAY}/s1", f"/v1/streams/{PRODUCER}/x", "/v1/entries/3"),
            *("/v1/proofs/inclusion?index=3&size=9", "/v1/proofs/consistency?from=3&to=9"),
            *(f"/v1/decisions/{record['id']}", f"/v1/executions/{run}?limit=2&after=1"),
            *(f"/v1/lineage/run/{run}?direction=descendants&depth=3", "/openapi.json"),
            *("/healthz", "/readyz", "/metrics"),
        ],
        [
            *(deployment.stream().take(RECORDS[:count]) for count in (1, 3)),
            evaluation,
            b"[" + evaluation + b"," + evaluation + b"]",
            evaluation + b"\n" + RECORDS[2],
            b"",
        ],
    )


def witness_service(deployment: Deployment) -> Service:
    note = ask(f"{deployment.url}/checkpoint").body
    cases = witness_corpus.load()
    below = f"/{origin_hash(ORIGIN)}"
    return Service(
        deployment.witnesses[1].url,
        [
            *sorted({case.path for case in cases if len(case.path) < 200}),
            *(below + path for path in ("/checkpoint", "/tile/0/000", "/history/0", "/shown-by/x")),
            *("/healthz", "/readyz", "/metrics", "/openapi.json"),
        ],
        [
            *(case.body for case in cases if case.method == "POST" and len(case.body) < 20_000),
            *(b"old %d\n\n" % size + note for size in (0, 61)),
            b"subtree 0 4\n" + b"A" * 43 + b"=\n\n" + note,
        ],
    )


SERVICES: dict[str, Callable[[Deployment], Service]] = {
    "log": log_service,
    "witness": witness_service,
}

NAMES = [
    *("Authorization", "Content-Type", "Content-Encoding", "Accept", "Accept-Encoding"),
    *("If-None-Match", "Expect", "Connection", "Range", "X-Forwarded-For"),
]
VALUES = [
    *(f"Bearer {TOKEN}", "Bearer x", "Basic eDp5", "application/json", "application/x-ndjson"),
    *("application/octet-stream", "gzip", "*", "identity;q=0", "100-continue", "bytes=0-1"),
    *('W/"x", *', "keep-alive, close", "log.example", "", "a" * 900),
]
METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"]
SCRAPS = st.sampled_from(
    [b"", b"\n", b"/", b"..", b"%2f", b"%", b"\xff", b"\x00", b"?", b"=", b"0"]
)


@st.composite
def edited(draw: st.DrawFn, data: bytes, most: int = 2) -> bytes:
    """The data after some small edits, or none."""
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data = data[:at] + draw(SCRAPS | st.binary(max_size=4)) + data[end:]
    return data


def head_bytes(text: str | bytes) -> bytes:
    """Part of a request's line: without what would end it."""
    data = text if isinstance(text, bytes) else text.encode()
    return bytes(byte for byte in data if byte > 0x20 and byte != 0x7F)


@st.composite
def a_request(draw: st.DrawFn, service: Service) -> tuple[str, bytes]:
    """A method and a request that a parser of HTTP/1.1 understands."""
    method = draw(st.sampled_from(METHODS[:3]) | st.sampled_from(METHODS))
    path = draw(edited(draw(st.sampled_from(service.paths)).encode()))
    if method != "CONNECT":
        path = b"/" + head_bytes(path).removeprefix(b"/")
    body = draw(edited(draw(st.sampled_from(service.bodies))))
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.binary(max_size=200))
    headers = draw(
        st.dictionaries(st.sampled_from(NAMES[:-1]), st.sampled_from(VALUES), max_size=4)
    )
    headers |= {"Host": "log.example", "Connection": "close"}
    if draw(st.booleans()):
        headers["Authorization"] = f"Bearer {TOKEN}"
    lines = [method.encode() + b" " + (head_bytes(path) or b"/") + b" HTTP/1.1"]
    lines += [f"{name}: {value}".encode() for name, value in headers.items()]
    if method != "GET" or draw(st.booleans()):
        lines.append(b"Content-Length: %d" % len(body))
    else:
        body = b""
    return method, b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize("name", SERVICES)
def test_any_bytes_get_a_declared_answer(deployment: Deployment, name: str) -> None:
    service = SERVICES[name](deployment)
    statuses: set[int] = set()

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(a_request(service), st.data())
    def understood(request: tuple[str, bytes], data: st.DataObject) -> None:
        method, sent = request
        answer = answer_of(send(service.url, sent), method)
        judge(answer, method)
        statuses.add(answer.status)
        # The same with some bytes changed anywhere: perhaps no request any more, or several.
        received = send(service.url, data.draw(edited(sent, 4)))
        if received:
            answer = answer_of(received, "GET" if method != "HEAD" else "HEAD")
            judge(answer, "HEAD")

    understood()
    assert {200, 400, 404, 405} <= statuses
    process = deployment.log if name == "log" else deployment.witnesses[1]
    assert "unhandled exception" not in process.stderr
    assert process.returncode is None
    # It still does its work.
    taken = deployment.post(deployment.stream().take(RECORDS[:2]), PUBLISHED)
    assert taken.status == 200, taken.body
    size = taken.json["size"]
    shown = partial(ask, f"{deployment.witnesses[1].url}/{origin_hash(ORIGIN)}/checkpoint")
    assert shown().status == 200
    assert int(ask(f"{deployment.url}/checkpoint").body.split(b"\n")[1]) >= size
