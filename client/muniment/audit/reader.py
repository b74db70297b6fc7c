"""Reads all entry bundles of a tree, examines them span by span, and yields the spans in order.

Memory is bounded by the spans in flight, not by the log. A big audit reads and examines in other
processes: each fetches the bundles of its span itself, and gives back only what it found.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from typing import Final, NamedTuple, TypeVar

from muniment.audit.addenda import events_of
from muniment.audit.asking import ask
from muniment.audit.check import Examined, LeafRules, ServedBundle, examine
from muniment.audit.thingkeys import name_key, probe
from muniment.errors import MunimentError
from muniment.http.logclient import LogClient
from muniment.local.forkpool import ForkedPool, ForkServer
from muniment.records.forms import Forms
from muniment.tlog.tiles import Tile, bundles_of

SPAN: Final = 16
"""Bundles fetched and examined together: 2 to 3 MB as a rule, 268 MB at the very most."""

AHEAD: Final = 2
"""Spans in flight for each process, so that none waits for work."""

POOL_WORTH: Final = 200_000
"""Entries from which on other processes pay for their start, of about a second on two cores."""

FORKED_WORTH: Final = 20_000
"""The same for processes that are forked, which takes some milliseconds."""

LOCAL_CONNECTIONS: Final = 4
"""Connections of a process of the pool to a log on this machine: it answers on the processors that
the audit computes on, and answers to more requests at a time only push each other out of caches."""

MOST_PROCESSES: Final = 16
"""More than this one process, which puts the spans together, can keep busy."""

_COLLECT_AFTER: Final = 50_000  # new objects; a span has that many, and no garbage in cycles

T = TypeVar("T")


class Job(NamedTuple):
    """A span of bundles to examine; see `check.examine`.

    `probe` is for ``thingkeys.name_key``.
    """

    tiles: list[Tile]
    known: list[bytes]
    rules: LeafRules
    probe: int


async def examine_span(client: LogClient, job: Job, forms: Forms) -> Examined:
    """Reads the bundles of a span and examines them; an error ends it, and is in the result."""
    found = await _examine_leaves(client, job, forms)
    if not found.named:
        return found
    try:
        said = await ask(client, [one.digest for one in found.named]) if job.rules.asks else {}
    except MunimentError as error:
        return found._replace(named=(), error=found.error or error)
    return found._replace(named=(), addenda=events_of(found.named, said))


async def _examine_leaves(client: LogClient, job: Job, forms: Forms) -> Examined:
    bundles, error = await _fetch(client, job.tiles)
    if not bundles:
        return Examined(job.tiles[0].start, 0, [], [], [], [], (), [], error)
    found = examine(bundles, job.known, job.rules, forms=forms, key=name_key(job.probe))
    return found if error is None else found._replace(error=error)


async def _fetch(
    client: LogClient, tiles: list[Tile]
) -> tuple[list[ServedBundle], MunimentError | None]:
    """Reads bundles and their hash tiles, up to the first that cannot be read, and why not.

    What does not come in turn is read by itself: by a task for each connection, which takes one
    tile after the other, so that none has to wait for a connection. After an error none begins
    another tile: those before it have been begun.
    """
    wanted = [one for tile in tiles for one in (tile, tile._replace(level=0))]
    found = await client.tiles_in_turn(wanted)
    errors: dict[int, MunimentError] = {}
    left = [(at, wanted[at]) for at, data in enumerate(found) if data is None]
    waiting = iter(left)

    async def read() -> None:
        for at, tile in waiting:
            try:
                found[at] = await client.tile(tile)
            except MunimentError as error:
                errors[at] = error
            if errors:
                return

    await asyncio.gather(*[read() for _ in range(min(client.connections, len(left)))])
    read_all = min(errors, default=len(wanted)) // 2
    pairs = zip(tiles, found[: 2 * read_all : 2], found[1 : 2 * read_all : 2], strict=False)
    bundles = [
        ServedBundle(tile, data, hashes)
        for tile, data, hashes in pairs
        if data is not None and hashes is not None
    ]
    return bundles, errors[min(errors)] if errors else None


class _Worker:
    """What a process of the pool keeps: an open client, and an event loop for it."""

    def __init__(self, client: LogClient) -> None:
        if client.is_local:
            client.limit_connections(LOCAL_CONNECTIONS)
        self._client = client
        self._forms = Forms()
        self._runner = asyncio.Runner()
        self._runner.run(client.__aenter__())

    def examine(self, job: Job) -> Examined:
        return self._runner.run(examine_span(self._client, job, self._forms))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


_worker: _Worker | None = None


def _open(client: LogClient) -> None:
    global _worker  # noqa: PLW0603 - a process of the pool has this one place for its state
    _worker = _Worker(client)


def _start(client: LogClient) -> None:
    # An interrupt is for the process that the user started; it ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    _open(client)
    Finalize(None, _close, exitpriority=0)


def _close() -> None:
    if _worker is not None:
        _worker.close()


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, however that came about.

    A process of a pool holds both ends of the pipe that work comes by, and would wait for more.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise AssertionError("this process is not one of a pool")
    wait([parent.sentinel])
    os._exit(1)  # nothing is lost: nobody is there to take it


def _examine(job: Job) -> Examined:
    if _worker is None:
        raise AssertionError("the pool has not started this process")
    return _worker.examine(job)


@asynccontextmanager
async def examiner(
    client: LogClient, entries: int, server: ForkServer | None = None
) -> AsyncIterator[Executor | None]:
    """The pool to examine so many entries of a log with; None when this process is as good.

    Its processes are forked by the `server`, and start anew without one. Raises MunimentError if
    one of them is killed.
    """
    cpus = _cpus()
    if entries < (POOL_WORTH if server is None else FORKED_WORTH) or cpus == 1:
        yield None
        return
    pool: Executor
    if server is not None:
        pool = ForkedPool(server, processes_to_fork(client), _open, client)
    else:
        # This process may have threads (name resolution), whose locks a fork would keep.
        pool = ProcessPoolExecutor(
            min(cpus, MOST_PROCESSES),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(client,),
        )
    try:
        yield pool
    except BrokenExecutor as error:
        raise MunimentError(
            "a process of this audit was ended by something else, perhaps for lack of memory; "
            "audit again"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def processes_to_fork(client: LogClient) -> int:
    """How many processes to fork.

    Each reads, then computes. Two for a processor, and the spans are read ahead that come from
    another machine; from this one, reading takes nearly all its time of the processors.
    """
    return min(_cpus() * (1 if client.is_local else 2), MOST_PROCESSES)


def _cpus() -> int:
    """The processors that this process may use, which a container or taskset may restrict."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def read_spans(
    client: LogClient,
    start: int,
    size: int,
    rules: LeafRules,
    *,
    known: list[bytes],
    pool: Executor | None,
) -> AsyncGenerator[Examined, None]:
    """Yields the spans of bundles that hold the leaves [start, size), examined, in order.

    The bundle that `start` is in may begin earlier: `known` are the hashes of its leaves before.
    Without a pool, spans are examined here.
    """
    loop = asyncio.get_running_loop()
    forms = Forms()

    async def work(job: Job) -> Examined:
        if pool is None:
            return await examine_span(client, job, forms)
        return await loop.run_in_executor(pool, _examine, job)

    flight = AHEAD if pool is None else AHEAD * processes_to_fork(client)
    async with AsyncExitStack() as stack:
        running: deque[asyncio.Task[Examined]] = deque()
        stack.push_async_callback(_cancel, running)
        for part in _parts(bundles_of(start, size, size)):
            before = known if part[0].start < start else []
            job = Job(part, before, rules, probe())
            running.append(asyncio.create_task(work(job)))
            if len(running) >= flight:
                yield await running.popleft()
        while running:
            yield await running.popleft()


async def in_order(
    pool: Executor | None, work: Callable[[bytes], T], items: Iterator[bytes]
) -> AsyncGenerator[T, None]:
    """Applies a function to items, in the pool or in a thread, and yields the results in order.

    Only a few items are in memory at the same time.
    """
    loop = asyncio.get_running_loop()
    flight = 1 if pool is None else min(_cpus(), MOST_PROCESSES) + 1
    running: deque[asyncio.Future[T]] = deque()
    for item in items:
        running.append(loop.run_in_executor(pool, work, item))
        if len(running) >= flight:
            yield await running.popleft()
    while running:
        yield await running.popleft()


def _parts(tiles: Iterator[Tile]) -> Iterator[list[Tile]]:
    while part := list(islice(tiles, SPAN)):
        yield part


async def _cancel(tasks: "deque[asyncio.Task[Examined]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
