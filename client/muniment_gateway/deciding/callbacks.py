"""Callbacks of access requests: a PEP is told that its task is over, instead of looking at it.

What is told is the task without its result: the status endpoint stays what counts. It goes only to
an endpoint that the configuration has for that client, with that client's token. A callback is kept
on disk until its endpoint has taken it, or it was tried often enough.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from muniment.errors import MunimentError
from muniment.http.answer import HttpError
from muniment.http.client import HttpSession
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.encoding import FormatError
from muniment_gateway.config import Callbacks
from muniment_gateway.core.accessrequests import Callback, parse_task, status_of
from muniment_gateway.core.approvals import Held
from muniment_gateway.store.callbacks import CallbackStore, Due
from muniment_service.metrics import Metrics

LOOK_SECONDS: Final = 5.0
"""Time between two looks for what is due; a person's word is told at once."""

ANSWER_SECONDS: Final = 10.0
"""How long an endpoint may take to answer."""

FIRST_PAUSE: Final = 5
LONGEST_PAUSE: Final = 600
"""Seconds before an endpoint is tried again: doubled from the first to the longest."""

TRIES: Final = 20
"""How often a callback is tried: for some two hours."""

_AT_ONCE: Final = 32
_LOGGER: Final = logging.getLogger(__name__)


class CallbackSender:
    """Tells what is due; `run` is its one task."""

    def __init__(
        self,
        store: CallbackStore,
        calls: Callable[[str], Awaitable[Held | None]],
        http: HttpSession,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes where callbacks are kept, what gives a call by its id, and what sends."""
        self._store = store
        self._calls = calls
        self._http = http
        self._clock = clock
        self._known: Mapping[str, Callbacks] = {}
        self._task_url: Callable[[str], str] = str
        self._counted: Callable[[str], object] = lambda _: None
        self._changed: set[str | None] = {None}  # what the process before has left
        self._wake = asyncio.Event()

    def take_up(
        self,
        known: Mapping[str, Callbacks],
        task_url: Callable[[str], str],
        metrics: Metrics,
    ) -> None:
        """Goes by this configuration from now on: endpoints by client, and the URL of a task."""
        counter = metrics.counter(
            "callbacks", "Callbacks: told, failed (tried again), given_up.", ("outcome",)
        )
        self._known, self._task_url = known, task_url
        self._counted = lambda outcome: counter.labels(outcome).inc()

    def check(self, client: str, callback: Callback) -> None:
        """Checks that an endpoint is one of a client's; else a FormatError."""
        known = self._known.get(client)
        if known is None or callback.endpoint not in known.endpoints:
            raise FormatError("callback.endpoint: not one that is registered for you here")

    async def note(self, task: str, client: str, callback: Callback, calls: list[Held]) -> None:
        """Keeps the callback of a task that waits."""
        await self._store.note(task, client, callback, max(held.expires for held in calls))
        self.changed(calls[0].id)  # it may be over by now

    def changed(self, held: str) -> None:
        """Has those told soon who want to know of a call; never waits."""
        self._changed.add(held)
        self._wake.set()

    async def run(self) -> None:
        """Looks for what is due, until it is cancelled."""
        while True:
            with Contained("callbacks"):
                try:
                    await self.look()
                except MunimentError as error:  # a full disk, say: they are told later
                    event(_LOGGER, logging.ERROR, "no callback was told", reason=str(error))
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def look(self) -> None:
        """Tells what is due now."""
        changed, self._changed = self._changed, set()
        try:
            for held in changed:
                await self._store.hurry(held, self._now())
        except BaseException:
            self._changed |= changed
            raise
        due = await self._store.due(self._now(), _AT_ONCE)
        await asyncio.gather(*(self._look_at(one) for one in due))
        if len(due) == _AT_ONCE:
            self._wake.set()

    def _now(self) -> int:
        return int(self._clock())

    async def _look_at(self, due: Due) -> None:
        calls = [await self._calls(id_) for id_ in parse_task(due.task)[0]]
        held = [one for one in calls if one is not None]
        known = self._known.get(due.client)
        status = status_of(held, self._now()) if held else ""
        if status == "pending":
            await self._store.put_off(due.task, max(one.expires for one in held), 0)
        elif len(held) < len(calls) or not due.callback.wants(status):
            await self._store.forget(due.task)
        elif known is None or due.callback.endpoint not in known.endpoints:
            self._give_up(due, "the endpoint is not registered any more")
            await self._store.forget(due.task)
        else:
            await self._tell(due, status, known)

    async def _tell(self, due: Due, status: str, known: Callbacks) -> None:
        reason = await self._trouble(due, status, known)
        if not reason:
            self._counted("told")
            await self._store.forget(due.task)
        elif due.tries + 1 >= TRIES:
            self._give_up(due, reason)
            await self._store.forget(due.task)
        else:
            self._counted("failed")
            pause = min(FIRST_PAUSE << due.tries, LONGEST_PAUSE)
            await self._store.put_off(due.task, self._now() + pause, due.tries + 1)

    async def _trouble(self, due: Due, status: str, known: Callbacks) -> str:
        """Sends one; why that has failed, empty when it has not."""
        url = self._task_url(due.task)
        told: dict[str, Any] = {"task": {"id": due.task, "status": status, "status_endpoint": url}}
        if due.callback.state is not None:
            told["state"] = due.callback.state
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {known.token}"}
        with Contained("a callback") as outcome:
            try:
                answer = await self._http.request(
                    "POST",
                    due.callback.endpoint,
                    limit=None,
                    seconds=ANSWER_SECONDS,
                    body=json.dumps(told).encode(),
                    headers=headers,
                )
            except TimeoutError:
                return f"no answer within {ANSWER_SECONDS:g} s"
            except HttpError as error:
                return str(error)
            return "" if 200 <= answer.status < 300 else f"status {answer.status}"
        return outcome.error

    def _give_up(self, due: Due, reason: str) -> None:
        self._counted("given_up")
        event(
            _LOGGER, logging.ERROR, "a callback is given up",
            task=due.task, client=due.client, reason=reason,
        )  # fmt: skip
