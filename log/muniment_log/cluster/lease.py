"""The integrator's lease: one row with an epoch, by the database's clock.

The lease only saves work: everything an integrator writes is guarded by the epoch in the tree's
row and by sizes, so one that does not know yet that it lost the lease can do no harm. It may see
what another one has done meanwhile, and must not take that for damage: see `TreeStore.check_epoch`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event
from muniment_log.errors import LogError, RolledBackError
from muniment_log.logfile import LONGEST_LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.cluster.database import Database, DatabaseConnection

_LOGGER: Final = logging.getLogger(__name__)

RENEWALS: Final = 3
"""Renewals in the time of a lease: two may fail."""

NEWS_SECONDS: Final = 0.2
"""How often to look whether there is something new to tell with a renewal before its time."""

GIVE_BACK_SECONDS: Final = 5.0
"""How long the end of a term waits for the database to take the lease back."""

# A lease that ends farther away than any can last is anybody's: its end is by a clock that was set
# back since, or by that of another primary. If its holder has died, nobody waits for that. Any, not
# one of the caller's own length: who leads may have been given a longer one, and renews it in time.
_ACQUIRE: Final = f"""
UPDATE lease SET epoch = CASE WHEN holder = $1 THEN epoch ELSE epoch + 1 END, holder = $1,
    until = now() + $2 * interval '1 second', status = ''
WHERE id = 0 AND (
    until < now() OR until > now() + {LONGEST_LEASE_SECONDS} * interval '1 second' OR holder = $1
) RETURNING epoch
"""  # noqa: S608 - of constants alone

# Of the tree with the renewal: no standby answers, which may be behind.
_RENEW: Final = """
UPDATE lease SET until = now() + $3 * interval '1 second', status = $4
WHERE id = 0 AND epoch = $1 AND holder = $2 RETURNING (SELECT size FROM tree WHERE id = 0)
"""

_RELEASE: Final = """
UPDATE lease SET until = now(), holder = '' WHERE id = 0 AND epoch = $1 AND holder = $2
"""


_END: Final = """
UPDATE lease SET epoch = epoch + 1, holder = '', until = now(), status = ''
WHERE id = 0 RETURNING epoch
"""


class LeaseLostError(LogError):
    """The term was ended by another process, or this one could not renew its lease in time."""

    def __init__(
        self, what: str = "another integrator has taken over, or a command has ended this term"
    ) -> None:
        super().__init__(what)


async def end_term(db: DatabaseConnection) -> None:
    """Ends the term of whoever leads, in a transaction that changes what it goes by.

    Whoever leads next begins by looking at all of it.
    """
    await fence(db, await db.fetchval(_END))


async def fence(db: DatabaseConnection, epoch: int) -> None:
    """From the commit on, nobody of another epoch moves the tree, stores a head or begins to erase.

    Waits for those who are about to: what is read after it is all that they have ever stored.
    """
    # They hold a key share of this row, which an update alone would not wait for.
    await db.fetchval("SELECT epoch FROM tree WHERE id = 0 FOR UPDATE")
    await db.execute("UPDATE tree SET epoch = $1 WHERE id = 0", epoch)


class Lease:
    """A lease that is held; `keep` renews it.

    Attributes:
        epoch: grows with every holder.
    """

    def __init__(
        self, database: Database, holder: str, epoch: int, seconds: float, until: float
    ) -> None:
        self.epoch = epoch
        self._database = database
        self._holder = holder
        self._seconds = seconds
        self._until = until  # by the event loop's clock

    @classmethod
    async def acquire(cls, database: Database, holder: str, seconds: float) -> Lease | None:
        """Takes the lease if it is free; None while somebody else holds it.

        `holder` names this term and no other; the lease lasts for `seconds` from each renewal.
        After an error the lease may be `holder`'s: by the same name it is had again. Cancelled, it
        gives back first what it gets.

        Raises UnavailableError or StorageError if the database cannot be used.
        """
        loop = asyncio.get_running_loop()
        got: Lease | None = None

        async def work(db: DatabaseConnection) -> Lease | None:
            nonlocal got
            until = loop.time() + seconds
            epoch = await db.fetchval(_ACQUIRE, holder, seconds)
            if epoch is None:
                return None
            got = cls(database, holder, epoch, seconds, until)
            await fence(db, epoch)
            return got

        taking = asyncio.create_task(database.transact(work, "taking the lease"))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # A commit that is cut off may still come about, and then the lease would be nobody's.
            if got is not None:
                done, _ = await asyncio.wait({taking}, timeout=GIVE_BACK_SECONDS)
                if done:
                    await got.release()
            raise
        finally:
            taking.cancel()

    async def keep(self, status: Callable[[], bytes], size: Callable[[], int]) -> None:
        """Renews the lease at a third of its time, or when there is news, until cancelled.

        `status` makes what the frontends are told, JSON; `size` is that of the tree that this
        process has stored.

        Raises:
            LeaseLostError: the lease is lost; whoever works under it must stop.
            RolledBackError: the database has a smaller tree, and the lease of this very term: it
                failed over to a server that was behind, or was restored.
        """
        loop = asyncio.get_running_loop()
        due, sent = 0.0, b""
        while True:
            await asyncio.sleep(NEWS_SECONDS)
            before, news, known = loop.time(), status(), size()
            if before < due and news == sent:
                continue
            try:
                async with asyncio.timeout_at(self._until):
                    stored = await self._renew(news)
            except TimeoutError:
                raise LeaseLostError("the lease could not be renewed in time") from None
            except LogError as error:
                event(_LOGGER, logging.WARNING, "cannot renew the lease", error=str(error))
            else:
                if stored is None:
                    raise LeaseLostError
                if stored < known:
                    raise RolledBackError(
                        f"the database was rolled back: its tree has {stored} leaves, and this "
                        f"process has stored one of {known}"
                    )
                self._until, sent = before + self._seconds, news
            due = before + self._seconds / RENEWALS

    async def _renew(self, news: bytes) -> int | None:
        """The size of the tree; None when the lease is another's now."""
        size: int | None = await self._database.read(
            lambda db: db.fetchval(_RENEW, self.epoch, self._holder, self._seconds, news),
            "renewing the lease",
        )
        return size

    async def release(self) -> None:
        """Lets another one take it at once; what fails here only costs the lease's time.

        Takes no longer than `GIVE_BACK_SECONDS`, nor than others would wait without it.
        """
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(min(left, GIVE_BACK_SECONDS)):
                await self._database.read(
                    lambda db: db.execute(_RELEASE, self.epoch, self._holder), "releasing the lease"
                )
        except (LogError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            event(_LOGGER, logging.WARNING, "cannot release the lease", error=reason)
