"""Waiting for the engines at a start: they may be starting, too, or restarting.

What passes is waited for, for a bounded time, and the log says what for. What does not pass (a
wrong password, an unknown database, a store that ignores conditions) ends the start at once.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from muniment.local.logs import event
from muniment_log.cluster.addendaobjects import ARRIVING
from muniment_log.cluster.database import Database
from muniment_log.cluster.objectlock import check_lock
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.s3 import ERASABLE
from muniment_log.errors import StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from muniment_log.logfile import ClusterTable

T = TypeVar("T")

_LOGGER: Final = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5
"""Between two attempts, each of which may take some seconds by itself."""

TELL_SECONDS: Final = 10.0
"""How often to say that it still waits."""


class Startup:
    """The patience of one start, for all that it waits for."""

    def __init__(self, cluster: ClusterTable) -> None:
        self._cluster = cluster
        self._deadline = asyncio.get_running_loop().time() + cluster.engine_seconds

    async def database(self, connections: int) -> Database:
        """The database, as soon as it answers; see `Database.open`."""
        url = self._cluster.postgres
        database = await self._wait(
            "PostgreSQL", lambda: Database.open(url, connections=connections)
        )
        lacks = await database.lacks()
        if lacks:
            event(
                _LOGGER, logging.WARNING,
                "a pooler drops settings of our connections; give them to the role, or an outage "
                "leaves connections behind",
                settings=lacks,
            )  # fmt: skip
        return database

    async def probe(self, *, races: bool) -> None:
        """Refuses a bucket as soon as it answers: one that ignores conditions, see `ObjectStore`.

        Also one without the retention that the configuration asks for, see `objectlock`.
        """
        # With more patience for one request than a term has.
        url, days = self._cluster.object_store, self._cluster.lock_days
        if days is not None:
            await self._wait("the object store", partial(check_lock, url, days))
        objects = ObjectStore.open(url, is_locked=days is not None)
        try:
            await self._wait("the object store", partial(objects.probe, races=races))
        finally:
            await objects.close()

    async def _wait(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Does what may fail for now, until it succeeds.

        Raises UnavailableError if what it needs did not answer in time.
        """
        loop = asyncio.get_running_loop()
        logged = float("-inf")
        while True:
            try:
                return await work()
            except UnavailableError as error:
                now = loop.time()
                if now + PAUSE_SECONDS >= self._deadline:
                    raise
                if now - logged >= TELL_SECONDS:
                    event(
                        _LOGGER, logging.WARNING, f"waiting for {what}",
                        seconds=round(self._deadline - now, 1), error=str(error),
                    )  # fmt: skip
                    logged = now
            await asyncio.sleep(PAUSE_SECONDS)


_PROBES: Final = ("addenda/private", f"{ARRIVING}private")
_TEXT: Final = b"Whoever reads this without credentials could read what records withhold.\n"


async def find_public(
    url: str, objects: ObjectStore, environment: Mapping[str, str] | None = None
) -> str | None:
    """The key of an object among the addenda that can be read without credentials; None if none.

    A bucket that serves tiles to the world must not show along with them what records withhold. It
    leaves an object below `addenda/` and one below `arriving/`. What cannot be found out counts as
    private, and what a CDN or web server shows with credentials of its own cannot be seen here.
    """
    anybody = ObjectStore.open(url, environment=environment, is_anonymous=True)
    try:
        for key in _PROBES:
            try:
                await objects.create(key, _TEXT, ERASABLE)
                await anybody.get(key)
            except (LookupError, StorageError, UnavailableError):
                continue
            return key
    finally:
        await anybody.close()
    return None
