"""HTTP: routing, problems, limits and the graceful stop, against a real socket."""

import asyncio
import json
import logging
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from muniment.tlog.encoding import FormatError, MunimentError
from muniment_service import answers
from muniment_service.config import Address
from muniment_service.connection import Connection
from muniment_service.http import (
    Handler,
    Problem,
    Request,
    Response,
    json_response,
    overloaded,
    text_response,
)
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_service.server import serving
from muniment_service.wire import Headers
from rawhttp import Body, get, post, reset, send_on, server, talk
from waiting import SECONDS, close_writer, until


class SpecialError(MunimentError):
    pass


class MoreSpecialError(SpecialError):
    pass


def make_app() -> App:
    app = App(Metrics("test"), {SpecialError: (409, "special")})
    app.operations(lambda: {"size": 3})

    async def echo(request: Request) -> Response:
        return Response(200, await request.body(1000), "application/octet-stream")

    async def raising(request: Request) -> Response:
        raise {
            "format": FormatError("line 3"),
            "special": MoreSpecialError("why"),
            "busy": overloaded("busy", "later", seconds=7),
            "bug": KeyError("secret"),
        }[request.rest]

    async def tagged(_: Request) -> Response:
        return Response(200, b"data", "text/plain", {"ETag": '"t1"', "Cache-Control": "max-age=5"})

    async def lists(request: Request) -> Response:
        return json_response(request.parameters_and("a", repeated="k", most=4))

    async def parameters(request: Request) -> Response:
        return json_response(request.parameters("a", "b"))

    async def big(_: Request) -> Response:
        return Response(200, b"x" * 3_000_000)

    app.route("POST", "/echo", echo)
    app.route("GET", "/echo", tagged)
    app.prefix("GET", "/raise/", raising)
    app.route("GET", "/tagged", tagged)
    app.route("GET", "/parameters", parameters)
    app.route("GET", "/lists", lists)
    app.route("GET", "/big", big)
    return app


async def ask(
    app: App, method: str, target: str, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    response = await app.respond(Request(method, target, headers or {}, Body()))
    body: Any = response.body
    if response.content_type.endswith("json"):
        body = json.loads(response.body)
    return response.status, body, dict(response.headers)


async def test_paths_and_methods() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/healthz"))[:2] == (200, {"status": "ok"})
    assert (await ask(app, "GET", "/readyz?x"))[:2] == (200, {"status": "ready", "size": 3})
    assert (await ask(app, "GET", "http://host.example/healthz"))[0] == 200
    assert (await ask(app, "GET", "http://host.example"))[0] == 404
    for path in ("/", "/healthz/", "/HEALTHZ", "//healthz", "/%68ealthz", "*", "", "/echo2"):
        assert (await ask(app, "GET", path))[0] == 404
    status, body, headers = await ask(app, "DELETE", "/echo")
    assert (status, headers["Allow"]) == (405, "GET, POST, HEAD")
    assert body["type"] == "urn:muniment:problem:method-not-allowed"
    assert (await ask(app, "POST", "/healthz"))[2] == {"Allow": "GET, HEAD"}
    with pytest.raises(ValueError, match="twice"):
        app.operations(dict)


async def test_of_several_prefixes_the_longest_is_meant() -> None:
    app = App(Metrics("service"))

    def named(name: str) -> Handler:
        async def answer(request: Request) -> Response:
            return json_response([name, request.rest])

        return answer

    prefixes = ["/a", "/a/", "/a/b/", "/ab", f"/{'c' * 40}/"]
    for prefix in prefixes:
        app.prefix("GET", prefix, named(prefix), label="all")
    app.route("GET", "/a/b/exact", named("exact"))
    for path in ("/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/abc", f"/{'c' * 40}/d"):
        meant = max((one for one in prefixes if path.startswith(one)), key=len)
        assert (await ask(app, "GET", path))[:2] == (200, [meant, path.removeprefix(meant)])
    assert (await ask(app, "GET", "/a/b/exact"))[1] == ["exact", ""]
    for path in ("/", "/b", f"/{'c' * 40}"):
        assert (await ask(app, "GET", path))[0] == 404
    assert app.routes == [("GET", "/a/b/exact"), *(("GET", f"{one}*") for one in prefixes)]
    assert 'route="all"' in app.metrics.render().decode()


async def test_errors_become_problems(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    assert (await ask(app, "GET", "/raise/format"))[:2] == (
        400,
        {
            "type": "urn:muniment:problem:malformed",
            "title": "Malformed",
            "status": 400,
            "detail": "line 3",
        },
    )
    assert (await ask(app, "GET", "/raise/special"))[1]["type"].endswith(":special")
    status, _, headers = await ask(app, "GET", "/raise/busy")
    assert (status, headers) == (503, {"Retry-After": "7"})
    assert not caplog.records
    status, body, _ = await ask(app, "GET", "/raise/bug")
    assert status == 500
    assert "secret" not in json.dumps(body)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info


async def test_conditional_requests() -> None:
    app = make_app()
    for wanted, status in (
        ('"t1"', 304),
        ('"t0", W/"t1"', 304),
        ("*", 304),
        ('"t2"', 200),
        ("", 200),
    ):
        answer = await ask(app, "GET", "/tagged", {"If-None-Match": wanted})
        assert answer[0] == status
        assert answer[2]["ETag"] == '"t1"'


async def test_one_parameter_may_be_repeated() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/lists?k=2&a=1&k=1&k=2"))[1] == [{"a": "1"}, ["2", "1", "2"]]
    assert (await ask(app, "GET", "/lists"))[1] == [{}, []]
    for query in ("k=1&a=1&a=2", "k=1&b=2", "k=1&k=2&k=3&k=4&k=5", "k=%ff"):
        assert (await ask(app, "GET", f"/lists?{query}"))[0] == 400


async def test_parameters_are_strict() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/parameters?a=1&b=%20"))[1] == {"a": "1", "b": " "}
    assert (await ask(app, "GET", "/parameters"))[1] == {}
    for query in ("c=1", "a=1&a=1", "a=%ff", "&".join(f"a{n}=" for n in range(50))):
        assert (await ask(app, "GET", f"/parameters?{query}"))[0] == 400


@settings(max_examples=200)
@given(method=st.text(max_size=8), target=st.text(max_size=30))
def test_any_request_is_answered(method: str, target: str) -> None:
    response = asyncio.run(make_app_once().respond(Request(method, target, {}, Body())))
    assert response.status in {200, 304, 400, 404, 405}


_APP: list[App] = []


def make_app_once() -> App:
    if not _APP:
        _APP.append(make_app())
    return _APP[0]


async def test_metrics_have_few_labels() -> None:
    app = make_app()
    for number in range(5):
        await ask(app, "GET", f"/raise/special?{number}")
        await ask(app, f"M{number}", f"/x{number}")
    text = (await ask(app, "GET", "/metrics"))[1].decode()
    assert 'test_http_request_seconds_count{method="GET",route="/raise/*",status="409"} 5.0' in text
    assert 'test_http_request_seconds_count{method="other",route="other",status="404"} 5.0' in text


# Over a socket


async def test_bodies_and_headers() -> None:
    async with server(make_app()) as where:
        answer = await talk(where, post(b"hello"))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhello")
        for header in (
            b"X-Content-Type-Options: nosniff",
            b"Content-Security-Policy: default-src 'none'",
            b"Cache-Control: no-store",
            b"Server: muniment\r\n",
        ):
            assert header in answer
        chunked = post(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"Transfer-Encoding: chunked")
        assert (await talk(where, chunked)).endswith(b"\r\n\r\nabcde")
        assert (await talk(where, post(b"", length=5), b"late!", pause=0.1)).endswith(b"late!")
        expecting = post(b"", b"Expect: 100-continue", length=5)
        assert (await talk(where, expecting, b"after", pause=0.1)).endswith(b"after")


async def test_head_is_get_without_a_body() -> None:
    async with server(make_app()) as where:
        answer = await talk(where, b"HEAD /tagged HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"Content-Length: 4\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")
        assert b"Cache-Control: max-age=5" in answer


async def test_a_body_over_the_limit_is_413_and_read_no_further() -> None:
    async with server(make_app()) as where:
        for request in (
            post(b"x" * 1001),
            post(b"", length=10**12),
            post(b"", b"Expect: 100-continue", length=1001),
            post(b"7d0\r\n" + b"x" * 2000 + b"\r\n", b"Transfer-Encoding: chunked"),
        ):
            answer = await talk(where, request)
            assert answer.startswith(b"HTTP/1.1 413")
            assert b"urn:muniment:problem:too-large" in answer


async def test_more_of_a_body_is_read_only_when_its_beginning_is_admitted() -> None:
    begun: list[bytes] = []

    def admit(data: bytes) -> None:
        begun.append(data)
        if not data.startswith(b"known"):
            raise Problem(403, "unknown", "who is this?")

    async def take(request: Request) -> Response:
        return Response(200, b"%d" % len(await request.body(100, more=200, admit=admit)))

    app = App(Metrics("test"))
    app.route("POST", "/echo", take)
    async with server(app) as where:
        short = b"anybody" * 10
        assert (await talk(where, post(short))).endswith(b"\r\n\r\n70")
        assert begun == []
        assert (await talk(where, post(b"known" * 60))).endswith(b"\r\n\r\n300")
        assert len(begun) == 1
        # The rest has not come, and is not waited for.
        answer = await talk(where, post(b"stranger" * 20, length=250))
        assert answer.startswith(b"HTTP/1.1 403")
        for request in (
            post(b"", length=301),
            post(b"12d\r\n" + b"known" + b"x" * 296 + b"\r\n", b"Transfer-Encoding: chunked"),
        ):
            answer = await talk(where, request)
            assert answer.startswith(b"HTTP/1.1 413")
            assert b'"limit":300' in answer


async def test_a_slow_body_is_408_in_time() -> None:
    async with server(make_app(), body_seconds=0.2) as where:
        answer = await talk(where, post(b"", length=5), b"x")
        assert answer.startswith(b"HTTP/1.1 408")


async def test_a_body_is_read_as_it_comes_and_what_came_counts_when_it_ends_early(
    caplog: pytest.LogCaptureFixture,
) -> None:
    got: list[bytes] = []
    came = asyncio.Event()

    async def take(request: Request) -> Response:
        async for piece in request.pieces():
            got.append(piece)
            came.set()
        return Response(200, b"all")

    app = App(Metrics("t"))
    app.route("POST", "/echo", take)
    async with server(app, body_seconds=SECONDS) as where:
        assert b"".join(got) == b""
        body = b"x" * 300_000
        assert (await talk(where, post(body))).endswith(b"all")
        assert b"".join(got) == body
        got.clear()
        came.clear()
        reader, writer = await asyncio.open_connection(*where)
        writer.write(post(b"begun", length=10))
        await came.wait()
        writer.write_eof()
        assert b"400 Bad Request" in await reader.read()
        await close_writer(writer)
        assert got == [b"begun"]
        assert caplog.records == []  # it is no defect of the server's
    async with server(app, body_seconds=0.05) as where:
        assert b"408" in await talk(where, post(b"begun", length=10))


async def test_encoded_bodies_are_not_decoded() -> None:
    async with server(make_app()) as where:
        assert (await talk(where, post(b"x", b"Content-Encoding: gzip"))).startswith(
            b"HTTP/1.1 415"
        )


async def answered(where: tuple[str, int], request: bytes, status: int) -> bytes:
    """Asks until this is the status: the server has taken what was sent before, or let it go."""
    async with asyncio.timeout(SECONDS):
        while not (answer := await talk(where, request)).startswith(b"HTTP/1.1 %d" % status):
            pass
    return answer


async def test_bytes_in_flight_are_bounded_and_given_back() -> None:
    async with server(make_app(), inflight_bytes=1500) as where:
        reader, writer = await asyncio.open_connection(*where)
        writer.write(post(b"x" * 900, length=1000))
        assert b"Retry-After: 1" in await answered(where, post(b"y" * 800), 503)
        writer.write(b"x" * 100)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await close_writer(writer)
        assert (await talk(where, post(b"y" * 800))).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_gives_its_bytes_back() -> None:
    async with server(make_app(), inflight_bytes=1500) as where:
        for _ in range(3):
            _, writer = await asyncio.open_connection(*where)
            writer.write(post(b"x" * 900, length=1000))
            await answered(where, post(b"y" * 1000), 503)
            await close_writer(writer)
            await answered(where, post(b"y" * 1000), 200)


async def test_requests_behind_a_refused_body_take_no_answer_away() -> None:
    part = post(b"x" * 100, length=2000)
    async with server(make_app()) as where:
        answers = await asyncio.to_thread(
            send_on, where, get("/healthz") + part, b"x" * 1900 + get("/healthz"), get("/healthz")
        )
    statuses = [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"413"]


@pytest.mark.parametrize("sent", [b"", b"GET /heal", get("/healthz")])
async def test_a_connection_that_is_reset_leaves_no_task(sent: bytes) -> None:
    def tasks() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks()]

    async with server(make_app()) as where:
        _, writer = await asyncio.open_connection(*where)
        await until(lambda: "HTTP connection" in tasks())
        writer.write(sent)
        reset(writer)
        await until(lambda: "HTTP connection" not in tasks())


async def test_large_answers_and_clients_that_do_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Connection] = []
    lose = Connection.connection_lost

    def connection_lost(connection: Connection, error: BaseException | None) -> None:
        left.append(connection)
        lose(connection, error)

    monkeypatch.setattr(Connection, "connection_lost", connection_lost)
    async with server(make_app()) as where:
        answer = await talk(where, get("/big"))
        assert answer.endswith(b"\r\n\r\n" + b"x" * 3_000_000)
    left.clear()
    async with server(make_app(), send_seconds=0.3) as where:
        reader, writer = await asyncio.open_connection(*where, limit=1024)
        writer.write(get("/big") * 3)
        await until(lambda: len(left) == 1)
        received = 0
        try:
            while piece := await reader.read(1 << 16):
                received += len(piece)
        except ConnectionError:
            pass
        await close_writer(writer)
        assert received < 9_000_000


async def ended(reader: asyncio.StreamReader) -> bool:
    """Waits for the server to close or reset the connection without having said anything."""
    try:
        return not await reader.read()
    except ConnectionError:
        return True


async def test_an_address_that_cannot_be_bound_is_named() -> None:
    async with serving(App(Metrics("test")), Address("127.0.0.1:0")) as url:
        taken = url.removeprefix("http://")
        with pytest.raises(OSError, match=f"^listen: {taken}: Address already in use$"):
            async with serving(App(Metrics("test")), Address(taken)):
                raise AssertionError("it is bound twice")


async def test_idle_and_surplus_connections_are_closed() -> None:
    async with server(make_app(), idle_seconds=0.3, connections=2) as where:
        held = [await asyncio.open_connection(*where) for _ in range(2)]
        held[0][1].write(b"GET /heal")
        reader, writer = await asyncio.open_connection(*where)
        assert await ended(reader)
        await close_writer(writer)
        async with asyncio.timeout(SECONDS):
            for reader, writer in held:
                assert await ended(reader)
                await close_writer(writer)
        await answered(where, post(b"hello"), 200)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 20000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_400_or_a_closed_connection(data: bytes) -> None:
    async with server(make_app(), idle_seconds=0.5) as where:
        answer = await talk(where, data)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
        await answered(where, post(b"hello"), 200)


async def test_stopping_finishes_what_is_in_flight() -> None:
    app = make_app()
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Response:
        entered.set()
        await release.wait()
        return text_response("done")

    app.route("GET", "/slow", slow)
    async with asyncio.timeout(SECONDS):
        async with server(app) as where:
            idle = await asyncio.open_connection(*where)
            asking = asyncio.create_task(talk(where, get("/slow")))
            await entered.wait()
            asyncio.get_running_loop().call_later(0.2, release.set)
        assert (await asking).endswith(b"done")
        assert not await idle[0].read()
        await close_writer(idle[1])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*where)


async def test_a_request_that_has_come_when_the_stop_begins_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its handler begins some turns of the loop later: what it does, its client has to learn."""
    read, handled = asyncio.Event(), []
    receive = Connection.data_received

    def data_received(connection: Connection, data: bytes) -> None:
        receive(connection, data)
        read.set()

    async def handle(_: Request) -> Response:
        handled.append(True)
        await asyncio.sleep(0)
        return text_response("done")

    monkeypatch.setattr(Connection, "data_received", data_received)
    app = make_app()
    app.route("GET", "/x", handle)
    async with asyncio.timeout(SECONDS):
        async with server(app) as where:
            reader, writer = await asyncio.open_connection(*where)
            writer.write(get("/x"))
            await read.wait()
        answer = await reader.read()
        await close_writer(writer)
    assert handled == [True]
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"done")


async def test_stopping_is_bounded() -> None:
    app = make_app()
    entered = asyncio.Event()

    async def stuck(_: Request) -> Response:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    app.route("GET", "/stuck", stuck)
    async with asyncio.timeout(SECONDS):
        async with server(app, grace_seconds=0.2) as where:
            asking = asyncio.create_task(talk(where, get("/stuck")))
            await entered.wait()
        assert await asking == b""


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


def test_problem_members() -> None:
    response = Problem(409, "stream-gap", "next is 5", members={"expected": 5}).response()
    assert response.content_type == "application/problem+json"
    assert json.loads(response.body)["expected"] == 5
    assert json.loads(response.body)["title"] == "Stream gap"


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
