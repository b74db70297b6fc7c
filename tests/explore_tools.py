"""The explorer in this process, over a log in memory; what its tests ask of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiohttp import ClientSession

from governed import World
from logsim import NOW, POLICY, LogSim
from muniment.explore.app import PagesAddress
from muniment.explore.running import RunningExplorer, running
from muniment.index.replica import Watched
from muniment.tlog.policy import Policy
from waiting import until

CLOCK = NOW + 90


def sim_of(world: World) -> LogSim:
    """A log in memory that has the records of a world."""
    sim = LogSim()
    sim.entries = world.entries()
    return sim


async def read(explorer: RunningExplorer, path: str, *, status: int = 200) -> str:
    """A page's text."""
    async with ClientSession() as session, session.get(explorer.url + path) as answer:
        assert answer.status == status
        return await answer.text()


async def reach(explorer: RunningExplorer, size: int) -> None:
    """Waits until the explorer has followed so many leaves, and counted them."""

    def has_reached() -> bool:
        for task in explorer.tasks:
            if task.done():
                task.result()  # what ended it
        return explorer.indexing.done[0] >= size

    await until(has_reached)


@asynccontextmanager
async def exploring(
    log_url: str,
    path: Path,
    *,
    policy: Policy = POLICY,
    token: str | None = None,
    clock: int = CLOCK,
) -> AsyncIterator[RunningExplorer]:
    """Follows a log into a replica, and serves pages of it, once a first round is over."""
    address = PagesAddress("127.0.0.1", 0)
    async with running(
        Watched(log_url, policy), path, address, token, interval=0.05, clock=lambda: clock
    ) as explorer:
        following = explorer.site.following
        await until(lambda: bool(following.reached or following.trouble))
        yield explorer


@asynccontextmanager
async def explored(
    sim: LogSim, folder: Path, *, token: str | None = None
) -> AsyncIterator[RunningExplorer]:
    """An explorer of a log in memory, which has reached what the log has now."""
    async with sim.serve() as url, exploring(url, folder / "replica", token=token) as explorer:
        if not explorer.site.following.trouble:
            await reach(explorer, sim.size)
        yield explorer


@contextmanager
def explored_elsewhere(sim: LogSim, folder: Path) -> Iterator[str]:
    """As `explored`, in a thread of its own, for tests that wait for a browser; yields the URL."""
    began = threading.Event()
    ends: list[Callable[[], object]] = []
    urls: list[str] = []

    async def work() -> None:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            async with explored(sim, folder) as explorer:
                urls.append(explorer.url)
                ends.append(lambda: loop.call_soon_threadsafe(end.set))
                began.set()
                await end.wait()
        finally:
            began.set()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, work())
        began.wait()
        try:
            if not urls:
                done.result()  # what went wrong
            yield urls[0]
        finally:
            for end in ends:
                end()
            done.result()
