"""Addenda of a cluster: bytes in the bucket, what finds them in PostgreSQL.

What comes with a request is stored before its records are ordered, as one object, and noted before
that. Once they are ordered each addendum gets its place by its digest, then its row; only then is
the receipt given. What is left then is cleared behind the caller's back.

Crash argument. Whatever a process leaves behind is noted, and the integrator that leads finishes
it, see `sweeping`: after a crash before the records were ordered it is deleted, after one behind
it is put in its place. A frontend that was only slow meanwhile does no harm: a request that the
integrator has begun to look for is not ordered any more (`addendarows.check_arriving`), and of one
that was ordered before it stores in its place what it has in memory, and gives no receipt before
that.

Races with an erasure, which is committed in PostgreSQL first and then replaces the objects. A
request that is noted before that commit is known to the eraser, which is not done before the note
is gone. One that is noted after it does not store what was erased. And whoever still is on the way
to an addendum's place finds it taken, at whatever time he arrives (`addendaobjects`): the bucket
keeps the promise, no clock and no lease does. A row is added only where the erasure has left none.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.local.logs import event
from muniment_log.cluster import addendarows
from muniment_log.cluster.addendaobjects import ARRIVING
from muniment_log.core.addenda import BadAddendumError, Erased, MissingAddendumError
from muniment_log.errors import LogError, OverloadedError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_log.cluster.addendaobjects import AddendaObjects
    from muniment_log.cluster.database import Database
    from muniment_log.cluster.objects import Version
    from muniment_log.core.addenda import Addendum, Sent

TRIES: Final = 3
"""Requests to the object store for what comes with one request, each under another key."""

AT_ONCE: Final = 32
"""Addenda of one request that are stored at the same time."""

_LOGGER: Final = logging.getLogger(__name__)


class _Arrival(NamedTuple):
    """What of a request was stored for it.

    Attributes:
        sent: the request's; kept, so that its identity stays its own.
        key: the object; empty if nothing was new.
        addenda: what is in it.
        leaves: how many were ordered before.
    """

    sent: Sent
    key: str
    addenda: Sequence[Addendum]
    leaves: int


class ClusterAddenda:
    """The addenda of one log as a frontend has them, one of any number; see `AddendaPort`."""

    def __init__(
        self,
        database: Database,
        objects: AddendaObjects,
        waiting_bytes: int = 64 << 20,
        refusal: str = "",
        arriving: set[str] | None = None,
    ) -> None:
        """Takes the two.

        Args:
            database: where the rows are.
            objects: where the bytes are.
            waiting_bytes: of addenda may be on their way at one time.
            refusal: why no addenda are taken, if so.
            arriving: gets the objects of requests that are not ordered yet: whoever orders makes
                sure that these are still there.
        """
        self._arriving: set[str] = set() if arriving is None else arriving
        self._refusal = refusal
        self._database = database
        self._objects = objects
        self._limit = waiting_bytes
        self._held = 0
        self._arrivals: dict[int, _Arrival] = {}  # by the identity of what was sent
        self._clearing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Waits for what is cleared in the background; each request is bounded."""
        while self._clearing:
            await asyncio.wait(self._clearing)

    async def keep(self, sent: Sent) -> None:
        """Stores addenda durably, see `AddendaPort.keep`.

        Raises UnavailableError or StorageError if the outcome is unknown; only the request failed.
        """
        if self._refusal and sent.addenda:
            raise BadAddendumError(0, self._refusal)
        if self._held + sent.size > self._limit:
            raise OverloadedError("too many addenda wait to be stored")
        self._held += sent.size
        try:
            arrival = await self._arrive(sent)
        except BaseException:
            self._held -= sent.size
            raise
        self._arrivals[id(sent)] = arrival
        if arrival.key:
            self._arriving.add(arrival.key)

    async def _arrive(self, sent: Sent) -> _Arrival:
        digests = [one.digest for one in sent.addenda]
        for again in range(TRIES - 1, -1, -1):
            key = ARRIVING + secrets.token_hex(16)
            known = await addendarows.note(self._database, key, digests, sent.expected)
            absent = sent.expected.keys() - known.stored
            if absent:
                digest = min(absent, key=sent.expected.__getitem__)
                raise MissingAddendumError(sent.expected[digest], digest)
            new = [one for one in sent.addenda if one.digest not in known.stored]
            if not new:
                break
            # A4: a crash between the note and the object. The object may still be on its way from
            # this process: its place is taken before the note goes.
            try:
                await self._objects.arrive(key, new)
            except UnavailableError:
                # It may still be stored, later: the note stays, and nobody uses the key again.
                if not again:
                    raise
                continue
            return _Arrival(sent, key, new, known.leaves)
        return _Arrival(sent, "", (), 0)

    async def named(self, sent: Sent, first: int) -> None:  # noqa: ARG002  # notes stay until then
        """The request is logged, see `AddendaPort.named`; raises as `keep`."""
        arrival = self._leave(sent)
        if arrival.addenda:
            await finish(
                self._database, self._objects, arrival.key, arrival.addenda, arrival.leaves
            )
            self._clear(arrival.key)

    def refused(self, sent: Sent) -> None:
        """Nothing of the request is logged, see `AddendaPort.refused`."""
        arrival = self._leave(sent)
        if arrival.key:
            self._clear(arrival.key)

    def abandoned(self, sent: Sent) -> None:
        """It is not known whether the request is logged, see `AddendaPort.abandoned`."""
        self._leave(sent)

    def _leave(self, sent: Sent) -> _Arrival:
        self._held -= sent.size
        arrival = self._arrivals.pop(id(sent))
        self._arriving.discard(arrival.key)
        return arrival

    def _clear(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._cleared(key))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def _cleared(self, key: str) -> None:
        try:
            await clear(self._database, self._objects, [key])
        except LogError as error:
            event(_LOGGER, logging.WARNING, "left for the integrator", key=key, error=str(error))

    async def read(self, digest: bytes) -> bytes | Erased | None:
        """The bytes of a digest, see `AddendaPort.read`.

        Raises UnavailableError or StorageError if they cannot be read.
        """
        found: Erased | str | None = None
        for _ in range(TRIES):
            found = await addendarows.find(self._database, digest)
            if found is None or isinstance(found, Erased):
                return found
            if found:
                data = await self._objects.find_arriving(found, digest)
            else:
                data = await self._objects.get(digest)
            if data is not None:
                return data
            # Erased, refused, or moved to its place, between the two looks.
        if found:
            return None
        raise StorageError(f"the object store has lost the addendum {digest.hex()}")


async def finish(
    database: Database,
    objects: AddendaObjects,
    key: str,
    addenda: Sequence[Addendum],
    leaves: int,
) -> None:
    """Gives addenda that a record of the log names their places, and their rows.

    Raises UnavailableError or StorageError if some may lack one; the same call may succeed later.

    Args:
        database: where the rows are.
        objects: where the bytes are.
        key: the object in which they came.
        addenda: what they are.
        leaves: how many leaves were ordered before they came.
    """
    limit = asyncio.Semaphore(AT_ONCE)

    async def put(one: Addendum) -> Version | None:
        async with limit:
            return await objects.put(one.digest, one.data)

    # Each to its end, so that none is under way when this fails.
    results = await asyncio.gather(*map(put, addenda), return_exceptions=True)
    kept: list[tuple[Addendum, Version]] = []
    gone: list[bytes] = []
    for one, result in zip(addenda, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        if result is None:
            gone.append(one.digest)
        else:
            kept.append((one, result))
    # A5: a crash between the objects and the rows. The sweeper finds the records that name them,
    # and stores them again where they are already.
    await addendarows.add(database, key, kept, leaves, gone)
    # A6: a crash before the object in which they came is gone. The sweeper does this again, which
    # changes nothing, and deletes it.


async def clear(database: Database, objects: AddendaObjects, keys: Sequence[str]) -> None:
    """Deletes objects in which addenda came, then what is noted of them.

    In this order: what is noted is found again. Raises UnavailableError or StorageError if some
    may still be there.
    """
    for key in keys:
        await objects.clear(key)
    await addendarows.done(database, keys)
