"""The sequencer of a cluster's frontend: other processes order batches of the same streams.

What is remembered of a stream is only a guess that the transaction checks. Batches that came early
are looked for by polling, since another process may order those before them. After an error nothing
was ordered here, and everything remembered is forgotten.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from muniment.local.taskgroup import TaskGroup
from muniment_log.core.ordering import StreamsMovedError
from muniment_log.core.sequencer import Sequencer
from muniment_log.core.streams import BatchPlace, Pending, Stream, refuse
from muniment_log.errors import (
    EngineRefusedError,
    OverloadedError,
    StreamConflictError,
    UnavailableError,
)

if TYPE_CHECKING:
    from muniment_log.core.ports import StreamKey, StreamState
    from muniment_log.core.queueing import Group

POLL_SECONDS: Final = 0.01
"""How often a shared order is asked for the batches that early ones wait for: they are on their way
through another process, which takes some milliseconds."""


class SharedSequencer(Sequencer):
    """A `Sequencer` over an order that has other sequencers beside this one."""

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues, as committed by whichever process."""
        return await self._order.stream(key)

    async def _work(self) -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="parked batches")
            await self._commit_all()

    async def _follow(self) -> None:
        """Looks for the batches that early ones wait for, in case another process ordered them."""
        while True:
            await self._parked.wait()
            waiting = [s for s in self.remembered if s.parked and not s.queued]
            if not waiting:
                if not any(stream.parked for stream in self.remembered):
                    self._parked.clear()
            else:
                began = asyncio.get_running_loop().time()
                try:
                    states = await self._order.streams([stream.key for stream in waiting])
                except (UnavailableError, OverloadedError, EngineRefusedError):
                    states = {}  # it goes on to wait, at most until its time is over
                    began = 0.0
                for stream in waiting:
                    stream.looked = max(stream.looked, began)
                    state = states.get(stream.key, stream.committed)
                    # What was forgotten meanwhile has been refused, and is not to be ordered.
                    is_known = self.remembered.get(stream.key) is stream
                    if is_known and not stream.queued and state.next > stream.committed.next:
                        await self._move(stream, state)
            await asyncio.sleep(POLL_SECONDS)

    def _too_early(self, stream: Stream, first: int) -> Exception:  # noqa: ARG002  # of one that is not shared
        # Others may have what is missing here, see `_expire`.
        return OverloadedError("too many batches of the stream wait for the one before them")

    def _expire(
        self, stream: Stream, pending: Pending, since: float, *, again: bool = True
    ) -> None:
        if stream.parked.get(pending.first) is not pending:
            return
        if stream.looked < since:
            # What is remembered of the stream is a guess from before the batch came: another
            # process may have acknowledged what it follows. That is no gap.
            if again:
                again_in = self._limits.parked_seconds
                expire = partial(self._expire, stream, pending, since, again=False)
                asyncio.get_running_loop().call_later(again_in, expire)
                return
            del stream.parked[pending.first]
            refuse(pending, UnavailableError("the stream's position is unknown; retry"))
            return
        super()._expire(stream, pending, since)

    async def _is_undone(self, group: Group, error: Exception) -> bool:
        if isinstance(error, StreamsMovedError):
            await self._move_all(group, error.states)
        elif isinstance(error, (OverloadedError, UnavailableError, EngineRefusedError)):
            if isinstance(error, OverloadedError):
                self._metrics.refused.labels("overload").inc()
            group.refuse(error)
            self._refuse_waiting(error)
        else:
            return await super()._is_undone(group, error)
        return True

    async def _move_all(self, group: Group, moved: dict[StreamKey, StreamState]) -> None:
        """After a group of which nothing was ordered, because another process moved streams."""
        for stream, _, _ in group.framed:
            stream.committed = moved.get(stream.key, stream.committed)
        self._put_back(group)
        for key, state in moved.items():
            stream = self.remembered[key]
            if stream.queued or stream.parked:
                await self._move(stream, state)

    async def _move(self, stream: Stream, state: StreamState) -> None:
        """Judges all that waits on a stream anew, after another process has moved it."""
        waiting = sorted(
            [*stream.queued.values(), *stream.parked.values()], key=lambda pending: pending.first
        )
        self._queue.drop(stream.key)
        stream.restart(state)
        past: list[Pending] = []
        # All of them before anything is awaited: meanwhile the same batches may be sent again.
        for pending in waiting:
            try:
                place, _ = stream.place(pending.batch, pending.digest)
            except StreamConflictError as error:
                refuse(pending, error)
                continue
            if place is BatchPlace.NEXT:
                self._enqueue(stream, pending)
            elif place is BatchPlace.EARLY:
                self._park(stream, pending)
            else:
                past.append(pending)
        for pending in past:
            try:
                receipt = await self._receipt_of(stream.key, pending.first, pending.digest)
            except (StreamConflictError, UnavailableError, EngineRefusedError) as error:
                refuse(pending, error)
            else:
                if not pending.done.done():
                    pending.done.set_result(receipt)
