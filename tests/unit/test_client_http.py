"""The HTTP client: limits, deadlines, no redirects, errors as types. And proofs from tiles."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web

import logsim
from logsim import LogSim, decision
from muniment.errors import BadAnswer, Problem, Refused, Unreachable
from muniment.http import logrequests
from muniment.http.answer import Answer
from muniment.http.client import HttpClient
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.http.urls import check_url
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import MAX_NOTE_SIZE
from muniment.tlog.proofs import verify_consistency, verify_inclusion
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import read_inclusion, read_prefix
from waiting import SECONDS, served

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

pytestmark = pytest.mark.usefixtures("fast_reads", "impatient")


@asynccontextmanager
async def reading(handler: Handler, seconds: float = SECONDS) -> AsyncIterator[LogClient]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    async with served(runner) as url, LogClient(url, timeout=seconds) as client:
        yield client


def answering(*answers: web.Response) -> AbstractAsyncContextManager[LogClient]:
    """A client of a server that gives these answers, one after the other."""
    left = iter(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        return next(left)

    return reading(handler)


async def test_the_contact_is_in_the_user_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 section 10.1.5; public logs write to it before they block a client."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["User-Agent"])
        return web.Response(body=b"x")

    for contact in ("", "mailto:ops@example.org"):
        monkeypatch.setenv("MUNIMENT_CONTACT", contact)
        async with reading(handler) as client:
            await client.checkpoint()
    assert seen == ["muniment", "muniment (mailto:ops@example.org)"]


@pytest.mark.parametrize(
    "url",
    [
        "", "log.example", "ftp://log.example", "http://", "http:///x", "http://a:b@log.example",
        "http://log.example?x=1", "http://log.example#x", "http://log.example:0",
        "http://log.example:99999", "http://[::1", "file:///etc/passwd", "http://log.example/ ",
        "http://log\t.example", "http://l\u00f6g.example", "http://[::1]log.example",
        "http://log.example@",
    ],
)  # fmt: skip
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(ValueError, match="log URL"):
        check_url(url)


def test_trailing_slashes_are_dropped() -> None:
    assert check_url("https://log.example:8443/a/") == "https://log.example:8443/a"


async def test_redirects_are_not_followed() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.path == "/checkpoint"
        raise web.HTTPFound("/elsewhere")

    async with reading(handler) as client:
        with pytest.raises(BadAnswer, match="302"):
            await client.checkpoint()


@pytest.mark.parametrize("compressed", [False, True])
async def test_too_long_answers_are_cut_off(*, compressed: bool) -> None:
    response = web.Response(body=b"x" * (MAX_NOTE_SIZE + 1))
    if compressed:
        response.enable_compression(web.ContentCoding.gzip)
    async with answering(response) as client:
        with pytest.raises(BadAnswer, match="longer than"):
            await client.checkpoint()


async def test_silence_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked: on a busy machine a server may see less of it."""
    asked: list[str] = []
    ask = HttpClient.ask

    async def counted(client: HttpClient, method: str, path: str, **how: Any) -> Answer:
        asked.append(path)
        return await ask(client, method, path, **how)

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    monkeypatch.setattr(HttpClient, "ask", counted)
    async with reading(handler, seconds=0.5) as client:
        with pytest.raises(Unreachable, match="in time"):
            await client.checkpoint()
    assert asked == ["/checkpoint"] * logrequests.READ_ATTEMPTS


async def test_a_broken_answer_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        request.transport.close()
        return response

    async with reading(handler) as client:
        with pytest.raises(Unreachable):
            await client.checkpoint()


async def test_reads_are_tried_again() -> None:
    answers = [web.Response(status=503), web.Response(status=429), web.Response(body=b"note")]
    async with answering(*answers) as client:
        assert await client.checkpoint() == b"note"


async def test_connections_are_limited_before_the_first() -> None:
    at_once: list[int] = [0]

    async def handler(request: web.Request) -> web.StreamResponse:
        at_once.append(at_once[-1] + 1)
        await asyncio.sleep(0)
        at_once.append(at_once[-1] - 1)
        return web.Response(body=b"note")

    async with reading(handler) as client:
        with pytest.raises(AssertionError, match="open already"):
            client.limit_connections(2)
        limited = LogClient(client.url)
        limited.limit_connections(2)
        limited.limit_connections(3)
        async with limited:
            assert await asyncio.gather(*(limited.checkpoint() for _ in range(9))) == [b"note"] * 9
    assert max(at_once) <= 2


async def test_an_addendum_is_read_by_its_digest_and_no_other() -> None:
    digest = sha256(b"content").hexdigest()
    async with answering(web.Response(body=b"content"), web.Response(body=b"forged")) as client:
        assert await client.addendum(digest) == b"content"
        with pytest.raises(BadAnswer, match=f"/addenda/{digest[:2]}/{digest[2:4]}/{digest}: other"):
            await client.addendum(digest)
        with pytest.raises(FormatError, match="64 hexadecimal digits"):
            await client.addendum(digest.upper())


async def test_batches_are_tried_once() -> None:
    busy = web.Response(status=503, headers={"Retry-After": "7"})
    async with answering(busy, web.Response(body=b"not asked for")) as client:
        with pytest.raises(Refused) as caught:
            await client.submit_batch(b"batch")
        assert await client.checkpoint() == b"not asked for"
    assert caught.value.is_retriable
    assert caught.value.retry_after == 7.0


async def test_problems_are_decoded() -> None:
    answer = web.Response(
        status=409,
        content_type="application/problem+json",
        body=b'{"type":"urn:muniment:problem:stream-gap","title":"Stream gap","detail":"d",'
        b'"expected":7,"x":true,"y":-1}',
    )
    async with answering(answer) as client:
        with pytest.raises(Refused) as caught:
            await client.stream("a", "b")
    problem = caught.value.problem
    assert (problem.slug, problem.status, problem.detail) == ("stream-gap", 409, "d")
    assert [problem.integer(name) for name in ("expected", "x", "y", "z")] == [7, None, None, None]
    assert str(problem) == "d (HTTP 409, stream-gap)"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"type":7}', b"\xff"])
async def test_malformed_problems_are_still_refusals(body: bytes) -> None:
    answer = web.Response(status=400, content_type="application/problem+json", body=body)
    async with answering(answer) as client:
        with pytest.raises(Refused) as caught:
            await client.checkpoint()
    assert caught.value.problem.slug == ""


def test_a_foreign_problem_has_no_slug() -> None:
    assert Problem(500, "https://example.org/oops").slug == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"next":1}',
        b'{"next":"1","manifest":""}',
        b'{"next":-1,"manifest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}',
        b'{"next":1,"manifest":"AAAA"}',
        b'{"next":1.5,"manifest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}',
    ],
)
async def test_malformed_stream_heads(body: bytes) -> None:
    async with answering(web.Response(body=body)) as client:
        with pytest.raises(BadAnswer, match="stream head"):
            await client.stream("gw", "s")


async def test_key_names_with_slashes_are_one_path_segment() -> None:
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.rel_url.raw_path)
        return web.Response(status=404)

    async with reading(handler) as client:
        with pytest.raises(Refused):
            await client.stream("gw.example/a/../ü?#", "s")
    assert seen == ["/v1/streams/gw.example%2Fa%2F..%2F%C3%BC%3F%23/s"]


async def test_consistency_proofs_are_decoded() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert dict(request.query) == {"from": "1", "to": "2"}
        return web.json_response({"from": 1, "to": 2, "proof": ["AAAA"]})

    async with reading(handler) as client:
        with pytest.raises(BadAnswer, match="consistency proof"):
            await client.consistency_proof(1, 2)


async def test_entries_and_proofs_by_index() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=request.path_qs.encode())

    async with reading(handler) as client:
        assert await client.entry(7) == b"/v1/entries/7"
        assert await client.inclusion_proof(7) == b"/v1/proofs/inclusion?index=7"


async def test_outside_of_its_context_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await LogClient("http://127.0.0.1:1").checkpoint()


async def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one() -> None:
    """tlog-tiles, Partial Tiles: MAY fetch the full tile as a fallback."""
    sim = LogSim(entries=[b"entry %d" % n for n in range(300)], drops_partial_tiles=True)
    async with sim.serve() as url, LogClient(url) as client:
        for tile in (Tile(0, 0, 7), Tile(-1, 0, 7)):
            assert await client.tile(tile) == sim.tile(tile)
        with pytest.raises(Refused):
            await client.tile(Tile(0, 1, 77))
        sim.overrides[Tile(-1, 0).path] = b"\x00"
        with pytest.raises(BadAnswer, match="truncated"):
            await client.tile(Tile(-1, 0, 7))
        sim.overrides[Tile(0, 0).path] = b"x" * 33
        with pytest.raises(BadAnswer, match="33 bytes"):
            await client.tile(Tile(0, 0, 7))


async def test_proofs_from_tiles_hold() -> None:
    sim = LogSim()
    sim.append([decision(n) for n in range(700)])
    async with sim.serve() as url, LogClient(url) as client:
        tiles = log_tiles(client, Head(sim.size, sim.root()))
        for index in (0, 255, 256, 511, 699, 700):
            leaf, proof = await read_inclusion(tiles, index, sim.size)
            assert leaf == leaf_hash(sim.entries[index])
            verify_inclusion(leaf, index, sim.size, proof, sim.root())
        for old in (0, 1, 256, 300, 512, 700, 701):
            old_root, proof = await read_prefix(tiles, old, sim.size)
            assert old_root == sim.root(old)
            verify_consistency(old, old_root, sim.size, sim.root(), proof)
        spoiled = bytearray(sim.tile(Tile(0, 1)))
        spoiled[5] ^= 1
        sim.overrides[Tile(0, 1).path] = bytes(spoiled)
        for reading in (read_inclusion(tiles, 300, sim.size), read_prefix(tiles, 300, sim.size)):
            with pytest.raises(VerificationError, match="do not fit together at tile/0/001"):
                await reading
    assert logsim.ORIGIN.encode() in sim.entries[-1]
