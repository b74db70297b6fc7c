"""Keeps how a governed call ended: exactly one outcome, with a digest of what the run gave."""

import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from muniment.gateway.authorization import note_failure
from muniment.gateway.callables import close_unrun, is_unseen
from muniment.gateway.callbinding import addendum_of_result
from muniment.gateway.calloptions import Call, CallRules
from muniment.gateway.outcomes import KEEPING, PendingOutcome
from muniment.gateway.reach import Reach
from muniment.gateway.withholding import new_nonce
from muniment.permit import Permit
from muniment.records.commitments import commitment_of, read_addendum
from muniment.records.kinds import RunStatus
from muniment.tlog.encoding import FormatError

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway

ARGUMENTS_DIGEST: Final = "inputs.arguments"
RESULT_DIGEST: Final = "outputs.result"
"""Where an outcome has its commitments."""


@dataclass(frozen=True, slots=True)
class Permitted:
    """A call that may run, and now must have an outcome."""

    call: Call
    outcome: PendingOutcome
    permit: Permit
    unbound: Sequence[str] = ()
    """Of which arguments the outcome has no digest."""


class OutcomeKeeping:
    """Keeps the outcome of one call, from wherever its caller is."""

    def __init__(self, gateway: "Gateway", reach: Reach, rules: CallRules) -> None:
        self._gateway = gateway
        self._reach = reach
        self._rules = rules

    async def keep_raised(self, permitted: Permitted, error: BaseException) -> None:
        """Keeps the outcome of a run that raised."""
        status: RunStatus = "failed" if isinstance(error, Exception) else "aborted"
        await note_failure(error, self.keep(permitted, status))

    async def keep_result(self, permitted: Permitted, result: object) -> None:
        """Keeps the outcome of a run that gave a result.

        Raises:
            TypeError: If the result is something that would run only now.
            MunimentError: If the outcome cannot be kept.
        """
        data, is_kept = self._addendum_of_result(permitted, result)
        if data is not None:
            outputs = {"result": commitment_of(data)}
            kept = [data] if is_kept else []
            more: dict[str, Any] = {}
            own = self._gateway.withholding
            if is_kept and own and own.keeps_arguments and own.keep == "log":
                more["kept"] = "log"  # the arguments it has with the decision
            await self.keep(permitted, "completed", kept, outputs=outputs, **more)
            return
        unrun = close_unrun(result)
        if unrun is None and not is_unseen(result):
            await self.keep_untold(permitted)
            return
        await self.keep(permitted, "unknown")
        if unrun is not None:
            raise TypeError(
                f"a governed call gave back a {unrun}, which had not run and is closed now: it "
                "would have run outside of the call; let the function run it to its end"
            )

    def wait(self, permitted: Permitted) -> None:
        """Leaves the outcome of a call to who asks for it again by its key."""
        if self._rules.once is not None:
            self._gateway.waiting[self._rules.once] = permitted.outcome

    async def keep_untold(self, permitted: Permitted) -> None:
        """Keeps the outcome of a run that ended well, and whose result nobody told."""
        await self.keep(permitted, "completed", unbound=[*permitted.unbound, RESULT_DIGEST])

    def _addendum_of_result(
        self, permitted: Permitted, result: object
    ) -> tuple[bytes | None, bool]:
        """The addendum of a result, None if that is no JSON, and whether it is kept."""
        withholding = self._gateway.withholding
        if withholding is not None and withholding.keeps_results:
            data = addendum_of_result(new_nonce(), result)
            with contextlib.suppress(FormatError):  # too long, say: then it is only committed to
                if data is not None:
                    read_addendum(data, "the result")
                    return data, True
        salted = self._gateway.salts.nonce(permitted.call.execution, RESULT_DIGEST)
        return addendum_of_result(salted, result), False

    async def keep(
        self,
        permitted: Permitted,
        status: RunStatus,
        addenda: Sequence[bytes] = (),
        **members: Any,
    ) -> None:
        """Keeps how a run ended, and what an outcome has besides that."""
        await self.finish(partial(permitted.outcome.keep, status, addenda, **members))

    async def finish(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Does work on the gateway's loop that goes on when nobody waits for it any more."""
        keeping = self._gateway.unfinished.finish(work, "the outcome")
        await self._reach.on_gateway(keeping, KEEPING)
