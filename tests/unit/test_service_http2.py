"""HTTP/2 on a connection that the server has opened: requests, bodies, bounds, and its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from bastions import Client, client_of
from muniment_service import http2, http2frames
from muniment_service.http import Request, Response, text_response
from muniment_service.http2 import MAX_STREAMS, Http2Connection
from muniment_service.http2frames import PREFACE, FrameReader, Http2Error
from muniment_service.limits import Budget, Limits
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_service.wire import MAX_HEADERS
from waiting import until

LIMITS = Limits(body_seconds=30.0, send_seconds=30.0, grace_seconds=30.0)
MOST = 100_000


@dataclass
class Stand:
    """A server on a connection of its own, and who is at the other end."""

    connection: Http2Connection
    client: Client
    serving: "asyncio.Task[None]"
    budget: Budget
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    async def fails(self) -> str:
        """How serving ends."""
        with pytest.raises(Http2Error) as caught:
            await self.serving
        return str(caught.value)


def app_of(stand: Callable[[], Stand]) -> App:
    app = App(Metrics("test"))

    async def echo(request: Request) -> Response:
        body = await request.body(MOST)
        stand().asked.append(request.path)
        return Response(200, body, "application/octet-stream", {"X-Seen": request.headers["x-a"]})

    async def wait(request: Request) -> Response:
        stand().asked.append(request.path)
        await stand().opened.wait()
        return text_response("opened")

    async def large(_: Request) -> Response:
        return Response(200, bytes(range(256)) * 4096)

    async def unread(_: Request) -> Response:
        return text_response("not read", 403)

    async def broken(_: Request) -> Response:
        return text_response("x", headers={"X-Broken": "a\nb"})

    for method, path, handler in (
        ("POST", "/echo", echo),
        ("GET", "/wait", wait),
        ("GET", "/large", large),
        ("POST", "/unread", unread),
        ("GET", "/broken", broken),
    ):
        app.route(method, path, handler)
    return app


@contextlib.asynccontextmanager
async def standing(
    limits: Limits = LIMITS, budget: int = 1 << 20, *, begins: bool = True
) -> AsyncIterator[Stand]:
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )
    listening = await asyncio.start_server(lambda *ends: accepted.set_result(ends), "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()[:2]
    ends = await asyncio.open_connection(host, port)
    bodies = Budget(budget)
    connection = Http2Connection(*ends, app_of(lambda: stand), limits, bodies)
    serving = asyncio.create_task(connection.serve())
    try:
        async with client_of(*await accepted) as client:
            stand = Stand(connection, client, serving, bodies)
            if begins:
                await client.begin()
            yield stand
            stand.opened.set()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()
        await listening.wait_closed()


def error_of(client: Client) -> int:
    [each] = [one for one in client.events if isinstance(one, h2.events.ConnectionTerminated)]
    return int(each.error_code or 0)


SEEN = [("x-a", "1"), ("x-a", "2")]


async def test_requests_are_answered_as_over_http_1() -> None:
    async with standing() as stand:
        client = stand.client
        status, headers, body = await client.ask("/echo", b"hello", headers=SEEN)
        assert (status, body, headers["x-seen"]) == (200, b"hello", "1, 2")
        assert headers["content-length"] == "5"
        assert headers["cache-control"] == "no-store"
        assert headers["server"] == "muniment"
        assert "date" in headers
        assert not {"connection", "transfer-encoding", "set-cookie"} & headers.keys()
        assert (await client.ask("/nothing"))[0] == 404
        status, headers, body = await client.ask("/echo")
        assert (status, headers["allow"]) == (405, "POST")
        status, headers, body = await client.ask("/large", method="HEAD")
        assert (status, body, headers["content-length"]) == (200, b"", str(1 << 20))


async def test_a_large_answer_waits_for_the_window() -> None:
    async with standing() as stand:
        answers = [stand.client.send("/large") for _ in range(3)]
        await stand.client.flush()
        for stream in answers:
            assert (await stand.client.answer(stream))[2] == bytes(range(256)) * 4096


async def test_who_does_not_take_an_answer_loses_it() -> None:
    limits = Limits(send_seconds=0.2)
    async with standing(limits) as stand:
        client = stand.client
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        await client.flush()
        stream = client.send("/large")
        await client.flush()
        with pytest.raises(ConnectionResetError, match="CANCEL"):
            await client.answer(stream)
        assert (await client.ask("/nothing"))[0] == 404


async def test_requests_are_answered_side_by_side() -> None:
    async with standing() as stand:
        client = stand.client
        waiting = [client.send("/wait") for _ in range(MAX_STREAMS - 1)]
        assert (await client.ask("/echo", b"x", headers=SEEN))[0] == 200
        stand.opened.set()
        for stream in waiting:
            assert (await client.answer(stream))[0] == 200


async def test_a_body_is_bounded() -> None:
    async with standing() as stand:
        client = stand.client
        length = [("content-length", str(MOST + 1)), *SEEN]
        assert (await client.ask("/echo", b"a", headers=length, ends=False))[0] == 413
        stream = client.send("/echo", bytes(16_000), headers=SEEN, ends=False)
        for _ in range(6):
            await client.flush()
            await until(lambda: client.h2.local_flow_control_window(stream) >= 16_000)
            client.h2.send_data(stream, bytes(16_000))
        await client.flush()
        assert (await client.answer(stream))[0] == 413
        coded = [("content-encoding", "gzip"), *SEEN]
        assert (await client.ask("/echo", b"a", headers=coded))[0] == 415
        status, _, body = await client.ask("/echo", b"a" * 60_000, headers=SEEN)
        assert (status, len(body)) == (200, 60_000)


async def test_bodies_together_have_a_budget() -> None:
    async with standing(budget=50_000) as stand:
        client = stand.client
        first = client.send("/echo", bytes(16_000), headers=SEEN, ends=False)
        client.h2.send_data(first, bytes(16_000))
        client.h2.send_data(first, bytes(16_000))
        await client.flush()
        await until(lambda: stand.budget.left < 5_000)
        assert (await client.ask("/echo", bytes(16_000), headers=SEEN))[0] == 503
        client.h2.end_stream(first)
        await client.flush()
        assert (await client.answer(first))[0] == 200
        assert (await client.ask("/echo", bytes(16_000), headers=SEEN))[0] == 200


async def test_a_slow_body_is_given_up() -> None:
    async with standing(Limits(body_seconds=0.2)) as stand:
        assert (await stand.client.ask("/echo", b"a", headers=SEEN, ends=False))[0] == 408


async def test_what_is_not_read_does_not_keep_the_others_from_sending() -> None:
    async with standing() as stand:
        client = stand.client
        for _ in range(100):
            answer = await client.ask("/unread", bytes(16_000), ends=False)
            assert (answer[0], answer[2]) == (403, b"not read")
        assert (await client.ask("/echo", b"a", headers=SEEN))[0] == 200


async def test_an_answer_that_cannot_be_written_is_none() -> None:
    async with standing() as stand:
        with pytest.raises(ConnectionResetError, match="INTERNAL_ERROR"):
            await stand.client.ask("/broken")
        assert (await stand.client.ask("/nothing"))[0] == 404


async def test_headers_are_bounded() -> None:
    async with standing() as stand:
        many = [(f"a{number}", "") for number in range(MAX_HEADERS + 1)]
        status, _, body = await stand.client.ask("/wait", headers=many)
        assert (status, b"head-too-large" in body) == (431, True)
        stand.client.send("/wait", headers=[("large", "a" * 17_000)])
        await stand.client.flush()
        assert "not HTTP/2" in await stand.fails()
        await stand.client.ended()
        assert error_of(stand.client) == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "field",
    [
        ("x-a", " 1"),
        ("x-a", "1\t"),
        ("X-A", "1"),
        ("x:a", "1"),
        ("te", "gzip"),
        ("keep-alive", "1"),
        (":scheme", "https"),
    ],
)
async def test_a_malformed_request_is_answered_alone(field: tuple[str, str]) -> None:
    async with standing() as stand:
        client = stand.client
        client.h2.config.validate_outbound_headers = False
        client.h2.config.normalize_outbound_headers = False
        first = client.send("/wait")
        bad = client.send("/echo", method="POST", headers=[field])
        await client.flush()
        status, _, body = await client.answer(bad)
        assert (status, b"malformed" in body) == (400, True)
        stand.opened.set()
        assert (await client.answer(first))[2] == b"opened"
        assert (await client.ask("/nothing", headers=[("te", "trailers")]))[0] == 404
        assert stand.asked == ["/wait"]


async def test_a_path_is_needed() -> None:
    async with standing() as stand:
        client = stand.client
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(
            stream, [(":method", "CONNECT"), (":authority", "a")], end_stream=True
        )
        await client.flush()
        assert (await client.answer(stream))[0] == 400


async def test_what_was_reset_counts_until_it_is_done() -> None:
    async with standing() as stand:
        client, before = stand.client, asyncio.all_tasks()
        for _ in range(MAX_STREAMS):
            client.h2.reset_stream(client.send("/wait"), ErrorCodes.CANCEL)
        await client.flush()
        await until(lambda: len(stand.asked) == MAX_STREAMS)
        with pytest.raises(ConnectionResetError, match="REFUSED_STREAM"):
            await client.ask("/wait")
        stand.opened.set()
        await until(lambda: asyncio.all_tasks() <= before)
        assert (await client.ask("/wait"))[0] == 200


async def test_too_many_streams_end_the_connection() -> None:
    async with standing() as stand:
        client = stand.client
        newest = [client.send("/wait") for _ in range(MAX_STREAMS)][-1]
        await client.flush()
        block = client.h2.encoder.encode([(":method", "GET"), (":path", "/"), (":scheme", "a")])
        head = len(block).to_bytes(3) + b"\x01\x05" + (newest + 2).to_bytes(4)
        client.writer.write(head + block)
        stand.opened.set()
        assert "not HTTP/2" in await stand.fails()


def ping(number: int) -> bytes:
    return b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + number.to_bytes(8)


def reset(number: int) -> bytes:
    return b"\x00\x00\x04\x03\x00" + number.to_bytes(4) + bytes(4)


FLOODS: Mapping[str, Callable[[int], bytes]] = {
    "ping": ping,
    "settings": lambda _: b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "window": lambda _: b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    "unknown": lambda _: b"\x00\x00\x01\xbb\x00\x00\x00\x00\x00a",
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_ends_the_connection(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2frames, "IDLE_PER_SECOND", 1.0)
    monkeypatch.setattr(http2frames, "IDLE_BURST", 50.0)
    async with standing() as stand:
        assert (await stand.client.ask("/nothing"))[0] == 404
        stand.client.writer.write(b"".join(map(FLOODS[kind], range(100))))
        assert await stand.fails() == "too many frames without a request"
        await stand.client.ended()
        assert error_of(stand.client) == ErrorCodes.ENHANCE_YOUR_CALM


async def test_requests_that_are_reset_at_once_are_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2frames, "IDLE_PER_SECOND", 1.0)
    monkeypatch.setattr(http2frames, "IDLE_BURST", 50.0)
    async with standing() as stand:
        for _ in range(60):
            stand.client.h2.reset_stream(stand.client.send("/wait"), ErrorCodes.CANCEL)
        await stand.client.flush()
        stand.opened.set()
        assert await stand.fails() == "too many frames without a request"


async def test_a_bastion_that_says_nothing_is_asked_and_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2, "PING_SECONDS", 0.05)
    monkeypatch.setattr(http2, "PONG_SECONDS", 0.05)
    async with standing() as stand:
        await until(lambda: any(isinstance(e, h2.events.PingReceived) for e in stand.client.events))
        assert not stand.serving.done() or "ping" in await stand.fails()
        stand.client.fall_silent()
        assert await stand.fails() == "no answer to a ping"


async def test_what_is_no_http_2_is_said_so() -> None:
    async with standing(begins=False) as stand:
        stand.client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await stand.fails() == "the other side does not speak HTTP/2"
        assert not stand.connection.is_begun


async def test_the_other_side_may_leave_and_gets_its_answers() -> None:
    """h2 would send nothing after a GOAWAY."""
    async with standing() as stand:
        client = stand.client
        stream = client.send("/wait")
        await client.flush()
        await until(lambda: bool(stand.asked))
        client.writer.write(http2frames.goaway(0, 0))
        await client.writer.drain()
        stand.opened.set()
        assert (await client.answer(stream))[0] == 200
        await stand.serving
        await client.ended()


async def test_a_server_that_ends_answers_what_has_come() -> None:
    async with standing() as stand:
        client = stand.client
        stream = client.send("/wait")
        await client.flush()
        await until(lambda: bool(stand.asked))
        # The client's own h2 would hear of nothing after the first GOAWAY.
        ends = Ends()
        client.h2.receive_data = ends.take  # type: ignore[method-assign]
        finishing = asyncio.create_task(stand.connection.finish())
        await until(lambda: ends.has(b"\x07", http2frames.LAST_STREAM.to_bytes(4) + bytes(4)))
        await until(lambda: ends.has(b"\x06", b"finished"))
        client.writer.write(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00finished")
        assert not finishing.done()
        stand.opened.set()
        await finishing
        await client.ended()
        await stand.serving
        assert ends.has(b"\x00", b"opened")
        assert ends.has(b"\x07", stream.to_bytes(4) + bytes(4))


async def test_a_server_does_not_wait_for_a_client_that_is_gone() -> None:
    async with standing() as stand:
        finishing = asyncio.create_task(stand.connection.finish())
        stand.client.writer.close()
        async with asyncio.timeout(LIMITS.grace_seconds / 2):
            await finishing
        await asyncio.wait([stand.serving])


class Ends:
    """Frames that came, by kind and payload."""

    def __init__(self) -> None:
        self.data = b""

    def take(self, data: bytes) -> list[h2.events.Event]:
        self.data += data
        return []

    def has(self, kind: bytes, payload: bytes) -> bool:
        rest = self.data
        while rest:
            length = int.from_bytes(rest[:3])
            if rest[3:4] == kind and rest[9 : 9 + length] == payload:
                return True
            rest = rest[9 + length :]
        return False


def test_frames_are_cut_wherever_the_bytes_are() -> None:
    sent = PREFACE + ping(1) + http2frames.goaway(0, 0) + ping(2) + ping(3)[:5]
    for step in (1, 7, 16, len(sent)):
        frames = FrameReader(lambda: 0.0)
        cut = [
            frame for at in range(0, len(sent), step) for frame in frames.cut(sent[at : at + step])
        ]
        assert cut == [PREFACE, ping(1), ping(2)]
        assert frames.is_begun
        assert frames.is_leaving
    frames = FrameReader(lambda: 0.0)
    with pytest.raises(Http2Error, match="more than 16384 bytes"):
        list(frames.cut(PREFACE + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01"))
