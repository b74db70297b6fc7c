"""The lean HTTP client: which answers it takes, which it refuses, and what it sends."""

import asyncio
import ssl
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from certificates import Authority
from exact_server import CHUNKED, OK, Served, get, serving
from muniment.http.answer import HttpError, TooLongError
from muniment.http.client import HttpClient
from muniment.http.exchange import MAX_HEAD
from muniment.http.origin import system_tls
from waiting import SECONDS


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (22, zlib.compress(b"ok", wbits=31)),
    ],
)
async def test_answers(answer: bytes) -> None:
    async with serving(lambda *_: answer) as (client, served):
        assert await get(client) == await get(client) == b"ok"
        assert served.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 2 * MAX_HEAD + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n"
        + zlib.compress(b"ok", wbits=31)[:12],
    ],
)
async def test_answers_that_are_none(answer: bytes) -> None:
    async with serving(lambda *_: answer) as (client, _):
        with pytest.raises(HttpError):
            await get(client)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n"
        % (len(zlib.compress(b"x" * 9999, wbits=31)), zlib.compress(b"x" * 9999, wbits=31)),
    ],
)
async def test_answers_that_are_too_long(answer: bytes) -> None:
    async with serving(lambda *_: answer) as (client, _):
        with pytest.raises(TooLongError):
            await get(client)


async def test_a_trailer_is_no_header_of_the_next_answer() -> None:
    answers = iter([CHUNKED + b"2\r\nok\r\n0\r\nX-Of-Before: 1\r\n\r\n", OK])
    async with serving(lambda *_: next(answers)) as (client, served):
        assert await get(client) == b"ok"
        answer = await client.ask("GET", "/x", limit=1000, seconds=SECONDS)
        assert dict(answer.headers) == {"Content-Length": "2"}
        assert served.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_keep_their_connection(status: int) -> None:
    answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, 0 if status == 204 else 2)
    async with serving(lambda *_: answer) as (client, served):
        for method in ("GET", "HEAD", "HEAD", "GET"):
            asked = await client.ask(method, "/x", limit=1000, seconds=SECONDS)
            assert (asked.status, asked.body) == (status, b"")
        assert served.connections == 1


async def test_a_head_is_answered_without_the_body_that_it_tells_of() -> None:
    def script(served: Served, _: asyncio.StreamWriter) -> bytes:
        return OK.removesuffix(b"ok") if served.requests[-1].startswith(b"HEAD") else OK

    async with serving(script) as (client, served):
        for method, body in (("HEAD", b""), ("GET", b"ok"), ("HEAD", b""), ("GET", b"ok")):
            asked = await client.ask(method, "/x", limit=1000, seconds=SECONDS)
            assert (asked.headers["content-length"], asked.body) == ("2", body)
        assert served.connections == 1


async def test_a_body_longer_than_is_read_ahead_comes_whole() -> None:
    body = bytes(range(256)) * 20_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(lambda *_: answer) as (client, served):
        for _ in range(2):
            assert await get(client, limit=len(body)) == body
        assert served.connections == 1


async def test_time_and_the_number_of_connections_are_bounded() -> None:
    async with serving(lambda *_: b"") as (client, _):
        with pytest.raises(TimeoutError):
            await client.ask("GET", "/", limit=10, seconds=0.05)
    client = HttpClient("http://127.0.0.1:1", headers={})
    with pytest.raises(HttpError):
        await get(client)
    await client.close()
    with pytest.raises(HttpError, match="closed"):
        await get(client)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ü", "/\x00"])
async def test_what_is_no_path(path: str) -> None:
    client = HttpClient("http://127.0.0.1:1", headers={})
    with pytest.raises(ValueError, match="not a path"):
        await get(client, path)
    with pytest.raises(ValueError, match="line end"):
        HttpClient("http://127.0.0.1:1", headers={"A": "b\r\nC: d"})


async def test_the_systems_cas_are_read_when_a_server_has_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("log"))
    system_tls.cache_clear()
    async with serving(lambda *_: OK, tls) as (client, _):
        with pytest.raises(HttpError, match="TLS"):
            await get(client)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    system_tls.cache_clear()
    try:
        async with serving(lambda *_: OK, tls) as (client, _):
            assert await get(client) == b"ok"
    finally:
        system_tls.cache_clear()


async def test_an_answer_to_a_body_that_has_not_come_whole() -> None:
    """The answer is taken, the rest is not sent, and the connection is not used again."""
    handlers: list[asyncio.Task[None] | None] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 50000000\r\n" in head or head.startswith(b"GET")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 10)
    client = HttpClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", headers={})
    try:
        answer = await client.ask("POST", "/", limit=10, seconds=SECONDS, body=bytes(50_000_000))
        assert (answer.status, answer.body) == (413, b"no")
        assert (await client.ask("GET", "/", limit=10, seconds=SECONDS)).status == 413
        assert len(handlers) == 2
    finally:
        await client.close()
        server.close()
        await asyncio.gather(*filter(None, handlers))


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 5_000
    async with serving(lambda *_: OK) as (client, served):
        for _ in range(2):
            answer = await client.ask("POST", "/", limit=10, seconds=SECONDS, body=body)
            assert answer.body == b"ok"
        assert served.connections == 1
        assert all(request.endswith(b"\r\n\r\n" + body) for request in served.requests)


async def test_the_headers_of_a_request_count_before_those_of_all() -> None:
    async with serving(lambda *_: OK) as (client, served):
        await get(client)
        url = "http://" + served.requests.pop().split(b"\r\n")[1].partition(b": ")[2].decode()
        headers = {"user-agent": "other", "Content-Type": "text/plain"}
        await client.request("PUT", url, limit=10, seconds=SECONDS, headers=headers, body=b"x")
        await client.request("POST", url, limit=10, seconds=SECONDS)
        put, post = served.requests
        assert put.count(b"gent: ") == 1
        assert b": other\r\n" in put
        assert b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx" in put
        assert post.endswith(b"\r\nContent-Length: 0\r\n\r\n")
        assert len(served.requests) == 2


async def test_a_body_that_stops_coming_is_waited_for_until_the_deadline() -> None:
    answers = iter([OK, OK[:-1], OK])
    async with serving(lambda *_: next(answers)) as (client, served):
        assert await get(client) == b"ok"
        with pytest.raises(TimeoutError):
            await client.ask("GET", "/x", limit=10, seconds=0.05)
        assert await get(client) == b"ok"
        assert served.connections == 2


@pytest.mark.parametrize("scheme", ["ftp", "ws", "gopher"])
async def test_only_http_is_asked_by_http(scheme: str) -> None:
    async with serving(lambda *_: OK) as (client, served):
        await get(client)
        host = served.requests.pop().split(b"\r\n")[1].partition(b": ")[2].decode()
        with pytest.raises(HttpError):
            await client.request("GET", f"{scheme}://{host}/", limit=10, seconds=SECONDS)
        assert served.requests == []


@pytest.mark.parametrize("text", ["a\r\nB: c", "a\nB: c", "a\rB", "a\0", "a\1", "a\x1f", "a\x7f"])
async def test_a_control_character_is_sent_in_no_header(text: str) -> None:
    async with serving(lambda *_: OK) as (client, served):
        await get(client)
        url = "http://" + served.requests.pop().split(b"\r\n")[1].partition(b": ")[2].decode()
        with pytest.raises(HttpError):
            await client.request("GET", url, limit=10, seconds=SECONDS, headers={"A": text})
        with pytest.raises(HttpError):
            await client.request(f"GET{text}", url, limit=10, seconds=SECONDS)
        await client.request("GET", url, limit=10, seconds=SECONDS, headers={"A": "a\tb"})
        assert len(served.requests) == 1
