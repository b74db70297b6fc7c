"""The workers, as the process that orders and commits sees them: it starts and watches them.

Each has a socket to this process, and none to another. One that ends is started again; what it had
asked for may be logged, and whoever had sent that sends it again and gets the same receipt. One
that stands still is killed first. When this process ends, so do they: their sockets close.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from muniment.local.logs import event
from muniment.local.taskgroup import TaskGroup
from muniment_log.errors import LogError, UnavailableError
from muniment_log.index.children import running_child
from muniment_log.publish.published import published_size
from muniment_log.workers.channel import open_channel
from muniment_log.workers.desk import Desk
from muniment_log.workers.metrics import (
    Family,
    families,
    of_the_service,
    of_worker,
    rendered,
    summed,
)
from muniment_log.workers.pulse import HUNG_SECONDS, Pulse
from muniment_log.workers.sockets import reserve
from muniment_log.workers.wire import Setup, pack_file
from muniment_service.server import binding

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.config import LogConfig
    from muniment_log.workers.channel import Channel
    from muniment_log.workers.desk import Ports
    from muniment_log.workers.pulse import Pause
    from muniment_service.http import Responder
    from muniment_service.metrics import Metrics

FIRST_PAUSE: Final = 0.1
"""Seconds before a worker that ended is started again; doubles while it goes on ending."""

MAX_PAUSE: Final = 30.0

STEADY_SECONDS: Final = 60.0
"""A worker that ran so long did not end for what it ended for last time."""

ANSWER_SECONDS: Final = 5.0
"""How long a worker may take to tell its metrics, or to take up a configuration."""

STOP_SECONDS: Final = 2.0
"""How long a worker may take to end, after the requests in flight had their time."""

MAX_UNREAD: Final = 64 << 20
"""Bytes that a worker may be behind in reading what it is told; one that is stands still, and is
started again."""

_MODULE: Final = "muniment_log.app.worker"
_LOGGER: Final = logging.getLogger(__name__)


class _Place:
    """Where one worker is at a time; another one takes it when that ends.

    Attributes:
        channel: to the worker that listens; None while none does.
        pid: its process.
        counted: what it had counted when it was last asked.
    """

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.channel: Channel | None = None
        self.pid: int | None = None
        self.counted: list[Family] = []
        self.has_listened = False


class WorkerPool:
    """Runs workers while `serving` is entered; belongs to the event loop."""

    def __init__(
        self, config: LogConfig, ports: Ports, metrics: Metrics, *, pause: Pause = asyncio.sleep
    ) -> None:
        """Takes what they work with; the configuration says how many there are.

        `pause` waits between two questions whether a worker is there.
        """
        self._config = config
        self._ports = ports
        self._metrics = metrics
        self._pause = pause
        self._restarts = metrics.counter("worker_restarts", "Times that a worker ended by itself.")
        self._hangs = metrics.counter(
            "worker_hangs", "Times that a worker stood still, and was killed."
        )
        self._places = [_Place(number) for number in range(1, config.file.worker_count + 1)]
        self._listening = asyncio.Event()
        self._is_stopping = False
        self._ended: list[Family] = []  # what workers had counted that are not there any more

    @property
    def pids(self) -> list[int]:
        """The processes that take requests now."""
        return [place.pid for place in self._places if place.channel and place.pid]

    @asynccontextmanager
    async def serving(self, app: Responder) -> AsyncIterator[str]:
        """Has the workers listen, and answers with `app` what they hand on; yields the URL.

        On the way out they take no more requests, and those in flight finish, as `server.serving`
        has it. Raises OSError if the address cannot be bound, and an ExceptionGroup with a LogError
        if a worker does not start.
        """
        address = self._config.file.listen
        with binding(address):
            taken, port = reserve(address.host, address.port)
        with taken:
            async with TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._announce(), name="announcing heads"),
                    tasks.create_task(self._serve(), name="telling of served heads"),
                    *(
                        tasks.create_task(self._keep(place, app, port), name=f"{place.number}")
                        for place in self._places
                    ),
                ]
                await self._listening.wait()
                scheme = "http" if self._config.file.tls is None else "https"
                try:
                    yield f"{scheme}://{address.at(port)}"
                finally:
                    self._is_stopping = True
                    await self._stop()
                    for task in running:
                        task.cancel()

    async def reload(self, config: LogConfig) -> None:
        """Has all workers take up who may submit and read; one that cannot is started again."""
        self._config = config
        await self._ask_all("reload", pack_file(config.file), ANSWER_SECONDS, must_answer=True)

    async def render(self) -> bytes:
        """The metrics of all processes, in Prometheus's text format."""
        answers = await self._ask_all("metrics", None, ANSWER_SECONDS)
        for place in self._places:
            if place.number in answers:
                place.counted = msgspec.convert(answers[place.number], list[Family])
        own = families(self._metrics.registry)
        theirs = [of_worker(place.number, place.counted) for place in self._places]
        return rendered(summed([own, *theirs, self._ended]))

    async def _ask_all(
        self, name: str, value: Any, seconds: float, *, must_answer: bool = False
    ) -> dict[int, Any]:
        """What the workers that listen answer in time, by their numbers, if they still do.

        One that must answer and does not is ended.
        """
        answers: dict[int, Any] = {}
        asked = [(place, place.channel) for place in self._places if place.channel is not None]

        async def one(place: _Place, channel: Channel) -> None:
            try:
                async with asyncio.timeout(seconds):
                    answers[place.number] = await channel.ask(name, value)
            except (LogError, TimeoutError):
                if must_answer:
                    await channel.abort()

        async with TaskGroup() as asking:
            for place, channel in asked:
                asking.create_task(one(place, channel))
        for place, channel in asked:
            if place.channel is not channel:  # what it had counted is kept already
                answers.pop(place.number, None)
        return answers

    async def _stop(self) -> None:
        grace = self._config.file.limits.grace_seconds
        await self._ask_all("stop", None, grace + STOP_SECONDS)

    def _tell(self, name: str, value: Any, *, besides: _Place | None = None) -> None:
        for place in self._places:
            if place.channel is not None and place is not besides:
                place.channel.tell(name, value, unread=MAX_UNREAD)

    async def _announce(self) -> None:
        """Tells of each head those who wait for it."""
        size = 0
        while (signed := await self._next(size)) is not None:
            size = signed.checkpoint.size
            self._tell("announced", signed.encode())

    async def _serve(self) -> None:
        """Tells of each head when everybody may have it."""
        size = 0
        publisher = self._ports.publisher
        while await self._next(size) is not None:
            await publisher.settled()
            size = published_size(publisher.published)
            if publisher.published is not None:
                self._tell("served", publisher.published.encode())

    async def _next(self, size: int) -> SignedCheckpoint | None:
        """The next head of more than `size` leaves; None when the log stops."""
        with suppress(LogError):
            return await self._ports.reached(size + 1)
        return None

    async def _keep(self, place: _Place, app: Responder, port: int) -> None:
        pause = FIRST_PAUSE
        clock = asyncio.get_running_loop().time
        while not self._is_stopping:
            started = clock()
            try:
                code = await self._run_once(place, app, port)
            except OSError as error:
                if not place.has_listened:
                    raise
                code = str(error)
            if self._is_stopping:
                return
            if not place.has_listened:
                raise LogError(f"worker {place.number} does not start: exit code {code}")
            event(_LOGGER, logging.WARNING, "a worker ended", worker=place.number, code=code)
            self._restarts.inc()
            if clock() - started >= STEADY_SECONDS:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(MAX_PAUSE, 2 * pause)

    async def _run_once(self, place: _Place, app: Responder, port: int) -> int | str | None:
        """Runs a worker to its end; its exit code."""
        desk, pulse = Desk(self._ports, app), Pulse()
        ours, theirs = socket.socketpair()
        file = self._config.file
        options = ("--log-level", file.log_level, "--log-format", file.log_format)
        with ours, theirs:
            number = theirs.fileno()
            async with running_child(_MODULE, str(number), *options, pass_fds=(number,)) as child:
                theirs.close()
                channel = await open_channel(
                    ours,
                    {
                        **desk.questions,
                        "setup": lambda _: self._set_up(port),
                        "listening": lambda _: self._listens(place, channel, child.pid),
                    },
                    {
                        **desk.notices,
                        "beat": pulse.answered,
                        "charged": lambda value: self._tell("charged", value, besides=place),
                        "failed": lambda value: self._tell("failed", value, besides=place),
                    },
                    desk.prompt,
                )
                watching = asyncio.create_task(self._watch(place, channel, pulse, child))
                try:
                    await channel.ended.wait()
                finally:
                    watching.cancel()
                    place.channel = None
                    self._ended = summed([self._ended, of_the_service(place.counted)])
                    place.counted = []
                    desk.close()
                    await channel.abort()  # it may stand still
        return child.returncode

    async def _watch(self, place: _Place, channel: Channel, pulse: Pulse, child: Process) -> None:
        """Kills a worker that stands still, whose share of new connections nobody answers."""

        def ask() -> None:
            if place.channel is channel:
                channel.tell("beat")
            else:  # connections come to it when it listens
                pulse.answered()

        await pulse.stops(ask, self._pause)
        event(
            _LOGGER,
            logging.ERROR,
            "a worker stands still, and is killed",
            worker=place.number,
            pid=child.pid,
            seconds=HUNG_SECONDS,
        )
        self._hangs.inc()
        with suppress(ProcessLookupError):
            child.kill()

    async def _set_up(self, port: int) -> Setup:
        if self._is_stopping:  # it would take requests that nobody lets finish
            raise UnavailableError("the log stops")
        config = self._config
        return Setup(
            str(config.path), pack_file(config.file), port, len(self._places), self._ports.pruned
        )

    async def _listens(self, place: _Place, channel: Channel, pid: int) -> dict[str, Any]:
        """A worker takes requests from now on; the configuration that is in force by now."""
        place.channel, place.pid, place.has_listened = channel, pid, True
        published = self._ports.publisher.published
        if published is not None:
            channel.tell("served", published.encode())
        if all(each.channel is not None for each in self._places):
            self._listening.set()
        return pack_file(self._config.file)
