"""A webhook: alarms as JSON by POST to the one URL that the operator configured.

Bounded in every way: queue, attempts, time, and what is read of an answer (nothing but its status).
Redirects are not followed: alarms go where the operator said, and nowhere else.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from muniment.errors import RETRIABLE
from muniment.http.access import ANYBODY
from muniment.http.answer import HttpError
from muniment.http.client import HttpSession
from muniment.http.urls import split_url
from muniment.local.backoff import Backoff
from muniment.local.logs import event

QUEUE: Final = 256
"""Messages that wait; more are dropped, with a log line."""

ATTEMPTS: Final = 5
"""How often one message is tried."""

SECONDS: Final = 10.0
"""Longest wait for one answer."""

FIRST_PAUSE: Final = 1.0
"""Seconds before the second attempt; three times as long before each further one, jittered."""

DRAIN_SECONDS: Final = 60.0
"""How long `drain` waits for what is on its way."""

CLOSE_SECONDS: Final = 3.0
"""How long the end waits for what is on its way: a process that is told to stop must."""

_JSON: Final = {"Content-Type": "application/json"}
_log: Final = logging.getLogger(__name__)


def check_webhook(url: str) -> str:
    """Checks a webhook's URL; unlike a log's it may have a query.

    Raises ValueError if it is not an absolute http or https URL, or has a user or a fragment. The
    message does not repeat it: such URLs hold secrets.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        raise ValueError(f"webhook: {error}") from None
    if parts.fragment:
        raise ValueError("webhook: a URL with a fragment")
    return url


class Webhook:
    """Delivers messages in order, in the background; use it as an async context manager."""

    def __init__(self, url: str, *, first_pause: float = FIRST_PAUSE) -> None:
        """Takes the URL; ValueError when `check_webhook` refuses it."""
        self._url = check_webhook(url)
        self._host = urlsplit(url).hostname
        self._first_pause = first_pause
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        task = self._task
        if task is not None:
            if not task.done() and not await self.drain(CLOSE_SECONDS):
                event(_log, logging.ERROR, "webhook messages dropped", host=self._host)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def put(self, message: Mapping[str, Any]) -> None:
        """Queues a message; never waits."""
        if self._task is not None and self._task.done():
            self._task.result()  # it never ends by itself: this raises why it did
        try:
            self._queue.put_nowait(json.dumps(message).encode())
        except asyncio.QueueFull:
            event(_log, logging.ERROR, "webhook queue is full", host=self._host)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Waits until everything is delivered or given up; False when that took too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        async with HttpSession(headers={"User-Agent": ANYBODY.agent()}) as session:
            while True:
                body = await self._queue.get()
                try:
                    await self._deliver(session, body)
                finally:
                    self._queue.task_done()

    async def _deliver(self, session: HttpSession, body: bytes) -> None:
        backoff, reason = Backoff(self._first_pause, factor=3), ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await session.request(
                    "POST", self._url, limit=None, seconds=SECONDS, body=body, headers=_JSON
                )
                if answer.status < 300:
                    return
                reason = f"HTTP {answer.status}"
                if answer.status not in RETRIABLE:
                    break
            except TimeoutError:
                reason = "no answer in time"
            except HttpError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - whatever an answer comes to
                reason = type(error).__name__
            if attempt < ATTEMPTS:
                await asyncio.sleep(backoff.next())
        event(_log, logging.ERROR, "webhook not delivered", host=self._host, reason=reason)
