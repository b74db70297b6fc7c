"""The lean HTTP client's connections: shared, kept, given up, and lost to nothing."""

import asyncio
import gc
import socket
import warnings
from collections.abc import Callable
from contextvars import Context

import pytest

from exact_server import CHUNKED, OK, Served, get, serving
from muniment.http import client as client_module
from muniment.http.answer import HttpError
from muniment.http.client import HttpClient, HttpSession
from muniment.http.exchange import HttpExchange
from waiting import SECONDS, until


async def test_requests_share_a_connection() -> None:
    async with serving(lambda *_: OK) as (client, served):
        assert await get(client) == b"ok"
        answer = await client.ask("POST", "/y?z", limit=10, seconds=SECONDS, body=b"body")
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


async def test_no_connection_is_lost_to_requests_that_fail() -> None:
    """With one connection at a time: what fails or is given up gives it back."""
    answers = iter([None, b"garbage\r\n\r\n", b"", CHUNKED + b"zz\r\n", OK])

    async with serving(lambda *_: next(answers, OK), connections=1) as (client, served):
        outcomes: list[object] = []
        for _ in range(4):
            asking = asyncio.create_task(client.ask("GET", "/", limit=9, seconds=SECONDS))
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


@pytest.mark.parametrize("ends", ["given back", "closed"])
async def test_the_one_connection_is_not_lost_to_who_gives_up_as_it_gets_it(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whose deadline is just when a request before it ends: who waits behind it gets it."""

    def freed(exchange: HttpExchange) -> None:
        free(exchange)
        asking[1].cancel()

    free = getattr(HttpExchange, "close" if ends == "closed" else "give_back")
    monkeypatch.setattr(HttpExchange, free.__name__, freed)
    writers: list[asyncio.StreamWriter] = []

    def script(_: Served, writer: asyncio.StreamWriter) -> bytes:
        writers.append(writer)
        return b"" if len(writers) == 1 else OK

    async with serving(script, connections=1) as (client, _):
        asking = [asyncio.create_task(get(client)) for _ in range(3)]
        await until(lambda: bool(writers))
        writers[0].write(b"no HTTP\r\n\r\n" if ends == "closed" else OK)
        first, second, third = await asyncio.gather(*asking, return_exceptions=True)
        assert first == b"ok" or isinstance(first, HttpError)
        assert isinstance(second, asyncio.CancelledError)
        assert third == b"ok"


async def test_a_connection_that_is_kept_makes_way_for_another_server() -> None:
    async with (
        serving(lambda *_: OK) as (_, one),
        serving(lambda *_: OK) as (_, other),
        HttpSession(headers={}, connections=1) as session,
    ):
        for served in (one, other, one, one):
            answer = await session.request("GET", served.url, limit=10, seconds=SECONDS)
            assert answer.body == b"ok"


async def test_a_server_that_is_forgotten_gets_its_connection_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "_ORIGINS", 1)
    writers: list[asyncio.StreamWriter] = []

    async def ask(served: Served) -> None:
        await session.request("GET", served.url, limit=10, seconds=SECONDS)

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


async def test_who_waits_for_a_connection_is_told_that_the_client_is_closed() -> None:
    async with serving(lambda *_: b"", connections=1) as (client, served):
        asking = [asyncio.create_task(get(client)) for _ in range(3)]
        await until(lambda: bool(served.requests))
        await client.close()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert [str(one) for one in done] == ["the client is closed"] * 3
        assert {type(one) for one in done} == {HttpError}


async def test_who_waits_for_an_address_is_told_that_the_client_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiohttp cancels what looks for it, and who waits for that: he was not cancelled himself."""
    looking = asyncio.Event()

    async def never(*_: object, **__: object) -> list[object]:
        looking.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    async with HttpSession(headers={}) as session:
        asking = session.request("GET", "http://log.example/", limit=10, seconds=SECONDS)
        task = asyncio.create_task(asking)
        await looking.wait()
        await session.close()
        with pytest.raises(HttpError, match="the client is closed"):
            await task


@pytest.mark.parametrize(
    "said", [b"H", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"]
)
async def test_a_server_that_speaks_while_nothing_is_asked_is_heard_no_further(said: bytes) -> None:
    """Else what it says would be kept, however much that is."""
    writers: list[asyncio.StreamWriter] = []

    def script(_: Served, writer: asyncio.StreamWriter) -> bytes:
        writers.append(writer)
        return OK

    async with serving(script) as (client, _):
        assert await get(client) == b"ok"
        writers[0].write(said)
        await until(writers[0].is_closing)  # as the client has closed it


async def test_the_deadline_of_a_request_is_none_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However it ends, on a connection that is kept or not."""
    loop = asyncio.get_running_loop()
    call_at, timers = loop.call_at, list[asyncio.TimerHandle]()

    def called_at(
        when: float, call: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = call_at(when, call, *args, context=context)
        if isinstance(getattr(call, "__self__", None), HttpExchange):
            timers.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_at", called_at)
    answers = iter([OK, OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"garbage\r\n\r\n", None, None, b""])
    async with serving(lambda *_: next(answers)) as (client, served):
        for ends in (b"ok", b"ok", b"ok", HttpError, HttpError, asyncio.CancelledError):
            asking = asyncio.create_task(get(client))
            if ends is asyncio.CancelledError:
                await until(lambda: len(served.requests) == 7)
                asking.cancel()
            (ended,) = await asyncio.gather(asking, return_exceptions=True)
            assert ends in (ended, type(ended))
        assert len(timers) == len(served.requests) == 7
        assert all(timer.cancelled() for timer in timers)
