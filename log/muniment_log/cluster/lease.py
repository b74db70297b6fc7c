"""The integrator's lease: one row with an epoch, by the database's clock.

The lease only saves work: everything an integrator writes is guarded by the epoch in the tree's
row and by sizes, so one that does not know yet that it lost the lease can do no harm.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event
from muniment_log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.cluster.database import Database, DatabaseConnection

_LOGGER: Final = logging.getLogger(__name__)

RENEWALS: Final = 3
"""Renewals in the time of a lease: two may fail."""

NEWS_SECONDS: Final = 0.2
"""How often to look whether there is something new to tell with a renewal before its time."""

_ACQUIRE: Final = """
UPDATE lease SET epoch = CASE WHEN holder = $1 THEN epoch ELSE epoch + 1 END, holder = $1,
    until = now() + $2 * interval '1 second', status = ''
WHERE id = 0 AND (until < now() OR holder = $1) RETURNING epoch
"""

_RENEW: Final = """
UPDATE lease SET until = now() + $3 * interval '1 second', status = $4
WHERE id = 0 AND epoch = $1 AND holder = $2 RETURNING epoch
"""

_RELEASE: Final = """
UPDATE lease SET until = now(), holder = '' WHERE id = 0 AND epoch = $1 AND holder = $2
"""


class LeaseLostError(LogError):
    """Another integrator has taken over, or this one could not renew its lease in time."""


class Lease:
    """A lease that is held; `keep` renews it.

    Attributes:
        epoch: grows with every holder.
    """

    def __init__(self, database: Database, holder: str, epoch: int, seconds: float) -> None:
        self.epoch = epoch
        self._database = database
        self._holder = holder
        self._seconds = seconds

    @classmethod
    async def acquire(cls, database: Database, holder: str, seconds: float) -> Lease | None:
        """Takes the lease if it is free; None while somebody else holds it.

        `holder` names this term and no other; the lease lasts for `seconds` from each renewal.
        Raises UnavailableError or StorageError if the database cannot be used.
        """

        async def work(db: DatabaseConnection) -> int | None:
            epoch = await db.fetchval(_ACQUIRE, holder, seconds)
            if epoch is not None:
                # From here on nobody of an earlier epoch moves the tree.
                await db.execute("UPDATE tree SET epoch = $1 WHERE id = 0", epoch)
            return None if epoch is None else int(epoch)

        epoch = await database.transact(work, "taking the lease")
        return None if epoch is None else cls(database, holder, epoch, seconds)

    async def keep(self, status: Callable[[], bytes]) -> None:
        """Renews the lease at a third of its time, or when there is news, until cancelled.

        `status` makes what the frontends are told, JSON. Raises LeaseLostError if it is lost;
        whoever works under it must stop.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        due, sent = 0.0, b""
        while True:
            await asyncio.sleep(NEWS_SECONDS)
            before, news = loop.time(), status()
            if before < due and news == sent:
                continue
            try:
                async with asyncio.timeout_at(until):
                    mine = await self._renew(news)
            except TimeoutError:
                raise LeaseLostError("the lease could not be renewed in time") from None
            except LogError as error:
                event(_LOGGER, logging.WARNING, "cannot renew the lease", error=str(error))
            else:
                if mine is None:
                    raise LeaseLostError("another integrator has taken over")
                until, sent = before + self._seconds, news
            due = before + self._seconds / RENEWALS

    async def _renew(self, news: bytes) -> int | None:
        """The epoch; None when it is another's now."""
        epoch: int | None = await self._database.read(
            lambda db: db.fetchval(_RENEW, self.epoch, self._holder, self._seconds, news),
            "renewing the lease",
        )
        return epoch

    async def release(self) -> None:
        """Lets another one take it at once; what fails here only costs the lease's time."""
        try:
            await self._database.read(
                lambda db: db.execute(_RELEASE, self.epoch, self._holder), "releasing the lease"
            )
        except LogError as error:
            event(_LOGGER, logging.WARNING, "cannot release the lease", error=str(error))
