"""A durable queue for records that must not wait for the log: outcomes, edges.

``put`` returns once the records are on this disk; a task delivers them, in order, on a stream of
their own, exactly once: see ``spooldelivery``.

No call runs whose outcome could not be kept. ``begin`` writes the outcome that the call has if
nobody sees how it ends, before anything is decided: a spool that is broken, full, or on a full disk
says so then. Room on the disk for the outcomes of calls that are going on is set aside beside the
file (``SpareRoom``), and the file is opened anew after an error of the disk: the spool recovers by
itself when there is room again.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from muniment.errors import (
    GatewayClosed,
    MunimentError,
    SpoolFull,
    StreamError,
)
from muniment.gateway.keptaddenda import (
    KeptAddendum,
    KeptBytes,
    erasures,
    kept_addenda,
    list_kept,
    read_kept,
)
from muniment.gateway.logstream import LogStream
from muniment.gateway.spooldelivery import SpoolDelivery
from muniment.gateway.spoolfile import Change, SpoolFile
from muniment.gateway.spoolstore import SpoolStore
from muniment.gateway.takennames import read_names
from muniment.gateway.withholding import NO_ADDENDA, Addenda, GatewayWithholding, Prepared, prepare
from muniment.local.backoff import Backoff
from muniment.local.home import Home
from muniment.local.logs import event
from muniment.records.preparation import Preparer, RecordInput

SPOOL_SUFFIX: Final = ".spool"
"""Appended to a stream's label for its spool's stream: two writers may not share a stream."""

MAX_RECORDS: Final = 1_000_000
"""Records in a spool: a day of a busy gateway's outcomes."""

MAX_BYTES: Final = 512 * 1024 * 1024
"""Bytes of records in a spool; the file is larger by a fraction."""

DRAIN: Final = 2.0
"""Seconds that ``close`` gives the delivery; what is left waits for the next start."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
"""Seconds between attempts to reach the log: doubled, half of it jitter."""

_LOGGER: Final = logging.getLogger(__name__)
_OUTCOME_ROOM: Final = 1024
"""Bytes by which an outcome may be longer than the one that nobody saw: codes and digests."""


class Spool:
    """The durable queue of one gateway. Make one with ``open``, end it with ``close``.

    Attributes:
        delivery: What brings the records to the log.
        most_records: How many it holds at the most.
        most_bytes: How many bytes of records it holds at the most.
    """

    def __init__(
        self,
        store: SpoolStore,
        connect: Callable[[], LogStream],
        preparer: Preparer,
        limits: tuple[int, int],
        withholding: GatewayWithholding | None,
    ) -> None:
        self._store = store
        self.delivery = SpoolDelivery(store, connect, Backoff(FIRST_PAUSE, LONGEST_PAUSE))
        self._preparer = preparer
        self._withholding = withholding
        self.most_records, self.most_bytes = limits
        self._home = Home("the spool")
        self._calls = itertools.count(1)
        self._naming = asyncio.Lock()
        self._putting: set[asyncio.Task[int]] = set()
        self._closing = False
        self._delivering: asyncio.Task[None] | None = None

    @classmethod
    async def erase_in(
        cls, path: Path, digests: Iterable[str], *, by: str, reason: str | None = None
    ) -> int:
        """As ``erase``, of a spool that no gateway has open; the next one sends the records.

        Raises:
            DatabaseError: If the file is in use, or no spool.
            RecordError: As ``erase``.
        """
        store = await SpoolStore.open(path, expected="old")
        try:
            kept = await store.run(list_kept)
            preparer = Preparer(
                kept[0].producer if kept else store.file.place[1],
                now_ms=lambda: time.time_ns() // 1_000_000,
                new_id=lambda: f"x-{secrets.token_hex(12)}",
            )
            spool = cls(store, _never, preparer, (MAX_RECORDS, MAX_BYTES), None)
            spool._home.enter(asyncio.get_running_loop())
            return await spool.erase(digests, by=by, reason=reason)
        finally:
            await store.close()

    @classmethod
    async def open(
        cls,
        path: Path,
        connect: Callable[[], LogStream],
        preparer: Preparer,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        withholding: GatewayWithholding | None = None,
    ) -> "Spool":
        """Opens a spool, creating the file when absent, and begins to deliver what is in it.

        Calls that were going on when the last process ended have an outcome then: ``unknown``.
        ``connect`` makes the spool's own stream, unopened; ``withholding`` says what
        is taken out of records, and whether their addenda are sent with them or stay. Raises
        DatabaseError if the file is in use, which one process at a time has, or no spool.
        """
        store = await SpoolStore.open(path)
        if store.is_new:
            event(_LOGGER, logging.WARNING, "made a new spool: there was none", spool=str(path))
        spool = cls(store, connect, preparer, (max_records, max_bytes), withholding)
        spool._home.enter(asyncio.get_running_loop())
        spool._delivering = asyncio.create_task(spool.delivery.run())
        return spool

    @property
    def _file(self) -> SpoolFile:
        return self._store.file  # another one after an error of the disk

    @property
    def path(self) -> Path:
        """The file."""
        return self._store.path

    @property
    def failure(self) -> MunimentError | None:
        """Why nothing is delivered; None while all is well.

        Records are still taken, and kept. A ``StreamError`` is for good; of others the spool
        recovers by itself.
        """
        return self.delivery.failure or self._store.failure

    @property
    def pending(self) -> int:
        """Records that the log has not acknowledged yet."""
        return self._file.records

    @property
    def size(self) -> int:
        """Bytes of these records, of their addenda, and set aside for outcomes that are to come."""
        return self._store.size

    async def put(self, records: Iterable[RecordInput], addenda: Iterable[bytes] = ()) -> None:
        """Takes records, in order, completed and checked as by ``Gateway.submit``.

        Returns once they are on disk, with the addenda of what is withheld, and those given; takes
        no longer when the log is away.

        Raises:
            RecordError: If one is no record; nothing was taken.
            FormatError: If no record names a given addendum; nothing was taken.
            SpoolFull: If there is no room for all of them; nothing was taken.
            GatewayClosed: If the spool is closed, or was opened by the process that forked here.
            WrongLoop: If another event loop has it.
            FatalDatabaseError: If the disk failed; whether they were taken is not known.
        """
        await self.put_prepared(prepare(self._preparer, self._withholding, records, addenda))

    async def put_prepared(self, prepared: Prepared, names: Sequence[bytes] = ()) -> None:
        """As ``put``, of records that are complete; ``names`` are as those of ``put_once``."""
        self._home.check()
        self._check_open()
        entries, addenda = prepared
        if not entries:
            return
        size, kept = sum(map(len, entries)), list[KeptBytes]()
        if addenda:
            addenda, kept = self._kept(entries, addenda)
            size += _size(addenda)
        self._check_limits(len(entries), size)
        await self._store.put(entries, addenda, kept, names)

    async def put_once(self, records: Mapping[bytes, bytes]) -> int:
        """As ``put``, of records that others send, and may send again; says how many were new.

        They are complete, as ``Gateway.prepare`` makes them. Each has the name by which it is
        recognised: a digest, the first ``takennames.NAME`` bytes of which are the same whenever it
        comes. The newest million of names is known, also to the next process that opens the spool.
        Who is cancelled meanwhile does not end it.
        """
        self._home.check()
        task = asyncio.create_task(self._put_new(records))
        self._putting.add(task)
        task.add_done_callback(self._putting.discard)
        return await asyncio.shield(task)

    async def _put_new(self, records: Mapping[bytes, bytes]) -> int:
        async with self._naming:  # no name may become known between the question and the writing
            await self._store.mend()  # if it is broken, nobody knows what is in it
            file = self._file
            if (known := file.names) is None:
                known = file.names = await self._store.run(read_names, synced=False)
            new = known.unknown(records)
            await self.put_prepared(Prepared([records[name] for name in new]), new)
        return len(new)

    async def keep_addenda(self, entries: Sequence[bytes], addenda: Addenda) -> None:
        """Keeps the addenda of records that go to the log by another way; raises as ``begin``."""
        self._home.check()
        self._check_open()
        await self._store.put((), kept=kept_addenda(entries, addenda))

    async def kept(self) -> list[KeptAddendum]:
        """What addenda the file keeps, in the order in which they came."""
        self._home.check()
        return await self._store.run(list_kept, synced=False)

    async def addendum(self, digest: str) -> bytes | None:
        """An addendum that the file keeps, by its SHA-256 in hexadecimal digits; None if none."""
        self._home.check()
        return await self._store.run(partial(read_kept, digest), synced=False)

    async def erase(self, digests: Iterable[str], *, by: str, reason: str | None = None) -> int:
        """Erases addenda that the file keeps, and has that logged, as ``erasure`` records.

        Says how many it were; others than these are passed over. When it returns, their bytes are
        not in the file or its write-ahead log any more.

        Raises:
            RecordError: If ``by``, who has them erased, or the reason is too long, or empty.
            DatabaseError: If another program reads the file, and keeps its log from being cut off.
        """
        self._home.check()
        self._check_open()
        there = {one.digest for one in await self.kept()}
        found = sorted(there & {*digests})
        entries = self._preparer.prepare(erasures(found, by, reason))
        count = await self._store.run(partial(self._file.erase, found, entries))
        if count:
            self._file.changed(Change(entries))
            self._store.changed.set()
        await self._store.wipe()
        return count

    async def begin(self, outcome: RecordInput, addenda: Sequence[bytes] = ()) -> int:
        """Sets room aside for the outcome of a call, before anything is decided; numbers the call.

        ``outcome`` is what it is if nobody sees how the call ends; that is on disk then, with
        ``addenda``, which it names.

        Raises:
            SpoolFull: If the spool is full, or its disk.
            StreamError: If nothing is delivered.
            GatewayClosed, WrongLoop: As ``put``.
            DatabaseError, FatalDatabaseError: If the file cannot be written.
        """
        self._home.check()
        (entry,) = self._preparer.prepare([outcome])
        self._check_open()
        if (failure := self.delivery.failure) is not None:
            raise StreamError(f"{self._store.path}: nothing is delivered: {failure}")
        size = len(entry) + _OUTCOME_ROOM
        sent, kept = NO_ADDENDA, list[KeptBytes]()
        if addenda:
            sent, kept = self._kept([entry], {0: addenda})
            size += _size(sent)
        self._check_limits(1, size)
        call = next(self._calls)
        await self._store.begin(call, entry, size, sent.get(0, ()), kept)
        return call

    async def end(
        self,
        call: int,
        outcome: RecordInput,
        addenda: Sequence[bytes] = (),
        *,
        at_leisure: bool = False,
    ) -> None:
        """Keeps the outcome of a call, and addenda that it names; returns once they are on disk.

        Nobody needs what is kept `at_leisure` to be there at once: it is written together with what
        comes next, within ``spoolstore.LEISURE_SECONDS``.

        Raises:
            RecordError: If it is no record.
            GatewayClosed: If the spool is closed; the next one to open it says ``unknown``.
            FatalDatabaseError: If the disk failed; what is kept, this or ``unknown``, is not known.
        """
        self._home.check()
        (entry,) = self._preparer.prepare([outcome])
        self._check_open()
        sent, kept = NO_ADDENDA, list[KeptBytes]()
        if addenda:
            sent, kept = self._kept([entry], {0: addenda})
        await self._store.end(call, entry, sent.get(0, ()), kept, at_leisure=at_leisure)

    def check_there(self) -> None:
        """Raises ``DatabaseError`` if the file was deleted, replaced or cut off; in any thread."""
        self._store.check_there()

    def forget(self, call: int) -> None:
        """Gives the room of a call back about which there is nothing to say."""
        if not self._closing:
            self._store.forget(call)

    async def refused(self) -> int:
        """Number of records that the log will never take; they are in the file's table."""
        self._home.check()
        return await self._store.run(self._file.put_aside)

    async def drained(self) -> None:
        """Waits until everything is delivered, or nothing can be any more."""
        self._home.check()
        await self.delivery.drained()

    async def close(self, drain: float = DRAIN) -> None:
        """Delivers for ``drain`` seconds, and ends; what is left stays for the next start."""
        if self._closing or self._home.is_forked:
            return
        self._home.check()
        self._closing = True
        await self._store.flushed()
        try:
            async with asyncio.timeout(drain):
                await self.drained()
        except TimeoutError:
            pass
        finally:
            if self._delivering is not None:
                self._delivering.cancel()
                await asyncio.gather(self._delivering, return_exceptions=True)
            await self._store.close()

    # Taking

    def _kept(self, entries: Sequence[bytes], addenda: Addenda) -> tuple[Addenda, list[KeptBytes]]:
        """Which addenda are to be sent, and which to be kept here."""
        if addenda and self._withholding is not None and self._withholding.keep == "gateway":
            return NO_ADDENDA, kept_addenda(entries, addenda)
        return addenda, []

    def _check_open(self) -> None:
        if self._closing:
            raise GatewayClosed("the spool is closed")

    def _check_limits(self, records: int, size: int) -> None:
        store = self._store
        if store.records + records > self.most_records or store.size + size > self.most_bytes:
            raise SpoolFull(
                f"{store.path}: holds {store.file.records} records, and the outcomes of "
                f"{len(store.going_on)} calls are to come"
            )


def _never() -> LogStream:
    raise AssertionError("nothing is delivered")


def _size(addenda: Addenda) -> int:
    return sum(len(one) for several in addenda.values() for one in several)
