"""The explorer in this process, over a log in memory; what its tests ask of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from logsim import NOW, POLICY, LogSim
from muniment.explore.app import Address, build, serve
from muniment.explore.following import Following
from muniment.explore.site import Site
from muniment.index.replica import Watched
from muniment.tlog.policy import Policy

CLOCK = NOW + 90


class Explorer:
    """One that runs.

    Attributes:
        url: Where its pages are, with a slash at the end.
        site: What the pages share.
    """

    def __init__(self, url: str, site: Site, rounds: "asyncio.Condition") -> None:
        self.url = url
        self.site = site
        self._rounds = rounds

    async def reach(self, size: int) -> None:
        """Waits until the replica has so many leaves."""
        async with self._rounds:
            while True:
                head = await self.site.ask(lambda reader: reader.head())
                if head is not None and head.size >= size:
                    return
                await self._rounds.wait()


@asynccontextmanager
async def exploring(
    log_url: str, path: Path, *, policy: Policy = POLICY, token: str | None = None
) -> AsyncIterator[Explorer]:
    """Follows a log into a replica, and serves pages of it."""
    rounds = asyncio.Condition()
    tasks: set[asyncio.Task[None]] = set()

    async def wake() -> None:
        async with rounds:
            rounds.notify_all()

    def told() -> None:
        task = asyncio.create_task(wake())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    following = Following(Watched(log_url, policy), path, interval=0.05, told=told)
    site = Site(path, policy, log_url, following, clock=lambda: CLOCK)
    follower = asyncio.create_task(following.run())
    try:
        async with site.open(), serve(build(site, token), Address("127.0.0.1", 0)) as url:
            while not following.reached and not following.trouble:
                async with rounds:
                    if not following.reached and not following.trouble:
                        await rounds.wait()
            yield Explorer(url, site, rounds)
    finally:
        follower.cancel()
        await asyncio.wait([follower])


@asynccontextmanager
async def explored(
    sim: LogSim, folder: Path, *, token: str | None = None
) -> AsyncIterator[Explorer]:
    """An explorer of a log in memory, which has reached what the log has now."""
    async with sim.serve() as url, exploring(url, folder / "replica", token=token) as explorer:
        if not explorer.site.following.trouble:
            await explorer.reach(sim.size)
        yield explorer
