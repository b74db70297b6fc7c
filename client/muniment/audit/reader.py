"""Reads all entry bundles of a tree in parallel, examines them, and yields them in order.

Memory is bounded by the window, not by the log. A big audit examines in other processes: the
hashing and decoding of a bundle takes longer than carrying its bytes there.
"""

import asyncio
import multiprocessing
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from typing import Final

from muniment.audit.check import Examined, examine
from muniment.formats.tiles import Tile, bundles_of
from muniment.logclient import LogClient

CHUNK: Final = 4
"""Bundles fetched and examined together."""

WINDOW: Final = 6
"""Chunks in flight: 24 bundles of about 150 KB as a rule, 16 MB each at the very most."""

POOL_WORTH: Final = 100_000
"""Entries from which on other processes pay for their start of about 0.3 s."""

Job = tuple[Tile, bytes, bytes, int, str, tuple[str, ...]]


def examine_all(jobs: list[Job]) -> list[Examined]:
    """Examines some bundles; runs in the pool's processes.

    Raises:
        FormatError: If one is malformed.
    """
    return [examine(*job) for job in jobs]


@asynccontextmanager
async def examiner(entries: int) -> AsyncIterator[Executor | None]:
    """The pool to examine so many entries with; None when this process is as good."""
    cpus = os.cpu_count() or 1
    if entries < POOL_WORTH or cpus == 1:
        yield None
        return
    # Not forked: this process may have threads (name resolution), whose locks a fork would keep.
    pool = ProcessPoolExecutor(cpus, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


async def read_bundles(
    client: LogClient,
    start: int,
    size: int,
    *,
    origin: str,
    vkeys: tuple[str, ...],
    pool: Executor | None,
    progress: Callable[[int], None],
) -> AsyncGenerator[Examined, None]:
    """Yields the bundles that hold the leaves [start, size), examined, in order.

    Args:
        client: The log.
        start: First leaf to examine; the bundle that it is in may begin earlier.
        size: Size of the tree.
        origin: The log's origin.
        vkeys: Keys whose manifests can be verified.
        pool: Where to examine; None for here.
        progress: Told the number of leaves yielded so far.

    Raises:
        Unreachable, Refused, BadAnswer: As ``LogClient.tile``.
        FormatError: If a bundle is malformed.
    """
    tiles = bundles_of(start, size, size)

    async def fetch(tile: Tile) -> Job:
        data, served = await asyncio.gather(client.tile(tile), client.tile(tile._replace(level=0)))
        return tile, data, served, max(0, start - tile.start), origin, vkeys

    async def chunk(part: list[Tile]) -> list[Examined]:
        jobs = list(await asyncio.gather(*map(fetch, part)))
        if pool is None:
            return examine_all(jobs)
        return await asyncio.get_running_loop().run_in_executor(pool, examine_all, jobs)

    async with AsyncExitStack() as stack:
        running: deque[asyncio.Task[list[Examined]]] = deque()
        stack.push_async_callback(_cancel, running)
        for part in _chunks(tiles):
            running.append(asyncio.create_task(chunk(part)))
            if len(running) >= WINDOW:
                for examined in await running.popleft():
                    progress(min(examined.tile.end, size) - start)
                    yield examined
        while running:
            for examined in await running.popleft():
                progress(min(examined.tile.end, size) - start)
                yield examined


def _chunks(tiles: Iterator[Tile]) -> Iterator[list[Tile]]:
    while part := list(islice(tiles, CHUNK)):
        yield part


async def _cancel(tasks: "deque[asyncio.Task[list[Examined]]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
