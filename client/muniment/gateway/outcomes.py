"""The outcome of one call: room for it is on disk first, and exactly one is kept for what ran."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from muniment.errors import Undelivered

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway
    from muniment.gateway.spool import Spool
    from muniment.records.kinds import RunStatus
    from muniment.records.members import DenialCode
    from muniment.records.preparation import RecordInput

KEEPING: Final = 10.0
"""Seconds that a caller waits for its outcome to be on disk; the writing goes on after them."""


def unrun_outcome(members: Mapping[str, Any], codes: "Sequence[DenialCode]") -> dict[str, Any]:
    """The outcome of a run that may have been allowed and never began, with these codes."""
    denial = {"codes": list(dict.fromkeys(codes))}
    return {"kind": "outcome", **members, "status": "aborted", "denial": denial}


class Unfinished:
    """Work that is finished whether or not somebody waits for it: a cancelled call's outcome."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def finish(self, work: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        """Waits for the work, for KEEPING seconds; raises what it raises.

        Raises Undelivered if it takes longer; it goes on.
        """
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=KEEPING)
        if not task.done():
            raise Undelivered(f"{what} takes more than {KEEPING:g} s")
        task.result()

    async def settled(self) -> None:
        """Waits for all of it, for KEEPING seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=KEEPING)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; others must not be warned


class PendingOutcome:
    """The outcome of a call that is going on. Belongs to the spool's event loop.

    Until it is kept it is ``unknown`` on disk, and so in the log once this process has ended.

    Attributes:
        is_being_authorized: Whether the decision is being authorised: who does that says what
            became of it, and nobody else.
        has_permit: Whether a permit was given.
        abandoned: Why nobody waits for the permit any more; empty while somebody does.
    """

    def __init__(
        self, spool: "Spool", call: int, members: Mapping[str, Any], addenda: Sequence[bytes]
    ) -> None:
        """See ``begin``."""
        self.is_being_authorized = False
        self.has_permit = False
        self._spool = spool
        self._call = call
        self._members = members
        self._addenda = addenda
        self._is_over = False
        self.abandoned: tuple[DenialCode, ...] = ()

    @classmethod
    async def begin(
        cls, gateway: "Gateway", members: Mapping[str, Any], addenda: Sequence[bytes] = ()
    ) -> "PendingOutcome":
        """Sets room aside in a gateway's spool, before anything is decided.

        ``addenda`` are those that the members name, and the decision, too.

        Raises:
            RuntimeError: If the gateway has no spool.
            TimeoutError: If its disk gives no answer.
            MunimentError: If no outcome can be kept now; see ``Spool.begin``.
        """
        spool = gateway.spool
        members = {"kind": "outcome", **members}
        async with asyncio.timeout(KEEPING):
            call = await spool.begin({**members, "status": "unknown"}, addenda)
        return cls(spool, call, members, addenda)

    async def keep(
        self,
        status: "RunStatus",
        addenda: Sequence[bytes] = (),
        *,
        at_leisure: bool = False,
        **members: Any,
    ) -> None:
        """Keeps how the call ended, with addenda; the first word counts.

        See ``Spool.end`` for what it raises, and for what is kept `at_leisure`.
        """
        outcome = {**self._members, **members, "status": status}
        await self._end(outcome, addenda, at_leisure=at_leisure)

    async def keep_unrun(self, codes: "Sequence[DenialCode]") -> None:
        """Keeps that the call never began, although it may have been allowed."""
        await self._end(unrun_outcome(self._members, codes))

    async def _end(
        self, outcome: "RecordInput", addenda: Sequence[bytes] = (), *, at_leisure: bool = False
    ) -> None:
        if not self._is_over:
            self._is_over = True
            # With a permit, those of the decision are where they belong already.
            own = () if self.has_permit else self._addenda
            both = [*own, *addenda]
            await self._spool.end(self._call, outcome, both, at_leisure=at_leisure)

    def drop(self) -> None:
        """Gives the room back: nothing was allowed."""
        if not self._is_over:
            self._is_over = True
            self._spool.forget(self._call)

    async def abandon(self, codes: "Sequence[DenialCode]") -> None:
        """Ends what does not run: an outcome if there is, or may be, a permit for it.

        Whether there is, is known on the event loop alone; a caller in another thread may have
        stopped waiting at any moment.
        """
        if self.has_permit:
            await self.keep_unrun(codes)
        elif self.is_being_authorized:
            self.abandoned = tuple(codes)
        else:
            self.drop()
