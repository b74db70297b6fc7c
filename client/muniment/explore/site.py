"""What page modules work with: readers of the replica, templates, and the status of each page."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from muniment.explore.escaping import shown, visible
from muniment.explore.following import Following
from muniment.explore.status import Standing, Status
from muniment.explore.table import SUFFIX, TableReader
from muniment.index.reader import IndexReader
from muniment.lineage.facts import FactsError
from muniment.local.sqlitefile import DatabaseError
from muniment.local.workthread import WorkThread
from muniment.tlog.encoding import VerificationError
from muniment.tlog.note import VKey
from muniment.tlog.policy import Policy

_T = TypeVar("_T")

READERS: Final = 2
"""Threads that read the replica: one long question leaves the other for short ones."""


class Tab(NamedTuple):
    """One part of the explorer, as the navigation shows it."""

    path: str
    name: str


TABS: Final = (
    Tab("/", "Overview"),
    Tab("/find", "Find"),
    Tab("/lineage", "Lineage"),
    Tab("/mesh", "Mesh"),
    Tab("/evidence", "Evidence"),
    Tab("/verify", "Verify"),
)


class Beyond(NamedTuple):
    """What the pages look at beside the replica, when they are told to.

    Attributes:
        evidence: A folder with evidence files.
        asks_witnesses: Whether the policy's witnesses are asked what they show.
        monitor: The state file of a `muniment monitor`.
        old: Keys that the log had before those of the policy; evidence by them counts.
    """

    evidence: Path | None = None
    asks_witnesses: bool = False
    old: tuple[VKey, ...] = ()
    monitor: Path | None = None


NOTHING: Final = Beyond()


class NotYetError(Exception):
    """The replica has nothing verified to show yet."""


class Reading:
    """One thread, with a reader that it opens when the replica is there."""

    def __init__(self, path: Path, number: int, following: Following) -> None:
        self._path = path
        self._following = following
        self._thread = WorkThread(f"explore reader {number}")
        self._reader: IndexReader | None = None
        self._table: TableReader | None = None

    async def ask(self, work: Callable[[IndexReader], _T]) -> _T:
        """Has the thread call ``work(reader)``."""
        return await self._thread.run(partial(self._ask, work))

    async def look(self, work: Callable[[IndexReader, TableReader], _T]) -> _T:
        """Has the thread call ``work(reader, table)``."""
        return await self._thread.run(partial(self._look, work))

    def _ask(self, work: Callable[[IndexReader], _T]) -> _T:
        if self._reader is None:
            if not self._path.exists():
                raise NotYetError
            try:
                self._reader = IndexReader(self._path)
            except DatabaseError:
                if self._following.has_begun:
                    raise
                raise NotYetError from None  # the follower is just making it
        return work(self._reader)

    def _look(self, work: Callable[[IndexReader, TableReader], _T]) -> _T:
        if self._table is None:
            path = self._path.with_name(self._path.name + SUFFIX)
            if not path.exists():
                raise NotYetError
            self._table = TableReader(path)
        table = self._table
        return self._ask(lambda reader: work(reader, table))

    async def close(self) -> None:
        """Closes the reader, and ends the thread."""
        await self._thread.run(self._close)
        self._thread.close()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._table is not None:
            self._table.close()


class Site:
    """All that the pages share; belongs to its event loop.

    Attributes:
        path: The replica.
        policy: What it is verified by.
        log_url: The log that is followed.
        following: How that goes.
        notes: Functions that say what else was not verified, a sentence each.
        alarms: Functions that say what else is wrong with the log of an origin, a sentence each.
        standing: The checkpoint of the replica, verified.
        beyond: What is looked at beside the replica.
        now: The time, Unix seconds.
    """

    def __init__(
        self,
        path: Path,
        policy: Policy,
        log_url: str,
        following: Following,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the replica, which need not be there yet, and what keeps it up to date."""
        self.path: Final = path
        self.policy: Final = policy
        self.log_url: Final = log_url
        self.following: Final = following
        self.notes: Final[list[Callable[[], str]]] = []
        self.alarms: Final[list[Callable[[str], list[str]]]] = []
        self.standing: Final = Standing(policy)
        self.beyond = NOTHING
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: asyncio.Queue[Reading] = asyncio.Queue()
        self._templates = Environment(
            loader=PackageLoader("muniment.explore"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            shown=shown, visible=visible, moment=moment, number=_number, span=_span
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keeps the threads of the readers."""
        readings = [Reading(self.path, number, self.following) for number in range(READERS)]
        for reading in readings:
            self._readers.put_nowait(reading)
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            for reading in readings:
                await reading.close()

    @property
    def now(self) -> int:
        """The time, Unix seconds."""
        return int(self._clock())

    def spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Has something go on beside the pages, until they are closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def ask(self, work: Callable[[IndexReader], _T]) -> _T:
        """Has a thread call ``work(reader)`` with a reader of the replica; raises what that does.

        Raises NotYetError while there is no replica.
        """
        reading = await self._readers.get()
        try:
            return await reading.ask(work)
        finally:
            self._readers.put_nowait(reading)

    async def look(self, work: Callable[[IndexReader, TableReader], _T]) -> _T:
        """As `ask`, with the pages' own file as well, which may cover fewer leaves."""
        reading = await self._readers.get()
        try:
            return await reading.look(work)
        finally:
            self._readers.put_nowait(reading)

    async def status(self) -> Status:
        """What is to be said of the replica now.

        Raises:
            NotYetError: While nothing is verified.
            FactsError: If the policy does not accept the replica's checkpoint.
        """
        notes = [words for note in self.notes if (words := note())]

        def read(reader: IndexReader) -> Status | None:
            try:
                return self.standing.read(reader, self.now, self.following.trouble, notes)
            except VerificationError as error:
                raise FactsError(
                    f"{self.path}: was not verified by this policy: {error}"
                ) from error

        status = await self.ask(read)
        if status is None:
            raise NotYetError
        return status

    async def page(
        self, request: web.Request, template: str, *, title: str, **values: Any
    ) -> web.Response:
        """Answers with a template; it has `title`, `status`, `tabs`, `path` besides the values."""
        status = await self.status()
        return self.answer(request, template, title=title, status=status, **values)

    def answer(
        self,
        request: web.Request,
        template: str,
        *,
        title: str,
        status: Status | None,
        code: int = 200,
        **values: Any,
    ) -> web.Response:
        """Answers with a template, also where there is no status to show."""
        text = self._templates.get_template(template).render(
            title=title, status=status, tabs=TABS, path=request.path, log_url=self.log_url, **values
        )
        return web.Response(status=code, text=text, content_type="text/html", charset="utf-8")

    def pieces(self, template: str, **values: Any) -> Iterator[str]:
        """The text of a template, piece by piece, for answers that are sent as they are made."""
        return self._templates.get_template(template).generate(
            tabs=TABS, log_url=self.log_url, **values
        )


def moment(seconds: float) -> str:
    """A Unix time as people read it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _number(value: int) -> str:
    return f"{value:,}"


def _span(seconds: int) -> str:
    """Seconds as people say them: the two largest units."""
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
