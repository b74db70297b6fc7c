"""How records of producers that cannot sign come to wait for the next commit.

Most have to wait for nothing first: they are new, and their producer's stream is known. Those are
queued at once, so that a process that orders for several needs no task for each. The others wait
for what came before them, and are looked up; see `submit`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from muniment_log.core.ordering import RecalledError
from muniment_log.core.queueing import Records
from muniment_log.core.recognizer import Recognizer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment_log.core.claims import Claim
    from muniment_log.core.ordering import Order
    from muniment_log.core.orderroom import OrderRoom
    from muniment_log.core.ports import Receipt, StreamKey
    from muniment_log.core.queueing import OrderQueue, Told
    from muniment_log.core.repeats import RequestPlan, RequestRecords
    from muniment_log.core.streams import Stream
    from muniment_log.core.streamtable import StreamTable


class TokenIntake:
    """Queues records; belongs to one event loop."""

    def __init__(
        self,
        *,
        order: Order,
        queue: OrderQueue,
        room: OrderRoom,
        remembered: StreamTable,
        hold: Callable[[StreamKey], Awaitable[Stream]],
        check: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        """Takes what the sequencer has, and how it works.

        Args:
            order: knows what is kept of records.
            queue: where records wait.
            room: for them.
            remembered: the streams in memory.
            hold: holds a stream there, which is read if it is not; see `StreamTable.hold`.
            check: raises UnavailableError when nothing is ordered any more.
            wake: says that something waits.
        """
        self._recognizer = Recognizer(order)
        self._queue = queue
        self._room = room
        self._remembered = remembered
        self._hold = hold
        self._check = check
        self._wake = wake

    def submit_at_once(self, producer: str, request: RequestRecords, done: Told) -> bool:
        """Queues records, if nothing has to be waited for before; see `SequencerPort`.

        `done` is told the receipt, or why there is none. A RecalledError says that something of
        them was logged before: then nothing was logged now, and they are for `submit`.

        Returns False, and `done` is told nothing, if they are to be ordered by `submit`. Raises
        what that does.
        """
        self._check()
        key = self._queue.stream_of(producer)
        stream = self._remembered.get(key)
        if stream is None or self._recognizer.is_repeating(key):
            return False
        size = sum(map(len, request.records))
        self._room.take(size)
        try:
            claimed = self._recognizer.claim_at_once(key, request)
        except BaseException:
            self._room.give(size)
            raise
        if claimed is None:
            self._room.give(size)
            return False
        self._remembered.hold(stream)
        self._enqueue(stream, claimed.plan, size, done, claimed.claim)
        return True

    async def submit(self, producer: str, request: RequestRecords) -> Receipt:
        """Orders records; see `SequencerPort.submit_records`."""
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        looks = False
        while True:
            try:
                # What has come again once, of this request or of its producer, is looked up.
                if looks or not self.submit_at_once(producer, request, partial(_tell, done)):
                    known = await self._claim(producer, request, done, looks=looks)
                    if known is not None:
                        return known
                return await done
            except RecalledError:
                looks = True
                done = asyncio.get_running_loop().create_future()

    async def _claim(
        self,
        producer: str,
        request: RequestRecords,
        done: asyncio.Future[Receipt],
        *,
        looks: bool,
    ) -> Receipt | None:
        """Waits for what has to be waited for, and queues what of a request was not logged before.

        Returns the receipt, and queues nothing, if all of it was. See `Recognizer.claim` for
        `looks`.
        """
        self._check()
        key = self._queue.stream_of(producer)
        size = sum(map(len, request.records))
        self._room.take(size)
        claim: Claim | None = None
        try:
            looks = looks or self._recognizer.is_repeating(key)
            plan, claim = await self._recognizer.claim(key, request, looks=looks)
            if plan.records:
                # It stays in memory until they are settled, also when the client goes away.
                stream = await self._hold(key)
                self._enqueue(stream, plan, size, partial(_tell, done), claim)
                return None
        except BaseException:
            self._let_go_of(size, claim)
            raise
        self._let_go_of(size, claim)
        return plan.receipt(None)

    def note_repeat(self, waiting: Records) -> None:
        """Something of a request was logged before: its producer's next ones are looked up."""
        self._recognizer.note_repeat(waiting.stream.key)

    def _enqueue(
        self, stream: Stream, plan: RequestPlan, size: int, done: Told, claim: Claim | None
    ) -> None:
        """All that is held is let go of when the records settle."""
        self._queue.records.append(Records(stream, plan, size, done, self._settled, claim))
        self._wake()

    def _settled(self, waiting: Records) -> None:
        self._let_go_of(waiting.size, waiting.claim)
        self._remembered.let_go(waiting.stream)

    def _let_go_of(self, size: int, claim: Claim | None) -> None:
        self._room.give(size)
        if claim is not None:
            claim.release()


def _tell(done: asyncio.Future[Receipt], outcome: Receipt | Exception) -> None:
    """Answers whoever waits, if somebody does."""
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
        done.exception()  # read: whoever waited may be gone by the time it arrives
    else:
        done.set_result(outcome)
