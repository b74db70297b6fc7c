"""HTTP: the heads of answers, whatever an application gives or raises."""

import json
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from echo_app import make_app
from muniment_service import answers
from muniment_service.http import Problem, Request, Response
from muniment_service.wire import Headers
from rawhttp import get, server, talk


async def test_surrogates_in_a_detail_do_no_harm() -> None:
    response = Problem(400, "x", "path \udc80").response()
    assert json.loads(response.body)["detail"] == "path \\udc80"
    async with server(make_app()) as where:
        answer = await talk(where, b"GET /raise/\xff\x80?\xfe HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 400"))


class Broken:
    """Answers nothing, against what a server asks of its app."""

    async def respond(self, request: Request) -> Response:
        raise RuntimeError(f"a secret about {request.path}")


async def test_an_app_that_raises_is_a_500_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken: Any = Broken()
    async with server(broken) as where:
        answer = await talk(where, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500")
        assert b"secret" not in answer
    assert [record.message for record in caplog.records] == ["a request failed"]


@pytest.mark.parametrize("status", [200, 204, 404, 429, 503])
@pytest.mark.parametrize("headers", [{}, {"ETag": "1"}, {"Cache-Control": "max-age=1", "A": "b"}])
async def test_heads_of_responses(status: int, headers: dict[str, str]) -> None:
    app = make_app()

    async def answer(_: Request) -> Response:
        return Response(status, b"" if status == 204 else b"body", "text/plain", headers)

    app.route("GET", "/answer", answer)
    async with server(app) as where:
        head = (await talk(where, get("/answer"))).partition(b"\r\n\r\n")
    lines = head[0].decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    fields = [line.split(": ", 1) for line in lines[1:]]
    found = {name.lower(): value for name, value in fields}
    assert len(found) == len(fields)
    assert "date" in found
    assert found["x-content-type-options"] == "nosniff"
    assert found.get("content-length") == (None if status == 204 else "4")
    assert "connection" not in found
    assert found["cache-control"] == headers.get("Cache-Control", "no-store")
    for name, value in headers.items():
        assert found[name.lower()] == value


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0", "\x7f"])
@pytest.mark.parametrize("part", ["name", "value"])
async def test_no_header_of_a_response_begins_another(end: str, part: str) -> None:
    app = make_app()
    hostile = {f"X-A{end}X-B": "1"} if part == "name" else {"X-A": f"1{end}X-B: 2"}

    async def answer(_: Request) -> Response:
        return Response(200, b"body", "text/plain", hostile)

    app.route("GET", "/answer", answer)
    async with server(app) as where:
        answered = await talk(where, get("/answer"))
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert b"X-B" not in answered


async def test_versions_and_connections_in_heads() -> None:
    async with server(make_app()) as where:
        for request, version, connection in (
            (b"GET /tagged HTTP/1.1\r\nHost: x", b"1", None),
            (b"GET /tagged HTTP/1.1\r\nHost: x\r\nConnection: close", b"1", b"close"),
            (b"GET /tagged HTTP/1.0\r\nConnection: keep-alive", b"0", b"keep-alive"),
            (b"GET /tagged HTTP/1.0", b"0", None),
        ):
            answered = await talk(where, request + b"\r\n\r\n")
            head, _, body = answered.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            assert first == b"HTTP/1." + version + b" 200 OK"
            found = dict(line.split(b": ", 1) for line in lines)
            assert found.get(b"Connection") == connection
            assert body == b"data"
        unchanged = await talk(
            where, b'GET /tagged HTTP/1.1\r\nHost: x\r\nIf-None-Match: "t1"\r\n\r\n'
        )
    assert unchanged.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    # RFC 9110 section 8.6: the length of a 304 would be that of the 200.
    assert b"Content-Length" not in unchanged


@given(st.text(st.sampled_from("HostAcept-Type"), min_size=1))
def test_names_of_headers_compare_in_any_case(name: str) -> None:
    headers = Headers(CIMultiDictProxy(CIMultiDict([(name, "value")])))
    for spelling in (name, name.lower(), name.upper()):
        assert spelling in headers
        assert headers[spelling] == headers.get(spelling) == headers.get(spelling, "") == "value"
    assert "other" not in headers
    assert headers.get("other") is None
    assert headers.get("other", "none") == "none"
    assert 1 not in headers


def test_heads_of_answers_differ_in_all_that_is_said_in_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: set[bytes] = set()
    for second in (1_700_000_000, 1_700_000_001):
        monkeypatch.setattr(time, "time", lambda now=second: now + 0.5)
        for size, minor, stays in product((0, 1, 10), (0, 1), (False, True)):
            response = Response(200, b"x" * size)
            head = answers.head_of(response, minor, stays=stays)
            assert head == answers.head_of(response, minor, stays=stays)
            assert b"Content-Length: %d\r\n" % size in head
            heads.add(head)
    assert len(heads) == 2 * 3 * 2 * 2
