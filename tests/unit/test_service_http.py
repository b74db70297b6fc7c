"""HTTP: bodies, limits, deadlines and the graceful stop, against a real socket."""

import asyncio
import contextlib

import pytest

from echo_app import make_app
from muniment_service.config import Address
from muniment_service.connection import Connection
from muniment_service.http import Problem, Request, Response, text_response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_service.server import serving
from rawhttp import get, post, reset, send_on, server, talk
from waiting import SECONDS, close_writer, until


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
        answer = await talk(where, post(b"x", b"Content-Encoding: gzip"))
        assert answer.startswith(b"HTTP/1.1 415")


async def answered(where: tuple[str, int], request: bytes, status: int) -> bytes:
    """Asks until this is the status: the server has taken what was sent before, or let it go."""
    async with asyncio.timeout(SECONDS):
        while True:
            # A server that lets nobody idle for long may close the connection before it is asked.
            with contextlib.suppress(ConnectionError):
                answer = await talk(where, request)
                if answer.startswith(b"HTTP/1.1 %d" % status):
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
    ("data", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 20000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_not_http_is_refused(data: bytes, status: int) -> None:
    async with server(make_app()) as where:
        assert (await talk(where, data)).startswith(b"HTTP/1.1 %d " % status)
        await answered(where, post(b"hello"), 200)


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\n"])
async def test_who_asks_nothing_is_left_without_an_answer(data: bytes) -> None:
    async with server(make_app(), idle_seconds=0.2) as where:
        reader, writer = await asyncio.open_connection(*where)
        writer.write(data)
        assert await ended(reader)
        await close_writer(writer)


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
