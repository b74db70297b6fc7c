"""The lean HTTP client against servers that send exactly these bytes."""

import asyncio
import gc
import socket
import ssl
import warnings
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from certificates import Authority
from muniment.http import client as client_module
from muniment.http.answer import HttpError, TooLongError
from muniment.http.client import HttpClient, HttpSession
from muniment.http.exchange import MAX_HEAD
from muniment.http.origin import system_tls
from waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Served:
    """What a server saw: its connections, and every request on them."""

    url = ""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []


Script = Callable[[Served, asyncio.StreamWriter], bytes | None]


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, connections: int | None = None
) -> AsyncIterator[tuple[HttpClient, Served]]:
    """Answers each request with what the script says; None closes the connection."""
    served = Served()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(
                    head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0
                )
                served.requests.append(head + await reader.readexactly(int(length or 0)))
                answer = script(served, writer)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    scheme = "http" if tls is None else "https"
    served.url = f"{scheme}://127.0.0.1:{port}/base/"
    client = HttpClient(
        served.url,
        headers={"User-Agent": "test"},
        connections=connections,
    )
    try:
        yield client, served
    finally:
        await client.close()
        server.close()


async def get(client: HttpClient, path: str = "/x", limit: int = 1000) -> bytes:
    return (await client.ask("GET", path, limit=limit, seconds=5)).body


async def test_requests_share_a_connection() -> None:
    async with serving(lambda *_: OK) as (client, served):
        assert await get(client) == b"ok"
        answer = await client.ask("POST", "/y?z", limit=10, seconds=5, body=b"body")
        assert (answer.status, answer.body) == (200, b"ok")
        assert served.connections == 1
        host = served.requests[0].split(b"\r\n")[1]
        assert served.requests == [
            b"GET /base/x HTTP/1.1\r\n" + host + b"\r\nUser-Agent: test\r\n\r\n",
            b"POST /base/y?z HTTP/1.1\r\n" + host + b"\r\nUser-Agent: test\r\n"
            b"Content-Type: application/octet-stream\r\nContent-Length: 4\r\n\r\nbody",
        ]
        await asyncio.gather(*(get(client) for _ in range(5)))
        assert served.connections > 1


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


async def test_an_answer_may_end_with_its_connection() -> None:
    def script(_: Served, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nok")

    async with serving(script) as (client, served):
        assert await get(client) == await get(client) == b"ok"
        assert served.connections == 2


async def test_a_kept_connection_that_has_ended_costs_no_request() -> None:
    def script(served: Served, _: asyncio.StreamWriter) -> bytes | None:
        return OK if len(served.requests) != 2 else None

    async with serving(script) as (client, served):
        assert await get(client, "/1") == b"ok"
        assert await get(client, "/2") == b"ok"  # closed when it came, and sent again
        assert served.connections == 2
        assert [r.split()[1] for r in served.requests] == [b"/base/1", b"/base/2", b"/base/2"]


async def test_a_new_connection_without_an_answer_is_an_error() -> None:
    async with serving(lambda *_: None) as (client, served):
        with pytest.raises(HttpError):
            await get(client)
        assert served.connections <= 2  # what may be repeated is tried once more


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


async def test_what_nobody_asked_for_is_no_answer() -> None:
    extra = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async with serving(lambda *_: OK + extra) as (client, served):
        assert await get(client) == b"ok"
        assert await get(client) == b"ok"
        assert served.connections == 2


async def test_the_begin_of_another_answer_ends_a_connection() -> None:
    """Else the next answer would be read as the rest of it."""
    async with serving(lambda *_: OK + b"HTTP/1.1 200 OK\r\nA: ") as (client, served):
        assert await get(client) == b"ok"
        assert await get(client) == b"ok"
        assert served.connections == 2


async def test_a_trailer_is_no_header_of_the_next_answer() -> None:
    answers = iter([CHUNKED + b"2\r\nok\r\n0\r\nContent-Encoding: gzip\r\n\r\n", OK])
    async with serving(lambda *_: next(answers)) as (client, served):
        assert await get(client) == b"ok"
        assert (await client.ask("GET", "/x", limit=1000, seconds=5)).headers == {
            "content-length": "2"
        }
        assert served.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_keep_their_connection(status: int) -> None:
    answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, 0 if status == 204 else 2)
    async with serving(lambda *_: answer) as (client, served):
        for method in ("GET", "HEAD", "HEAD", "GET"):
            asked = await client.ask(method, "/x", limit=1000, seconds=5)
            assert (asked.status, asked.body) == (status, b"")
        assert served.connections == 1


async def test_a_head_is_answered_without_the_body_that_it_tells_of() -> None:
    def script(served: Served, _: asyncio.StreamWriter) -> bytes:
        return OK.removesuffix(b"ok") if served.requests[-1].startswith(b"HEAD") else OK

    async with serving(script) as (client, served):
        for method, body in (("HEAD", b""), ("GET", b"ok"), ("HEAD", b""), ("GET", b"ok")):
            asked = await client.ask(method, "/x", limit=1000, seconds=5)
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


@pytest.mark.parametrize("ends", ["by its deadline", "by its caller"])
def test_what_is_still_being_sent_ends_with_the_client(ends: str) -> None:
    """The server takes nothing: else the connection would outlive the client, and its loop."""

    async def main(port: int) -> None:
        client = HttpClient(f"http://127.0.0.1:{port}", headers={})
        seconds = 0.2 if ends == "by its deadline" else 60.0
        asking = client.ask("POST", "/", limit=10, seconds=seconds, body=bytes(20_000_000))
        task = asyncio.create_task(asking)
        await asyncio.wait({task}, timeout=0.2)
        task.cancel()
        with pytest.raises((TimeoutError, asyncio.CancelledError)):
            await task
        await client.close()

    gc.collect()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        asyncio.run(main(server.getsockname()[1]))
        gc.collect()
    assert [str(one.message) for one in told if issubclass(one.category, ResourceWarning)] == []


@pytest.mark.parametrize(
    ("connections", "said"),
    [
        (1, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        (4, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=["an answer", "408 on each idle connection"],
)
async def test_what_came_before_it_was_asked_is_no_answer(connections: int, said: bytes) -> None:
    """Connections on which a server spoke out of turn are not used, and cost no request."""
    writers: list[asyncio.StreamWriter] = []

    def script(_: Served, writer: asyncio.StreamWriter) -> bytes:
        writers.append(writer)
        return OK

    async with serving(script) as (client, served), serving(lambda *_: OK) as (other, _):
        await asyncio.gather(*(get(client) for _ in range(connections)))
        assert served.connections == connections
        for writer in set(writers):
            writer.write(said)
        await get(other)  # by whose answer the loop has read what came before it
        assert await get(client) == b"ok"
        assert served.connections == connections + 1


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
        answer = await client.ask("POST", "/", limit=10, seconds=30, body=bytes(50_000_000))
        assert (answer.status, answer.body) == (413, b"no")
        assert (await client.ask("GET", "/", limit=10, seconds=30)).status == 413
        assert len(handlers) == 2
    finally:
        await client.close()
        server.close()
        await asyncio.gather(*filter(None, handlers))


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 5_000
    async with serving(lambda *_: OK) as (client, served):
        for _ in range(2):
            answer = await client.ask("POST", "/", limit=10, seconds=30, body=body)
            assert answer.body == b"ok"
        assert served.connections == 1
        assert all(request.endswith(b"\r\n\r\n" + body) for request in served.requests)


async def test_the_headers_of_a_request_count_before_those_of_all() -> None:
    async with serving(lambda *_: OK) as (client, served):
        await get(client)
        url = "http://" + served.requests.pop().split(b"\r\n")[1].partition(b": ")[2].decode()
        headers = {"user-agent": "other", "Content-Type": "text/plain"}
        await client.request("PUT", url, limit=10, seconds=5, headers=headers, body=b"x")
        await client.request("POST", url, limit=10, seconds=5)
        put, post = served.requests
        assert put.count(b"gent: ") == 1
        assert b": other\r\n" in put
        assert b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx" in put
        assert post.endswith(b"\r\nContent-Length: 0\r\n\r\n")
        assert len(served.requests) == 2


async def test_no_connection_is_lost_to_requests_that_fail() -> None:
    """With one connection at a time: what fails or is given up gives it back."""
    answers = iter([None, b"garbage\r\n\r\n", b"", CHUNKED + b"zz\r\n", OK])

    async with serving(lambda *_: next(answers, OK), connections=1) as (client, served):
        outcomes: list[object] = []
        for _ in range(4):
            asking = asyncio.create_task(client.ask("GET", "/", limit=9, seconds=30))
            if len(outcomes) == 1:  # to which nothing is answered: given up once it has come
                await until(lambda: len(served.requests) == 3)
                asking.cancel()
            try:
                outcomes.append((await asking).body)
            except (HttpError, asyncio.CancelledError) as error:
                outcomes.append(type(error))
        assert outcomes == [HttpError, asyncio.CancelledError, HttpError, b"ok"]


async def test_the_one_connection_goes_to_whoever_waits_for_it() -> None:
    async with serving(lambda *_: OK, connections=1) as (client, served):
        assert await asyncio.gather(*(get(client) for _ in range(4))) == [b"ok"] * 4
        assert served.connections == 1


async def test_a_connection_that_is_kept_makes_way_for_another_server() -> None:
    async with (
        serving(lambda *_: OK) as (_, one),
        serving(lambda *_: OK) as (_, other),
        HttpSession(headers={}, connections=1) as session,
    ):
        for served in (one, other, one, one):
            answer = await session.request("GET", served.url, limit=10, seconds=30)
            assert answer.body == b"ok"


async def test_a_server_that_is_forgotten_gets_its_connection_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "_ORIGINS", 1)
    writers: list[asyncio.StreamWriter] = []

    async def ask(served: Served) -> None:
        await session.request("GET", served.url, limit=10, seconds=30)

    def script(_: Served, writer: asyncio.StreamWriter) -> bytes:
        writers.append(writer)
        return b"" if len(writers) == 1 else OK

    async with (
        serving(script) as (_, one),
        serving(lambda *_: OK) as (_, other),
        HttpSession(headers={}) as session,
    ):
        asking = asyncio.create_task(ask(one))
        await until(lambda: bool(writers))
        await ask(other)
        writers[0].write(OK)
        await asking
        await ask(one)
        assert (one.connections, other.connections) == (1, 1)


async def test_a_connection_that_was_kept_for_long_is_aiohttps_to_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "KEEP_SECONDS", 0.0)
    async with serving(lambda *_: OK) as (client, served), serving(lambda *_: OK) as (other, _):
        for _ in range(3):
            assert await get(client) == b"ok"
            await get(other)  # by whose answer the time is up
        assert served.connections == 3


async def test_a_body_that_stops_coming_is_waited_for_until_the_deadline() -> None:
    answers = iter([OK, OK[:-1], OK])
    async with serving(lambda *_: next(answers)) as (client, served):
        assert await get(client) == b"ok"
        with pytest.raises(TimeoutError):
            await client.ask("GET", "/x", limit=10, seconds=0.05)
        assert await get(client) == b"ok"
        assert served.connections == 2


async def test_who_waits_for_a_connection_is_told_that_the_client_is_closed() -> None:
    async with serving(lambda *_: b"", connections=1) as (client, served):
        asking = [asyncio.create_task(get(client)) for _ in range(3)]
        await until(lambda: bool(served.requests))
        await client.close()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert [str(one) for one in done] == ["the client is closed"] * 3
        assert {type(one) for one in done} == {HttpError}


@pytest.mark.parametrize("scheme", ["ftp", "ws", "gopher"])
async def test_only_http_is_asked_by_http(scheme: str) -> None:
    async with serving(lambda *_: OK) as (client, served):
        await get(client)
        host = served.requests.pop().split(b"\r\n")[1].partition(b": ")[2].decode()
        with pytest.raises(HttpError):
            await client.request("GET", f"{scheme}://{host}/", limit=10, seconds=5)
        assert served.requests == []


@pytest.mark.parametrize("text", ["a\r\nB: c", "a\nB: c", "a\rB", "a\0", "a\1", "a\x1f", "a\x7f"])
async def test_a_control_character_is_sent_in_no_header(text: str) -> None:
    async with serving(lambda *_: OK) as (client, served):
        await get(client)
        url = "http://" + served.requests.pop().split(b"\r\n")[1].partition(b": ")[2].decode()
        with pytest.raises(HttpError):
            await client.request("GET", url, limit=10, seconds=5, headers={"A": text})
        with pytest.raises(HttpError):
            await client.request(f"GET{text}", url, limit=10, seconds=5)
        await client.request("GET", url, limit=10, seconds=5, headers={"A": "a\tb"})
        assert len(served.requests) == 1
