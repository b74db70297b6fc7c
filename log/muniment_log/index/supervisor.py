"""The index, as the log sees it: a child process, and a file to read.

The child (`indexer`) does all the work. This process only restarts it when it ends, knows how far
it is, and reads its file for answers. Whatever goes wrong with the index, records are taken and
published as ever: nothing here raises into the service, and lag never makes the log unready.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from muniment.index.bundles import Bundles
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.sqlitefile import DatabaseError
from muniment.local.taskgroup import TaskGroup
from muniment.tlog.encoding import MAX_SIZE
from muniment_log.errors import IndexUnavailableError
from muniment_log.index.children import running_child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from muniment.index.query import Index
    from muniment.index.reader import IndexReader
    from muniment_log.config import LogConfig
    from muniment_service.metrics import Metrics

FIRST_PAUSE: Final = 1.0
"""Seconds before a child that ended is started again; doubles while it goes on ending."""

MAX_PAUSE: Final = 60.0

STEADY_SECONDS: Final = 60.0
"""A child that ran so long did not end for what it ended for last time."""

LAG_SECONDS: Final = 1.0
"""How often the lag is measured for the metrics."""

_LOGGER: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Size(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]


class IndexProcess:
    """Runs the child; belongs to the event loop."""

    def __init__(
        self, arguments: Sequence[str | Path], published: Callable[[], int], metrics: Metrics
    ) -> None:
        """Takes the child's arguments, how to ask for the published size, where to count."""
        self._arguments = arguments
        self._published = published
        self._size = 0
        self._is_running = False
        self._metric_size = metrics.gauge("index_size", "Leaves that the index reflects.")
        self._metric_lag = metrics.gauge(
            "index_lag", "Published leaves that the index does not reflect yet."
        )
        self._metric_running = metrics.gauge("index_running", "1 while the index process runs.")
        self._metric_restarts = metrics.counter(
            "index_restarts", "Times that the index process ended by itself."
        )

    @property
    def state(self) -> dict[str, Any]:
        """How far the index is, for readiness."""
        return {"size": self._size, "lag": self._lag, "running": self._is_running}

    @property
    def _lag(self) -> int:
        return max(0, self._published() - self._size)

    async def run(self) -> None:
        """Keeps a child running, until cancelled; it has ended then."""
        async with TaskGroup() as tasks:
            tasks.create_task(self._measure(), name="index lag")
            pause = FIRST_PAUSE
            while True:
                started = asyncio.get_running_loop().time()
                code: int | None = None
                with Contained("the index process") as outcome:
                    code = await self._run_child()
                ended: dict[str, object] = {"code": code}
                if code is None:
                    ended = {"error": outcome.error}
                event(_LOGGER, logging.WARNING, "the index process ended", exc_info=None, **ended)
                self._metric_restarts.inc()
                if asyncio.get_running_loop().time() - started >= STEADY_SECONDS:
                    pause = FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(MAX_PAUSE, 2 * pause)

    async def _run_child(self) -> int:
        async with running_child("muniment_log.index.indexer", *self._arguments) as child:
            self._running(is_running=True)
            try:
                stdout = child.stdout
                if stdout is None:
                    raise AssertionError("the child's stdout is a pipe")
                while line := await stdout.readline():
                    self._size = msgspec.json.decode(line, type=_Size).size
                    self._metric_size.set(self._size)
                return await child.wait()
            finally:
                self._running(is_running=False)

    def _running(self, *, is_running: bool) -> None:
        self._is_running = is_running
        self._metric_running.set(is_running)

    async def _measure(self) -> None:
        while True:
            self._metric_lag.set(self._lag)
            await asyncio.sleep(LAG_SECONDS)


class OpenBundles(Bundles, Protocol):
    """Where the records are, opened for one thread."""

    def close(self) -> None:
        """Closes what is open."""
        ...


class IndexReads:
    """Answers from the index, on one thread; the file may appear, go and come while it runs."""

    def __init__(self, origin: str, index: Path, bundles: Callable[[], OpenBundles]) -> None:
        """Takes the log's origin, the index's file, and what opens the records; opens nothing."""
        self._origin = origin
        self._path = index
        self._bundles = bundles
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index-reader")
        self._open: tuple[int, IndexReader, OpenBundles] | None = None

    async def ask(self, question: Callable[[Index], _T]) -> _T:
        """Asks the index.

        Raises:
            IndexUnavailableError: there is none yet, or it cannot be read.
            FormatError: as the question does.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)

    async def close(self) -> None:
        """Closes the files, after what is being asked; before the log's writer closes."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()

    def _ask(self, question: Callable[[Index], _T]) -> _T:
        # Here, on this thread: a log that is never asked starts sooner, and is smaller without.
        from muniment.index.query import Index  # noqa: PLC0415
        from muniment.lineage.facts import FactsError  # noqa: PLC0415

        try:
            return question(Index(self._reader()))
        except (DatabaseError, FactsError, OSError) as error:
            self._shut()
            raise IndexUnavailableError(str(error)) from error

    def _reader(self) -> IndexReader:
        from muniment.index.reader import IndexReader  # noqa: PLC0415  # as above

        inode = self._path.stat().st_ino
        if self._open is not None and self._open[0] != inode:
            self._shut()  # it was deleted and built again
        if self._open is None:
            bundles = self._bundles()
            try:
                reader = IndexReader(self._path, bundles)
            except BaseException:
                bundles.close()
                raise
            self._open = inode, reader, bundles
        reader = self._open[1]
        head = reader.head()
        if head is not None and head.origin != self._origin:
            raise DatabaseError(f"{self._path}: the index of {head.origin}")
        return reader

    def _shut(self) -> None:
        if self._open is not None:
            _, reader, bundles = self._open
            self._open = None
            reader.close()
            bundles.close()


class LogIndex(NamedTuple):
    """The index of a log: the process that keeps it, and what answers from it."""

    process: IndexProcess
    reads: IndexReads


def make_index(
    config: LogConfig,
    path: Path,
    source: tuple[str, ...],
    bundles: Callable[[], OpenBundles],
    published: Callable[[], int],
    metrics: Metrics,
) -> LogIndex:
    """Puts the index in a file together; by the arguments `source` the child finds the log."""
    file = config.file
    logs = ("--log-level", file.log_level, "--log-format", file.log_format)
    return LogIndex(
        IndexProcess((*source, path, *logs), published, metrics),
        IndexReads(file.origin, path, bundles),
    )
