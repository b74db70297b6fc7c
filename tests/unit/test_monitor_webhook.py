"""The webhook: in order, bounded, to the one address it was given."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from muniment.monitor import webhook
from muniment.monitor.webhook import ATTEMPTS, QUEUE, Webhook, check_webhook
from stand import GARBAGE, Answer, Asked, Stand


def scripted(*answers: Answer) -> Callable[[Asked], Answer]:
    script: Iterator[Answer] = iter(answers)
    lock = threading.Lock()

    def answer(_asked: Asked) -> Answer:
        with lock:
            return next(script, Answer(204))

    return answer


def bodies(stand: Stand) -> list[object]:
    return [json.loads(asked.body) for asked in stand.asked if asked.method == "POST"]


async def test_messages_arrive_in_order() -> None:
    with Stand(scripted()).serve() as stand:
        async with Webhook(stand.url(path="/hook?token=secret")) as hook:
            for number in range(20):
                hook.put({"number": number})
            assert await hook.drain()
        assert bodies(stand) == [{"number": number} for number in range(20)]
        assert stand.asked[0].path == "/hook?token=secret"
        assert stand.asked[0].headers["Content-Type"] == "application/json"


async def test_what_fails_is_tried_again() -> None:
    answers = (Answer(503), Answer(hang_up=True), Answer(429))
    with Stand(scripted(*answers)).serve() as stand:
        async with Webhook(stand.url(), first_pause=0.001) as hook:
            hook.put({"a": 1})
            assert await hook.drain()
        assert bodies(stand) == [{"a": 1}] * 4


async def test_attempts_are_bounded_and_the_next_message_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Stand(scripted(*[Answer(500)] * ATTEMPTS)).serve() as stand:
        async with Webhook(stand.url(path="/secret"), first_pause=0.001) as hook:
            hook.put({"a": 1})
            hook.put({"b": 2})
            assert await hook.drain()
        assert bodies(stand) == [{"a": 1}] * ATTEMPTS + [{"b": 2}]
    assert "webhook not delivered" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410])
async def test_no_redirect_is_followed_and_no_refusal_repeated(status: int) -> None:
    with Stand(scripted()).serve() as elsewhere:
        refusal = Answer(status, headers={"Location": elsewhere.url()})
        with Stand(scripted(refusal)).serve() as stand:
            async with Webhook(stand.url(), first_pause=0.001) as hook:
                hook.put({"a": 1})
                assert await hook.drain()
            assert len(stand.asked) == 1
        assert not elsewhere.asked


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_does_not_stop_it(garbage: Answer) -> None:
    with Stand(scripted(garbage)).serve() as stand:
        async with Webhook(stand.url(), first_pause=0.001) as hook:
            hook.put({"a": 1})
            hook.put({"b": 2})
            assert await hook.drain()
        assert bodies(stand)[-1] == {"b": 2}


async def test_the_queue_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "CLOSE_SECONDS", 0.05)
    with Stand(lambda _asked: Answer(delay=60.0)).serve() as stand:
        async with Webhook(stand.url()) as hook:
            for number in range(QUEUE + 10):
                hook.put({"number": number})
            assert not await hook.drain(0.05)
            await asyncio.sleep(0)
    assert "webhook queue is full" in caplog.text
    assert "webhook messages dropped" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


async def test_the_end_waits_for_what_is_on_its_way() -> None:
    with Stand(scripted(Answer(503))).serve() as stand:
        async with Webhook(stand.url(), first_pause=0.001) as hook:
            hook.put({"a": 1})
        assert bodies(stand) == [{"a": 1}] * 2


async def test_a_defect_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "Backoff", None)
    async with Webhook("http://127.0.0.1:9/") as hook:
        hook.put({"a": 1})
        for _ in range(100):
            await asyncio.sleep(0)
        with pytest.raises(TypeError):
            hook.put({"b": 2})


def test_its_url() -> None:
    for good in ("http://h/", "https://h:1/p?q=1"):
        assert check_webhook(good) == good
    for bad in (
        "ftp://h/",
        "h",
        "http://",
        "http://u:p@h/",
        "http://h/#f",
        "http://h:0/",
        "http://[",
    ):
        with pytest.raises(ValueError, match="webhook") as refusal:
            check_webhook(bad)
        assert "p@h" not in str(refusal.value)
