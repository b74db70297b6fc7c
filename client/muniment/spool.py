"""A durable queue for records that must not wait for the log (design section 6): outcomes, edges.

``put`` returns once the records are on this disk; a task delivers them, in order, on a stream of
their own. Delivered exactly once, whatever ends this process or the log's, because the file and
the log count alike: the oldest row of the file has the sequence number ``base`` on the stream.

- Rows are deleted, and ``base`` moves on, in one transaction and only after the log has answered.
- How many rows may be on their way (``claimed``) is on disk before the first of them leaves. After
  a restart the log says how far the stream is: rows below that are delivered. Further than what was
  claimed means that somebody else wrote to the stream: delivery stops and ``failure`` says why.
- The rows claimed before a crash leave first, and alone: cut as before, they make the same batches
  byte for byte, so that late copies of both runs meet at the log as one.
- A record that the log will never take is put aside in the table ``refused``, with the reason.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from muniment.errors import (
    GatewayClosed,
    MunimentError,
    RecordRefused,
    Refused,
    SpoolFull,
    StreamConflict,
    StreamError,
)
from muniment.formats.preparation import Preparer, RecordInput
from muniment.service.database import DatabaseError, FatalDatabaseError, Writer
from muniment.service.logging import event
from muniment.spoolfile import APPLICATION_ID, MIGRATIONS, SpoolFile

if TYPE_CHECKING:
    from muniment.gateway import Gateway

SPOOL_SUFFIX: Final = ".spool"
"""Appended to a stream's label for its spool's stream: two writers may not share a stream."""

MAX_RECORDS: Final = 1_000_000
"""Records in a spool: a day of a busy gateway's outcomes."""

MAX_BYTES: Final = 512 * 1024 * 1024
"""Bytes of records in a spool; the file is larger by a fraction."""

CLAIM: Final = 4000
"""Most records on their way: as many as a gateway's window of batches holds."""

DRAIN: Final = 2.0
"""Seconds that ``close`` gives the delivery; what is left waits for the next start."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
"""Seconds between attempts to reach the log: doubled, half of it jitter."""

_LOGGER: Final = logging.getLogger(__name__)
_NO_DEADLINE: Final = 10_000_000.0


@dataclass(frozen=True, slots=True)
class _Put:
    entries: Sequence[bytes]
    done: "asyncio.Future[None]"


class Spool:
    """The durable queue of one gateway. Make one with ``open``, end it with ``close``.

    Attributes:
        failure: Why nothing is delivered any more; None while all is well. Records are still
            taken, and kept.
    """

    def __init__(
        self,
        writer: Writer,
        file: SpoolFile,
        connect: "Callable[[], Gateway]",
        preparer: Preparer,
        limits: tuple[int, int],
    ) -> None:
        """Takes over an opened file; use ``open``."""
        self.failure: MunimentError | None = None
        self._writer = writer
        self._file = file
        self._connect = connect
        self._preparer = preparer
        self._most_records, self._most_bytes = limits
        self._waiting: list[_Put] = []
        self._flushing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._closing = False
        self._delivering: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        connect: "Callable[[], Gateway]",
        preparer: Preparer,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
    ) -> "Spool":
        """Opens a spool, creating the file when absent, and begins to deliver what is in it.

        Args:
            path: The file; one process at a time has it.
            connect: Makes an unopened gateway on the spool's own stream.
            preparer: Completes and checks the records.
            max_records: Most records in the file.
            max_bytes: Most bytes of records in the file.

        Raises:
            DatabaseError: If the file is in use, or no spool.
        """
        writer = await Writer.open(path, MIGRATIONS, application=APPLICATION_ID)
        if writer.is_new:
            event(_LOGGER, logging.WARNING, "made a new spool: there was none", spool=str(path))
        try:
            file = await writer.run(SpoolFile.load)
        except BaseException:
            await writer.close()
            raise
        spool = cls(writer, file, connect, preparer, (max_records, max_bytes))
        spool._delivering = asyncio.create_task(spool._deliver())
        return spool

    @property
    def pending(self) -> int:
        """Records that the log has not acknowledged yet."""
        return self._file.records

    async def put(self, records: Iterable[RecordInput]) -> None:
        """Takes records, in order, completed and checked as by ``Gateway.submit``.

        Returns once they are on disk; takes no longer when the log is away.

        Raises:
            RecordError: If one is no record; nothing was taken.
            SpoolFull: If there is no room for all of them; nothing was taken.
            GatewayClosed: If the spool is closed.
            FatalDatabaseError: If the disk failed; whether they were taken is not known.
        """
        entries = self._preparer.prepare(records)
        if self._closing:
            raise GatewayClosed("the spool is closed")
        if not entries:
            return
        size = sum(map(len, entries))
        waiting = [entry for one in self._waiting for entry in one.entries]
        if (
            self._file.records + len(waiting) + len(entries) > self._most_records
            or self._file.size + sum(map(len, waiting)) + size > self._most_bytes
        ):
            raise SpoolFull(f"{self._writer.path}: holds {self._file.records} records")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Put(entries, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await done

    async def refused(self) -> int:
        """Number of records that the log will never take; they are in the file's table."""
        return await self._writer.run(self._file.put_aside)

    async def drained(self) -> None:
        """Waits until everything is delivered, or nothing can be any more."""
        while self._file.records and self.failure is None:
            self._drained.clear()
            await self._drained.wait()

    async def close(self, drain: float = DRAIN) -> None:
        """Ends the spool; what is not delivered stays in the file for the next start.

        Args:
            drain: Seconds for delivering what is there.
        """
        if self._closing:
            return
        self._closing = True
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        try:
            async with asyncio.timeout(drain):
                await self.drained()
        except TimeoutError:
            pass
        finally:
            if self._delivering is not None:
                self._delivering.cancel()
                await asyncio.gather(self._delivering, return_exceptions=True)
            await self._writer.close()

    # Taking

    async def _flush(self) -> None:
        """Writes what waits, in one transaction for all of it, until nothing waits."""
        while self._waiting:
            taken, self._waiting = self._waiting, []
            entries = [entry for one in taken for entry in one.entries]
            try:
                await self._writer.run(partial(self._file.append, entries))
            except Exception as error:  # noqa: BLE001 - each caller gets it
                for one in taken:
                    if not one.done.done():
                        one.done.set_exception(error)
                        one.done.exception()
                continue
            self._file.appended(entries)
            for one in taken:
                if not one.done.done():
                    one.done.set_result(None)
            self._changed.set()

    # Delivering

    async def _deliver(self) -> None:
        pause = FIRST_PAUSE
        conflicts = 0
        while self.failure is None:
            before = self._file.base
            try:
                gateway = await self._connect().__aenter__()
                try:
                    await self._resume(gateway)
                    await self._drain(gateway)
                finally:
                    # At once: what is on its way then is claimed, and the next attempt asks.
                    await gateway.close(timeout=0)
            except StreamConflict as error:
                # Perhaps a late copy of what an earlier run sent: the log knows how far it is.
                conflicts = 1 if self._file.base > before else conflicts + 1
                if conflicts > 1:
                    self._fail(error)
            except (StreamError, FatalDatabaseError, DatabaseError) as error:
                self._fail(error)
            except Refused as error:
                if not error.is_retriable and error.problem.slug != "not-published-yet":
                    self._fail(error)
            except MunimentError:
                pass  # nobody answered, or not as a log does: try again, for ever
            except Exception as error:
                self._fail(StreamError(f"internal error: {error!r}"))
                raise
            pause = FIRST_PAUSE if self._file.base > before else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _fail(self, error: MunimentError) -> None:
        self.failure = error
        self._drained.set()

    async def _resume(self, gateway: "Gateway") -> None:
        """Deletes what the log has taken already, and claims the rest of what was on its way.

        Raises:
            StreamError: If the stream is not where the file says.
        """
        file = self._file
        here = (gateway.origin, gateway.producer, gateway.stream)
        next_ = gateway.sequence
        if not file.is_bound:
            await self._writer.run(partial(file.bind, here, next_))
            file.bound(here, next_)
        if file.place != here:
            raise StreamError(f"{self._writer.path}: belongs to stream {' '.join(file.place)}")
        if not file.base <= next_ <= file.base + file.claimed:
            raise StreamError(
                f"stream {gateway.stream}: the log expects record {next_}, the spool has sent "
                f"{file.base} to {file.base + file.claimed}"
            )
        await self._delivered(next_ - file.base)

    async def _drain(self, gateway: "Gateway") -> None:
        """Delivers rows for as long as the stream is well."""
        file = self._file
        while True:
            while not file.records:
                self._changed.clear()
                self._drained.set()
                await self._changed.wait()
            if not file.claimed:
                count = min(file.records, CLAIM)
                await self._writer.run(partial(file.claim, count))
                file.claimed = count
            rows = await self._writer.run(partial(file.oldest, file.claimed))
            try:
                await gateway.submit_encoded([data for _, data in rows], timeout=_NO_DEADLINE)
            except RecordRefused as refusal:
                # What stood before it in other batches is logged; the stream says how much.
                position, reason = rows[refusal.position][0], str(refusal)
                await self._writer.run(partial(file.refuse, position, reason))
                file.refused(len(rows[refusal.position][1]))
                return
            await self._delivered(len(rows))

    async def _delivered(self, count: int) -> None:
        file = self._file
        if not count:
            return
        size = await self._writer.run(partial(file.delete, count))
        file.deleted(count, size)
        self._drained.set()
