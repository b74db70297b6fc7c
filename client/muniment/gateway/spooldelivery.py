"""Delivers what is in a spool's file, in order, on a stream of its own, exactly once.

Whatever ends this process or the log's, the file and the log count alike: the file's oldest row
has the sequence number ``base`` on the stream.

- Rows are deleted, and ``base`` moves on, in one transaction and only after the log has answered.
- How many rows may be on their way (``claimed``) is on disk before the first of them leaves. After
  a restart the log says how far the stream is: rows below that are delivered. Further than what was
  claimed means that somebody else wrote to the stream: delivery stops and ``failure`` says why.
- The rows claimed before a crash leave first, and alone: cut as before, they make the same batches
  byte for byte, so that late copies of both runs meet at the log as one.
- Nobody waits for a record that is on disk here, so a few wait for others to go with them: each
  turn syncs the disk and is a signature and a request, which calls under way would pay for.
- A record that the log will never take is put aside in the table ``refused``, with the reason.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from muniment.errors import MunimentError, RecordRefused, Refused, StreamConflict, StreamError
from muniment.gateway.logstream import LogStream
from muniment.gateway.spoolfile import SpoolFile, Turn
from muniment.gateway.spoolstore import SpoolStore
from muniment.local.backoff import Backoff
from muniment.local.sqliteerrors import is_locked
from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError

CLAIM: Final = 4000
"""Most records on their way: as many as a gateway's window of batches holds."""

GATHER_SECONDS: Final = 0.05
"""How long a few records wait for others to go with them; not when somebody waits for them."""

ENOUGH: Final = 256
"""Records that go at once."""

_NO_DEADLINE: Final = 10_000_000.0


class SpoolDelivery:
    """Delivers from a spool's store; ``run`` is its one task.

    Attributes:
        failure: Why nothing is delivered; None while all is well. A ``StreamError`` is for good.
    """

    def __init__(
        self, store: SpoolStore, connect: Callable[[], LogStream], backoff: Backoff
    ) -> None:
        """``connect`` makes the stream, unopened; ``backoff`` is between attempts."""
        self.failure: MunimentError | None = None
        self._store = store
        self._connect = connect
        self._backoff = backoff
        self._progressed = asyncio.Event()  # or nothing can be delivered any more
        self._draining = 0
        self._hurried = asyncio.Event()

    @property
    def _file(self) -> SpoolFile:
        return self._store.file  # another one after an error of the disk

    async def drained(self) -> None:
        """Waits until everything is delivered, or nothing can be any more."""
        self._draining += 1
        self._hurried.set()
        try:
            while self._file.records and self.failure is None and self._store.failure is None:
                self._progressed.clear()
                await self._progressed.wait()
        finally:
            self._draining -= 1
            if not self._draining:
                self._hurried.clear()

    async def run(self) -> None:
        """Delivers, until cancelled, or until the stream is not where it was left."""
        conflicts = 0
        while not isinstance(self.failure, StreamError):
            before = self._file.base
            try:
                if self._store.is_broken:
                    await self._store.mend()
                stream = await self._connect().__aenter__()
                try:
                    await self._resume(stream)
                    self.failure = None
                    await self._drain(stream)
                finally:
                    # At once: what is on its way then is claimed, and the next attempt asks.
                    await stream.close(timeout=0)
            except StreamConflict as error:
                # Perhaps a late copy of what an earlier run sent: the log knows how far it is.
                conflicts = 1 if self._file.base > before else conflicts + 1
                if conflicts > 1:
                    self._fail(error)
            except StreamError as error:
                self._fail(error)
            except (FatalDatabaseError, DatabaseError) as error:
                self._store.fail(error)
                self._progressed.set()
            except Refused as error:
                if not error.is_retriable and error.problem.slug != "not-published-yet":
                    self._fail(error)  # for now: the log may let the gateway in later
            except MunimentError:
                pass  # nobody answered, or not as a log does: try again, for ever
            except Exception as error:
                if not is_locked(error):  # else it is tried again until the other program is done
                    self._fail(StreamError(f"internal error: {error!r}"))
                    raise
            if self._file.base > before:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next())

    def _fail(self, error: MunimentError) -> None:
        self.failure = error
        self._progressed.set()

    async def _resume(self, stream: LogStream) -> None:
        """Deletes what the log has taken already, and claims the rest of what was on its way."""
        here = (stream.origin, stream.producer, stream.stream)
        next_ = stream.sequence
        if not self._file.is_bound:
            await self._store.run(partial(self._file.bind, here, next_))
            self._file.bound(here, next_)
        if self._file.place != here:
            raise StreamError(f"{self._store.path}: belongs to stream {' '.join(self._file.place)}")
        if not self._file.base <= next_ <= self._file.base + self._file.claimed:
            raise StreamError(
                f"stream {stream.stream}: the log expects record {next_}, the spool has sent "
                f"{self._file.base} to {self._file.base + self._file.claimed}"
            )
        if delivered := next_ - self._file.base:
            size = await self._store.run(partial(self._file.delete, delivered))
            self._file.deleted(delivered, size)
            self._progressed.set()

    async def _drain(self, stream: LogStream) -> None:
        """Delivers rows for as long as the stream is well."""
        turn = await self._turn(0)
        while True:
            while not self._file.records:
                self._store.changed.clear()
                self._progressed.set()
                await self._store.changed.wait()
            if not turn.rows:
                await self._gather(0)
                turn = await self._turn(0)
            try:
                await stream.submit_encoded(
                    [data for _, data in turn.rows], timeout=_NO_DEADLINE, addenda=turn.addenda
                )
            except RecordRefused as refusal:
                # What stood before it in other batches is logged; the stream says how much.
                position, reason = turn.rows[refusal.position][0], str(refusal)
                size = await self._store.run(partial(self._file.refuse, position, reason))
                self._file.refused(size)
                return
            had_addenda = bool(turn.addenda)
            await self._gather(len(turn.rows))
            turn = await self._turn(len(turn.rows))
            if had_addenda and not self._file.records:
                with contextlib.suppress(DatabaseError):  # the next ones are wiped with these
                    await self._store.wipe()

    async def _gather(self, delivered: int) -> None:
        """Waits a moment for more records, beside those delivered, unless there are enough."""
        if self._file.records - delivered < ENOUGH and not self._hurried.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._hurried.wait()

    async def _turn(self, delivered: int) -> Turn:
        """Forgets what is delivered, and claims what is next, with one sync of the disk."""
        most = min(self._file.records - delivered, CLAIM)
        turn = await self._store.run(partial(self._file.turn, delivered, most))
        self._file.turned(delivered, turn)
        if delivered:
            self._progressed.set()
        return turn
