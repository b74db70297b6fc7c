"""Exchanges over a connection, by the packets that come: nothing of one answer is in the next."""

import asyncio
import gc
import ssl
import weakref

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

from muniment.http.answer import Answer, read_answer
from muniment.http.clientwire import words_of
from muniment.http.exchange import HttpExchange

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = OK + b"Content-Length: 2\r\n\r\nok"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

CHUNK = b"1\r\nx\r\n"

MANY = 16_385
"""Chunks of a body that nobody reads, after which aiohttp pauses reading."""

ANSWERS = {
    "length": OK + b"Content-Length: 2\r\nX: y\r\n\r\nok",
    "nothing": OK + b"Content-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b"1;a=b\r\no\r\n1\r\nk\r\n0;c\r\n\r\n",
    "no chunk": CHUNKED + b"0\r\n\r\n",
    "trailer": CHUNKED + b"2\r\nok\r\n0\r\nX-Of-Before: 1\r\n\r\n",
    "empty trailer": CHUNKED + b"2\r\nok\r\n0\r\nX-Of-Before:\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "not modified, chunked": b"HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n",
    "hints": HINT + HINT + SHORT,
    "hints of a body": b"HTTP/1.1 103 X\r\nContent-Length: 7\r\n\r\n" + SHORT,
    "kept 1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "upgrade": OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
    "no reason": b"HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno",
    "folded": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "no value": OK + b"Y:\r\nContent-Length: 2\r\nZ:\r\n\r\nok",
    "blank lines": b"\r\n\r\n" + SHORT,
    "long": OK + b"Content-Length: 600000\r\n\r\n" + b"l" * 600_000,
    "many chunks": CHUNKED + CHUNK * MANY + b"0\r\n\r\n",
}


class Wire(asyncio.Transport):
    """A transport that is handed what comes."""

    def __init__(self) -> None:
        super().__init__()
        self._protocol: asyncio.BaseProtocol | None = None
        self._is_closing = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    def pause_reading(self) -> None:
        """What has come has: a loopback takes it in at once."""

    def resume_reading(self) -> None:
        """Reading goes on."""


class Link:
    """What aiohttp's connector gives: a connection, to be released or closed."""

    def __init__(self) -> None:
        self.is_closed = False
        self.wire = Wire()
        self.protocol = ResponseHandler(asyncio.get_running_loop())
        self.wire.set_protocol(self.protocol)
        self.protocol.connection_made(self.wire)

    def release(self) -> None:
        assert self.wire.get_protocol() is self.protocol

    def close(self) -> None:
        self.is_closed = True
        self.wire.close()


def begun(link: Link, kept: HttpExchange | None = None) -> HttpExchange:
    """An exchange as a session makes it, which goes on with a kept one if that is reusable."""
    if kept is not None:
        if kept.is_reusable:
            return kept
        kept.give_back()
        assert link.wire.get_protocol() is link.protocol
    return HttpExchange(link)


async def turns() -> None:
    """Lets who waits for what has come take it."""
    for _ in range(5):
        await asyncio.sleep(0)


async def answered(exchange: HttpExchange, answer: bytes, size: int) -> Answer:
    """Reads an answer that comes in packets of some bytes; when they have come, it is read."""
    reading = asyncio.create_task(read_answer(exchange, 1 << 20))
    await turns()
    for at in range(0, len(answer), size):
        exchange.data_received(answer[at : at + size])
    await turns()
    assert reading.done(), "it waits for what has come"
    return await reading


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("before", ANSWERS)
async def test_an_answer_is_read_as_if_it_were_the_first(before: str, size: int) -> None:
    link = Link()
    exchange = None
    for name, answer in ANSWERS.items():
        first = await answered(begun(Link()), answer, size if len(answer) < 1000 else 1 << 20)
        exchange = begun(link, exchange)
        await answered(exchange, ANSWERS[before], size if len(ANSWERS[before]) < 1000 else 1 << 20)
        assert exchange.is_free
        exchange = begun(link, exchange)
        assert await answered(exchange, answer, size if len(answer) < 1000 else 1 << 20) == first, (
            name
        )
        assert exchange.is_free


async def test_a_pause_between_chunks_ends() -> None:
    """The parser learns of it from the next chunk: when the body has been read meanwhile."""
    exchange = begun(Link())
    exchange.data_received(CHUNKED + CHUNK * MANY)
    reading = asyncio.create_task(read_answer(exchange, 1 << 20))
    await turns()
    exchange.data_received(CHUNK * 3 + b"0\r\n\r\n")
    await turns()
    assert reading.done()
    assert (await reading).body == b"x" * (MANY + 3)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"1\r\nxyz"])
async def test_who_reads_a_body_is_told_that_its_rest_is_malformed(rest: bytes) -> None:
    link = Link()
    exchange = begun(link)
    reading = asyncio.create_task(read_answer(exchange, 100))
    exchange.data_received(CHUNKED + CHUNK)
    await turns()
    exchange.data_received(rest)
    await turns()
    assert reading.done()
    with pytest.raises(HttpProcessingError):
        await reading
    assert link.wire.is_closing()
    assert not exchange.is_free


async def test_a_connection_that_is_closing_is_not_given_back() -> None:
    """TLS has its end told to the protocol of then: aiohttp's would wait for it for ever."""
    link = Link()
    exchange = begun(link)
    await answered(exchange, SHORT, 1 << 20)
    to_tell = link.wire.get_protocol()
    link.wire.close()
    assert not exchange.is_free
    assert isinstance(to_tell, HttpExchange)
    to_tell.connection_lost(None)
    assert link.protocol.closed is None


@pytest.mark.parametrize("by", ["closing", "lost"])
async def test_a_connection_that_ends_before_it_is_asked_takes_no_place(by: str) -> None:
    """TLS 1.2 may end in the packet that begins it: else its place would be lost to all others."""
    link = Link()
    link.wire.close()
    if by == "lost":
        link.protocol.connection_lost(None)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        begun(link)
    assert link.is_closed


@pytest.mark.parametrize("came", [b"H", b"\r\n", SHORT, HINT * 1000])
async def test_what_comes_while_nothing_is_asked_ends_the_connection(came: bytes) -> None:
    link = Link()
    exchange = begun(link)
    await answered(exchange, SHORT, 1 << 20)
    exchange.is_idle = True
    exchange.data_received(came)
    assert link.is_closed
    assert not exchange.is_free


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")])
@pytest.mark.parametrize("came", [b"", OK, CHUNKED + CHUNK, OK + b"Content-Length: 9\r\n\r\n1"])
async def test_the_end_of_a_connection_is_told(came: bytes, error: OSError | None) -> None:
    exchange = begun(Link())
    reading = asyncio.create_task(read_answer(exchange, 100))
    exchange.data_received(came)
    await turns()
    exchange.connection_lost(error)
    await turns()
    assert reading.done()
    with pytest.raises(aiohttp.ClientError):
        await reading


@pytest.mark.parametrize("came", [b"", HINT, OK, CHUNKED + CHUNK, SHORT[:-1]])
async def test_who_waits_is_told_of_the_deadline(came: bytes) -> None:
    exchange = begun(Link())
    reading = asyncio.create_task(read_answer(exchange, 100))
    exchange.data_received(came)
    await turns()
    exchange.expire()
    await turns()
    assert reading.done()
    with pytest.raises(TimeoutError):
        await reading
    exchange.data_received(SHORT)
    assert not exchange.is_free


async def test_an_answer_that_is_there_at_the_deadline_is_taken() -> None:
    """Its connection is not used again: the next request would be told of that deadline."""
    exchange = begun(Link())
    exchange.data_received(SHORT)
    exchange.expire()
    assert (await read_answer(exchange, 100)).body == b"ok"
    assert not exchange.is_free


async def test_a_body_without_a_length_ends_with_its_connection_unless_that_is_reset() -> None:
    for error in (None, ConnectionResetError(104, "reset"), ssl.SSLError(1, "bad record mac")):
        exchange = begun(Link())
        reading = asyncio.create_task(read_answer(exchange, 100))
        exchange.data_received(OK + b"\r\nok")
        await turns()
        exchange.connection_lost(error)
        if error is None:
            assert (await reading).body == b"ok"
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await reading


async def test_what_broke_tls_is_named() -> None:
    exchange = begun(Link())
    exchange.connection_lost(ssl.SSLError(1, "bad record mac"))
    with pytest.raises(aiohttp.ClientOSError) as told:
        await read_answer(exchange, 100)
    assert words_of(told.value) == "TLS: bad record mac"


async def test_a_connection_that_has_ended_leaves_no_cycle() -> None:
    """Else each answer of a server that closes is kept until garbage is collected."""
    gc.disable()
    try:
        link = Link()
        exchange = begun(link)
        await answered(exchange, SHORT, 1 << 20)
        exchange.connection_lost(None)
        link.wire.set_protocol(link.protocol)
        reference = weakref.ref(exchange)
        del exchange
        assert reference() is None
    finally:
        gc.enable()


async def test_a_connection_that_is_given_back_leaves_no_cycle() -> None:
    """Else each chunked answer is kept until garbage is collected."""
    gc.disable()
    try:
        exchange = begun(Link())
        await answered(exchange, ANSWERS["chunks"], 1 << 20)
        exchange.give_back()
        reference = weakref.ref(exchange)
        del exchange
        assert reference() is None
    finally:
        gc.enable()
