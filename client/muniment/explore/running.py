"""An explorer that runs: the follower, the pages' own file, the server."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from muniment.explore.app import PagesAddress, build, check_entry, serve
from muniment.explore.following import Following
from muniment.explore.indexing import Indexing
from muniment.explore.site import NOTHING, Beyond, Site
from muniment.index.replica import Watched


@dataclass(frozen=True, slots=True)
class RunningExplorer:
    """One that runs.

    Attributes:
        url: Where its pages are, with a slash at the end.
        site: What the pages share.
        indexing: What keeps their own file.
        tasks: What goes on beside the pages; one that ends says by its error why.
    """

    url: str
    site: Site
    indexing: Indexing
    tasks: tuple["asyncio.Task[None]", ...]

    async def wait(self) -> None:
        """Waits until something fails for good, and raises that.

        Proven misbehaviour ends the following and nothing else: it stays to be looked at.
        """
        await asyncio.gather(*self.tasks)
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    watched: Watched,
    path: Path,
    address: PagesAddress,
    token: str | None,
    *,
    interval: float,
    beyond: Beyond = NOTHING,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[RunningExplorer]:
    """Runs an explorer of a log, over a replica that is created when absent.

    Raises InputError if it cannot listen there, or others would reach it without a token.
    """
    check_entry(address, token)
    indexing = Indexing(path)
    following = Following(watched, path, interval=interval, told=indexing.wake, clock=clock)
    site = Site(path, watched.policy, watched.url, following, clock=clock)
    site.beyond = beyond
    site.notes.append(indexing.note)
    tasks = (
        asyncio.create_task(following.run(), name="explore: following"),
        asyncio.create_task(indexing.run(), name="explore: indexing"),
    )
    async with AsyncExitStack() as stack:
        # Readers are closed before those who write.
        stack.push_async_callback(_end, tasks)
        await stack.enter_async_context(site.open())
        url = await stack.enter_async_context(serve(build(site, token), address))
        yield RunningExplorer(url, site, indexing, tasks)


async def _end(tasks: tuple["asyncio.Task[None]", ...]) -> None:
    for task in reversed(tasks):  # what reads the replica before what writes it
        task.cancel()
        await asyncio.wait([task])
