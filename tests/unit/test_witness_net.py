"""The real transport against servers that misbehave: one declared outcome, in time, in little."""

import time
import tracemalloc
from dataclasses import replace

import pytest

from muniment_witness.config import check_url
from muniment_witness.gossip.net import MAX_ETAG, HttpTransport, UnreachableError, transport
from stand import GARBAGE, OVERSIZED, SLOW, TRICKLE, Answer, Asked, Stand

SECONDS = 1.0
SLACK = 10.0
"""For a machine with much else to do; the hostile answers would take a minute or more."""
MOST = 100_000

REDIRECTS = tuple(
    Answer(status=status, headers={"Location": target})
    for status in (301, 302, 303, 307, 308)
    for target in ("http://127.0.0.1:9/", "/elsewhere", "file:///etc/passwd", "")
)
ENDLESS_HEADERS = Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)
NEVER_ENDS = Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nabc")
LIES = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc")
ENDLESS = (SLOW, TRICKLE, NEVER_ENDS)
"""What is waited for until the deadline; all else has come or failed long before."""
HOSTILE = (*GARBAGE, OVERSIZED, SLOW, TRICKLE, *REDIRECTS, ENDLESS_HEADERS, NEVER_ENDS, LIES)


async def ask(network: HttpTransport, url: str, method: str) -> int | None:
    """The status; None when it was unreachable. Anything else is a failure."""
    try:
        if method == "POST":
            answer = await network.post(url, b"body")
        else:
            answer = await network.get(url, most=MOST)
    except UnreachableError as error:
        text = str(error)
    else:
        assert len(answer.body) <= MOST
        return answer.status
    assert "\n" not in text
    assert "127.0.0.1" not in text
    return None


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_hostile_answer_ends_in_time_with_one_declared_outcome(method: str) -> None:
    """No answer later than its deadline, no redirects, bounded memory."""
    outcomes = {}
    stand = Stand(lambda asked: HOSTILE[int(asked.path.rpartition("/")[2])])
    with stand.serve("127.0.0.1"):
        async with transport(SECONDS) as hasty, transport(SECONDS + SLACK) as patient:
            tracemalloc.start()
            try:
                for number, answer in enumerate(HOSTILE):
                    network = hasty if answer in ENDLESS else patient
                    began = time.monotonic()
                    outcomes[number] = await ask(network, stand.url(path=f"/{number}"), method)
                    assert time.monotonic() - began < SECONDS + SLACK, answer
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < 32 << 20
    for number, answer in enumerate(HOSTILE):
        if answer in REDIRECTS:
            assert outcomes[number] == answer.status
        elif (
            answer.raw is not None
            or answer in (OVERSIZED, SLOW, TRICKLE)
            or answer.hang_up
            or "Content-Encoding" in answer.headers
        ):
            assert outcomes[number] is None, answer
        else:
            assert outcomes[number] == answer.status
    # No redirect was followed: each path once (a request may be sent again when a kept connection
    # turns out to be closed), and no other.
    assert {asked.path for asked in stand.asked} == {f"/{n}" for n in range(len(HOSTILE))}


@pytest.mark.parametrize("tag", ['"' + "x" * MAX_ETAG + '"', '"\udcff"', "", '"é"', '"a\tb"'])
async def test_a_spoiled_entity_tag_is_not_kept(tag: str) -> None:
    def answer(_: Asked) -> Answer:
        return Answer(
            raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\nETag: "
            + tag.encode("utf-8", "surrogateescape")
            + b"\r\n\r\nx"
        )

    with Stand(answer).serve("127.0.0.1") as stand:
        async with transport(SECONDS + SLACK) as network:
            first = await network.get(stand.url())
            assert (first.status, first.body, first.etag) == (200, b"x", "")
            assert (await network.get(stand.url(), etag=first.etag)).status == 200


async def test_the_limit_of_size_is_exact_and_a_good_answer_follows_bad_ones() -> None:
    whole = Answer(body=b"a" * MOST, headers={"ETag": '"t"', "Content-Type": "text/plain; x=y"})
    answers = {"/whole": whole, "/more": replace(whole, body=b"a" * (MOST + 1))}
    with Stand(lambda asked: answers[asked.path]).serve("127.0.0.1") as stand:
        async with transport(SECONDS + SLACK) as network:
            for _ in range(3):
                with pytest.raises(UnreachableError, match="longer than"):
                    await network.get(stand.url(path="/more"), most=MOST)
                answer = await network.get(stand.url(path="/whole"), most=MOST)
                assert len(answer.body) == MOST
                assert (answer.etag, answer.content_type) == ('"t"', "text/plain")
            assert await ask(network, "http://127.0.0.1:1/", "GET") is None


@pytest.mark.parametrize(
    "url",
    ["", "log.example", "ftp://log.example", "http://", "http://a?b", "http://a#b", "http://u@a",
     "http://a:0", "http://a:99999", "http://[::1", "file:///etc/passwd"],
)  # fmt: skip
def test_urls_that_cannot_be_configured(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_url(url)
