"""Several tiles asked for over one connection at once: from servers that like it, and others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

import pytest

from muniment.audit.check import LeafRules
from muniment.audit.reader import Job, examine_span
from muniment.http.answer import Answer
from muniment.http.client import HttpClient
from muniment.http.logclient import LogClient
from muniment.http.servedtiles import ServedTiles
from muniment.records.forms import Forms
from muniment.tlog.tiles import ENTRIES, Tile
from waiting import SECONDS

TILES = [Tile(0, number) for number in range(6)]


@dataclass
class Turned:
    """A server that answers one request after the other, and what it saw."""

    answer: Callable[[int, str], bytes | None]
    """What it answers to the n-th request of a connection; None closes that."""
    connections: int = 0
    asked: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    """How many requests had come when each was answered, of its connection."""
    tasks: list[asyncio.Task[None] | None] = field(default_factory=list)

    async def connected(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        with closing(writer), suppress(ConnectionError):
            await self.serve(stream, writer)

    async def serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data, number = b"", 0
        while more := await stream.read(1 << 16):
            data += more
            while b"\r\n\r\n" in data:
                self.waiting.append(data.count(b"\r\n\r\n"))
                head, _, data = data.partition(b"\r\n\r\n")
                self.asked.append(head.split()[1].decode())
                answer = self.answer(number, self.asked[-1])
                number += 1
                if answer is None:
                    return
                writer.write(answer)


@asynccontextmanager
async def serving(answer: Callable[[int, str], bytes | None]) -> AsyncIterator[tuple[str, Turned]]:
    turned = Turned(answer)
    server = await asyncio.start_server(turned.connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", turned
    finally:
        server.close()
        await asyncio.gather(*[one for one in turned.tasks if one is not None])


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def content(path: str) -> bytes:
    return path.encode().ljust(8192, b".")


async def in_turn(
    url: str, paths: list[str], limit: int = 8192, seconds: float = SECONDS
) -> list[Answer]:
    client = HttpClient(url, headers={})
    try:
        return await client.ask_in_turn([(path, limit) for path in paths], seconds=seconds)
    finally:
        await client.close()


async def test_several_requests_are_made_at_once_and_answered_in_turn() -> None:
    async with serving(lambda _, path: ok(content(path))) as (url, turned):
        answers = await in_turn(url, ["/a", "/b?c", "/d"])
        assert [one.body for one in answers] == [content(one) for one in ("/a", "/b?c", "/d")]
        assert turned.connections == 1
        assert max(turned.waiting) == 3


@pytest.mark.parametrize(
    ("second", "count"),
    [
        (None, 1),  # closed
        (b"", 1),  # nothing, in time
        (b"HTTP/1.1 200 OK\r\nContent-Length: 8193\r\n\r\n", 1),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 3),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 2),
    ],
)
async def test_what_is_not_answered_is_not_told(second: bytes | None, count: int) -> None:
    def answer(number: int, path: str) -> bytes | None:
        if number and count == 2 and path == "/3":
            return None
        return second if path == "/2" or (path == "/3" and second == b"") else ok(b"x")

    seconds = 2 if second == b"" else 30  # a busy machine has answered the first one by then
    async with serving(answer) as (url, _):
        assert len(await in_turn(url, ["/1", "/2", "/3"], seconds=seconds)) == count


async def test_a_trailer_is_no_header_of_the_next_answer() -> None:
    """What comes behind a chunked answer is not believed."""

    def answer(number: int, _: str) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return ok(b"x") if number else head + b"0\r\nOf-Before: x\r\n\r\n"

    async with serving(answer) as (url, _):
        (only,) = await in_turn(url, ["/1", "/2", "/3"])
        assert (only.status, only.body) == (200, b"")


async def test_a_server_that_answers_once_a_connection_is_asked_singly_from_then_on() -> None:
    def answer(number: int, path: str) -> bytes | None:
        closes = ok(content(path)).replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
        return None if number else closes

    async with serving(answer) as (url, turned), LogClient(url, connections=1) as client:
        assert None in await client.tiles_in_turn(TILES)
        turned.asked.clear()
        assert await client.tiles_in_turn(TILES) == [None] * 6
        assert turned.asked == []
        assert [await client.tile(one) for one in TILES] == [content(f"/{t.path}") for t in TILES]


async def test_tiles_of_another_length_or_refused_are_left_to_be_asked_for_alone() -> None:
    def answer(_: int, path: str) -> bytes:
        if path.endswith("001"):
            return ok(b"short")
        if path.endswith("002"):
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        return ok(content(path))

    async with serving(answer) as (url, turned), LogClient(url, connections=2) as client:
        found = await client.tiles_in_turn(TILES)
        assert [at for at, data in enumerate(found) if data is None] == [1, 2]
        assert turned.connections == 2
        assert await client.tiles_in_turn(TILES[3:]) == found[3:]  # it goes on so


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Busy"])
async def test_a_server_that_has_too_much_to_do_is_asked_singly_from_then_on(status: bytes) -> None:
    def answer(number: int, path: str) -> bytes:
        return b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status if number else ok(content(path))

    async with serving(answer) as (url, turned), LogClient(url, connections=1) as client:
        assert None in await client.tiles_in_turn(TILES)
        turned.asked.clear()
        assert await client.tiles_in_turn(TILES) == [None] * 6
        assert turned.asked == []


async def test_an_answer_too_many_is_none_to_what_is_asked_alone() -> None:
    """As a proxy sends it that confuses requests in turn: late, when the next one has come."""

    def answer(number: int, path: str) -> bytes:
        return ok(content("surplus" if number >= len(TILES) else path))

    async with serving(answer) as (url, _), LogClient(url, connections=1) as client:
        wanted = [content(f"/{one.path}") for one in TILES]
        assert await client.tiles_in_turn(TILES) == wanted
        assert await client.tile(TILES[3]) == wanted[3]
        client.ask_one_by_one()
        assert await client.tiles_in_turn(TILES) == [None] * 6


async def test_a_log_of_data_tiles_is_not_asked_for_bundles_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def data(_: ServedTiles, tile: Tile) -> bytes:
        return tile.path.encode()

    monkeypatch.setattr(ServedTiles, "_read_data", data)
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    bundle = Tile(ENTRIES, 0)
    async with serving(lambda *_: missing) as (url, turned), LogClient(url) as client:
        assert await client.tiles_in_turn([bundle]) == [None]
        assert await client.tile(bundle) == bundle.path.encode()
        turned.asked.clear()
        assert await client.tiles_in_turn([bundle]) == [None]
        assert turned.asked == []


async def test_another_machine_is_asked_for_one_after_the_other() -> None:
    async with LogClient("http://log.example") as client:
        assert await client.tiles_in_turn(TILES) == [None] * 6


async def one_by_one(_: LogClient, tiles: list[Tile]) -> list[None]:
    return [None] * len(tiles)


@pytest.mark.parametrize("in_turn", [False, True])
async def test_a_span_ends_before_the_first_tile_that_cannot_be_read(
    in_turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def of(client: LogClient) -> tuple[int, str]:
        tiles = [Tile(ENTRIES, number) for number in range(6)]
        job = Job(tiles, [], LeafRules("log.example/x", tree_only=True), probe=0)
        found = await examine_span(client, job, Forms())
        return found.bundles, str(found.error)

    bundle = (b"\x00\x01x") * 256

    def answer(_: int, path: str) -> bytes:
        if "entries" not in path:
            return (
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                if "3" in path
                else ok(bytes(8192))
            )
        return ok(bundle)

    async with serving(answer) as (url, _), LogClient(url, connections=2, pauses=()) as client:
        if not in_turn:
            monkeypatch.setattr(LogClient, "tiles_in_turn", one_by_one)
        bundles, error = await of(client)
        assert bundles == 3
        assert "tile/0/003" in error
