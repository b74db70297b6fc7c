"""Asking a log for completeness proofs: the request, waiting for an index, and wrong answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from complete_tools import Indexed
from governed import story
from muniment.complete.asking import asking
from muniment.complete.keys import Key, parse_key
from muniment.errors import BadAnswer, Refused
from muniment.http.logclient import LogClient
from waiting import served

pytestmark = pytest.mark.usefixtures("fast_reads", "impatient")
RUN = Key("execution", ("call",))


@asynccontextmanager
async def reading(
    answer: Callable[[web.BaseRequest, str], web.Response],
) -> AsyncIterator[tuple[LogClient, list[web.BaseRequest]]]:
    """A client of a server, and what it is asked."""
    requests: list[web.BaseRequest] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        requests.append(request)
        return answer(request, (await request.read()).decode())

    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    async with served(runner) as url, LogClient(url, pauses=(0.0, 0.0)) as client:
        yield client, requests


def proof_of(*keys: Key) -> web.Response:
    world, _ = story()
    return web.Response(body=Indexed.of(world).prove(keys).encode())


def behind() -> web.Response:
    return web.json_response(
        {"type": "urn:muniment:problem:not-indexed-yet", "status": 404, "detail": "not yet"},
        status=404,
        content_type="application/problem+json",
    )


async def test_an_index_that_is_behind_is_waited_for() -> None:
    answers = [behind(), behind(), proof_of(RUN)]
    async with reading(lambda _request, _body: answers.pop(0)) as (client, requests):
        proof = await asking(client)([RUN], size=7, records=True, limit=3)
    assert proof.keys == (RUN,)
    assert [dict(one.query) for one in requests] == [
        {"key": "execution call", "size": "7", "records": "1", "limit": "3"}
    ] * 3


async def test_not_for_ever() -> None:
    async with reading(lambda _request, _body: behind()) as (client, requests):
        with pytest.raises(Refused, match="not yet"):
            await asking(client)([RUN], size=7, records=False)
    assert len(requests) == 3


async def test_a_long_question_goes_in_the_body() -> None:
    keys = [Key("execution", (f"run {number}",)) for number in range(400)]
    bodies: list[str] = []

    def answer(_request: web.BaseRequest, body: str) -> web.Response:
        bodies.append(body)
        return proof_of(*keys)

    async with reading(answer) as (client, requests):
        proof = await asking(client)(keys, size=0, records=False)
    assert set(proof.keys) == set(keys)
    [request], [body] = requests, bodies
    assert (request.method, request.query_string) == ("POST", "")
    first = body.split("&", 1)[0]
    assert first == "key=execution+run%25200"
    assert parse_key("execution run%200") == keys[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: web.Response(body=b"hello"), "completeness proof"),
        (lambda: proof_of(Key("execution", ("plan",))), "not of the keys"),
        (lambda: proof_of(RUN, Key("execution", ("plan",))), "not of the keys"),
    ],
)
async def test_other_answers(answer: Callable[[], web.Response], words: str) -> None:
    async with reading(lambda _request, _body: answer()) as (client, _):
        with pytest.raises(BadAnswer, match=words):
            await asking(client)([RUN], size=0, records=False)


async def test_a_proof_about_fewer_leaves_than_were_asked_for() -> None:
    async with reading(lambda _request, _body: proof_of(RUN)) as (client, _):
        with pytest.raises(BadAnswer, match="about 7 leaves, and 8 were asked for"):
            await asking(client)([RUN], size=8, records=False)
