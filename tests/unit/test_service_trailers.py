"""Trailers of a request say nothing of the next one, which may be another client's.

A reverse proxy sends the requests of many over one connection, and some hand trailers on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from muniment_service.http import Request, Response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from rawhttp import get, server
from waiting import SECONDS, close_writer

CHUNKED = b"POST /seen HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = CHUNKED + b"2\r\nok\r\n0\r\nX-Of-Before: 1\r\n\r\n"
NEXT = get("/seen")


class Seen:
    """An application that notes the headers of requests, and the connection to it."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.asked = asyncio.Event()
        self.app = App(Metrics("test"), {})
        self.app.route("GET", "/seen", self.answer)
        self.app.route("POST", "/seen", self.answer)

    async def answer(self, request: Request) -> Response:
        self.asked.set()
        await request.body(1 << 20)
        self.headers.append(dict(request.headers))
        return Response(200, b"seen", "text/plain")


@asynccontextmanager
async def asking(seen: Seen) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with server(seen.app) as where, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*where)
        try:
            yield reader, writer
        finally:
            await close_writer(writer)


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer; empty when the server has closed."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += (piece := await reader.read(1))
        if not piece:
            return head
    return await reader.readexactly(4)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("between", [b"", b"\r\n"])
async def test_a_trailer_is_no_header_of_the_next_request(size: int, between: bytes) -> None:
    seen = Seen()
    async with asking(seen) as (reader, writer):
        for request in (WHOLE, between + NEXT, WHOLE, CHUNKED + b"0\r\n\r\n", NEXT, NEXT):
            for at in range(0, len(request), size):
                writer.write(request[at : at + size])
                await asyncio.sleep(0)
            assert await answered(reader) == b"seen"
    chunked, plain = {"host": "x", "transfer-encoding": "chunked"}, {"host": "x"}
    assert seen.headers == [chunked, plain, chunked, chunked, plain, plain]


@pytest.mark.parametrize("begun", [NEXT, NEXT[:1], NEXT[:20], NEXT * 40, WHOLE])
async def test_what_has_begun_behind_a_trailer_is_not_answered(begun: bytes) -> None:
    """Whoever sends it sends it again, over another connection (RFC 9112 9.3.1)."""
    seen = Seen()
    async with asking(seen) as (reader, writer):
        writer.write(NEXT + WHOLE + begun)
        assert [await answered(reader) for _ in range(3)] == [b"seen", b"seen", b""]
    assert seen.headers == [{"host": "x"}, {"host": "x", "transfer-encoding": "chunked"}]


async def test_as_many_as_are_read_ahead_are_answered_before_a_connection_ends() -> None:
    """Whether something has begun behind the last of them cannot be seen."""
    seen = Seen()
    async with asking(seen) as (reader, writer):
        writer.write(NEXT * 31 + WHOLE + NEXT)
        found = [await answered(reader) for _ in range(33)]
        assert found == [*[b"seen"] * 32, b""]
    assert seen.headers[31] == {"host": "x", "transfer-encoding": "chunked"}


async def send_late(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a request whose body comes once it is taken up, which aiohttp's parser miscounts."""
    writer.write(b"POST /seen HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
    await seen.asked.wait()
    writer.write(b"ok")
    assert await answered(reader) == b"seen"


@pytest.mark.parametrize("number", [31, 32, 33, 100])
async def test_all_that_is_read_ahead_is_answered_behind_a_late_body(number: int) -> None:
    seen = Seen()
    async with asking(seen) as (reader, writer):
        await send_late(seen, reader, writer)
        writer.write(NEXT * number)
        assert [await answered(reader) for _ in range(number)] == [b"seen"] * number


@pytest.mark.parametrize("before", range(28, 34))
async def test_no_body_is_read_as_a_request_behind_a_late_one(before: int) -> None:
    """However many are ahead of the trailer: what has begun behind it is not cut in two."""
    seen = Seen()
    async with asking(seen) as (reader, writer):
        await send_late(seen, reader, writer)
        hidden = b"POST /seen HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(NEXT)
        writer.write(NEXT * before + WHOLE + hidden)
        for _ in range(before + 1):
            assert await answered(reader) == b"seen"
        writer.write(NEXT)
        assert await answered(reader) == b""
    assert len(seen.headers) == 1 + before + 1


async def test_a_body_of_more_chunks_than_are_read_ahead_keeps_the_connection() -> None:
    """aiohttp pauses reading in between."""
    seen = Seen()
    async with asking(seen) as (reader, writer):
        for request in (CHUNKED + b"1\r\nx\r\n" * 40_000 + b"0\r\nA: b\r\n\r\n", NEXT) * 2:
            writer.write(request)
            assert await answered(reader) == b"seen"
    assert [one.get("a") for one in seen.headers] == [None] * 4
