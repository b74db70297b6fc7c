"""Requests that two readers could take apart differently, and clients that push their luck."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from muniment_service.http import Request, Response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_service.wire import MAX_HEAD, MAX_HEADERS
from rawhttp import post, server, talk
from waiting import SECONDS, close_writer

HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /n HTTP/1.1\r\nHost: x\r\n\r\n"


def make_app() -> App:
    app = App(Metrics("test"))
    served = 0

    async def echo(request: Request) -> Response:
        return Response(200, await request.body(100_000), "application/octet-stream")

    async def number(_: Request) -> Response:
        nonlocal served
        served += 1
        mine = served
        await asyncio.sleep(0.01 if mine % 2 else 0)  # an answer out of turn would show
        return Response(200, b"<%d>" % mine)

    async def seen(request: Request) -> Response:
        return Response(200, repr(sorted(request.headers.items())).encode())

    async def injecting(request: Request) -> Response:
        return Response(200, b"", headers={"X": "a\r\nSet-Cookie: b"})

    app.route("POST", "/echo", echo)
    app.route("GET", "/n", number)
    app.route("GET", "/seen", seen)
    app.route("GET", "/injecting", injecting)
    return app


async def all_of(where: tuple[str, int], *parts: bytes, pause: float = 0.0) -> bytes:
    """Sends parts and then nothing more; everything that comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*where)
    came = b""

    async def read() -> None:
        nonlocal came
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                came += data

    # Meanwhile: a reset, because it was closed before all was sent, takes along what is not read.
    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(SECONDS):
            with suppress(OSError):  # the server has closed already
                for part in parts:
                    writer.write(part)
                    await asyncio.sleep(pause)
                writer.write_eof()
            await reading
            return came
    finally:
        await close_writer(writer)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(HEAD + headers, id=name)
        for name, headers in {
            "length and coding": b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n",
            "coding and length": CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
            "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
            "the same length twice": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "a list of lengths": b"Content-Length: 0, 0\r\n\r\n",
            "a signed length": b"Content-Length: +0\r\n\r\n",
            "a negative length": b"Content-Length: -1\r\n\r\n",
            "a hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
            "a length with an underscore": b"Content-Length: 1_0\r\n\r\n",
            "an empty length": b"Content-Length:\r\n\r\n",
            "an endless length": b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
            "space before the colon": b"Content-Length : 0\r\n\r\n",
            "a folded line": b"A: b\r\n c\r\n\r\n",
            "a folded length": b"Content-Length:\r\n 0\r\n\r\n",
            "a bare line feed": b"A: b\n\r\n",
            "a bare carriage return": b"A: b\rC: d\r\n\r\n",
            "a zero byte": b"A: \x00\r\n\r\n",
            "a name of nothing": b": a\r\n\r\n",
            "a line without a colon": b"A\r\n\r\n",
            "two hosts": b"Host: y\r\n\r\n",
            "another coding": b"Transfer-Encoding: gzip\r\n\r\n",
            "two codings": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "chunked twice": b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
            "nearly chunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "a disguised coding": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            "an upgrade with a body": (
                b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx"
            ),
        }.items()
    ],
)
async def test_ambiguous_requests_are_refused_and_end_the_connection(request_: bytes) -> None:
    async with server(make_app()) as where:
        answer = await all_of(where, request_, GET)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1  # what follows is not read as a request
        assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3;a\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"f" * 17 + b"\r\nabc",
        b"\r\nabc",
        b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 30_000 + b"\r\n",
    ],
)
async def test_malformed_chunks_are_no_body(chunks: bytes) -> None:
    async with server(make_app()) as where:
        answer = await all_of(where, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, GET)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        assert answer.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /n HTTP/1.1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /n HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /n\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET\t/n\tHTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /n HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"BREW /n HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
        (b"GET /" + b"n" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /n HTTP/1.1\r\nHost: x\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET /n HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\nC: d\r\n" * 2000 + b"\r\n", 431),
        (
            b"GET /n HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"A%d: b\r\n" % n for n in range(MAX_HEADERS + 1))
            + b"\r\n",
            431,
        ),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
)
async def test_strange_heads(request_: bytes, status: int) -> None:
    async with server(make_app()) as where:
        answer = await all_of(where, request_, GET, pause=0.02)
        assert answer.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status))
        assert answer.count(b"HTTP/1.1 ") + answer.count(b"HTTP/1.0 ") == 1


async def test_a_head_that_never_ends_is_refused() -> None:
    async with server(make_app()) as where:
        for line in (b"a" * 1000, b"A: b\r\n" * 150):
            parts = [b"GET /n HTTP/1.1\r\nHost: x\r\n" if b":" in line else b"GET /", *[line] * 20]
            answer = await talk(where, *parts, pause=0.001)
            assert answer.startswith(b"HTTP/1.1 431 ")


async def test_pipelined_requests_are_answered_in_turn() -> None:
    async with server(make_app()) as where:
        answer = await all_of(where, GET * 20, post(b"abc") + GET, post(b"d", length=2), b"e" + GET)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")][1:]
        numbers = [b"<%d>" % n for n in range(1, 21)]
        assert bodies == [*numbers, b"abc", b"<21>", b"de", b"<22>"]
        garbage = await all_of(where, GET, b"\x00\r\n\r\n", pause=0.05)
        assert garbage.startswith(b"HTTP/1.1 200 ")
        assert garbage.count(b"HTTP/1.1 400 ") == 1


async def test_however_much_is_sent_ahead_is_answered_in_turn() -> None:
    async with server(make_app()) as where:
        answer = await all_of(where, GET * 500)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")][1:]
        assert bodies == [b"<%d>" % n for n in range(1, 501)]


async def test_connections_last_as_their_client_says() -> None:
    async with server(make_app()) as where:
        old = b"GET /n HTTP/1.0\r\n"
        closing = await all_of(where, GET[:-2] + b"Connection: close\r\n\r\n", GET, pause=0.1)
        assert closing.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close\r\n" in closing
        assert (await all_of(where, old + b"\r\n", GET, pause=0.05)).count(b" 200 OK") == 1
        upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        assert (await all_of(where, upgrade + GET)).count(b"HTTP/1.1 200 ") == 1


async def test_a_refusal_arrives_although_the_body_is_still_being_sent() -> None:
    async with server(make_app()) as where:
        reader, writer = await asyncio.open_connection(*where)
        writer.write(post(b"", length=10_000_000))
        for _ in range(50):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        await close_writer(writer)


async def turns(where: tuple[str, int]) -> None:
    """Lets the server read what it would: it answers others meanwhile, and shares this loop."""
    for _ in range(50):
        assert (await talk(where, GET)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_nobody_has_asked_for_is_read_no_further() -> None:
    app = make_app()
    asked = asyncio.Event()

    async def patient(request: Request) -> Response:
        await asked.wait()
        return Response(200, b"%d" % len(await request.body(50_000_000)))

    app.route("POST", "/patient", patient)
    async with server(app, inflight_bytes=20_000_000) as where:
        reader, writer = await asyncio.open_connection(*where)
        size = 15_000_000
        writer.write(b"POST /patient HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)
        await turns(where)
        # Most of it is still on the way, and takes nothing from the others.
        assert writer.transport.get_write_buffer_size() > size // 4
        asked.set()
        async with asyncio.timeout(SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: 8\r\n" in answer
            assert await reader.readexactly(8) == b"15000000"
        await close_writer(writer)


async def test_who_takes_no_answer_is_read_no_further() -> None:
    app = make_app()

    async def big(_: Request) -> Response:
        return Response(200, b"x" * 20_000_000)

    async def count(request: Request) -> Response:
        return Response(200, b"%d" % len(await request.body(50_000_000)))

    app.route("GET", "/big", big)
    app.route("POST", "/count", count)
    head = b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    async with server(app, inflight_bytes=10_000_000) as where:
        reader, writer = await asyncio.open_connection(*where, limit=1024)
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await turns(where)
        writer.write(head + b"x" * 9_000_000)
        await turns(where)
        answer = await talk(where, head, b"x" * 9_000_000)
        assert answer.endswith(b"\r\n\r\n9000000")
        async with asyncio.timeout(SECONDS):
            while not (piece := await reader.read(1 << 20)).endswith(b"\r\n\r\n9000000"):
                assert piece
        await close_writer(writer)


async def test_headers_that_repeat() -> None:
    async with server(make_app()) as where:
        answer = await talk(
            where, b"GET /seen HTTP/1.1\r\nHost: x\r\nA: 1 \r\nB: \xff\r\na:  2\r\n\r\n"
        )
        found: Any = answer.partition(b"\r\n\r\n")[2].decode()
        assert found == repr([("a", "1, 2"), ("b", "\udcff"), ("host", "x")])


async def test_a_handler_cannot_bring_in_another_header() -> None:
    async with server(make_app()) as where:
        answer = await all_of(where, b"GET /injecting HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"Set-Cookie" not in answer
