"""The steps of a governed call, the same for event loops and threads.

Nothing of a call's own objects is trusted beyond the next wait: the policy, ``complete`` and
``check`` get copies of the request, and what the call is about is taken again before it runs.
The room for its outcome is on disk before anything is decided; from then on exactly one outcome is
kept for what ran or was allowed, and none for what was not.
"""

import asyncio
import inspect
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from muniment.errors import Denied, MunimentError
from muniment.gateway.authorization import (
    authorize_call,
    denial_of,
    denial_of_verdict,
    note_failure,
)
from muniment.gateway.callbinding import Bound, CallSubject, JsonObject
from muniment.gateway.calloptions import Call, CallRules
from muniment.gateway.decisionrecord import record_decision
from muniment.gateway.once import KeyClaim, StoredPermit
from muniment.gateway.outcomekeeping import ARGUMENTS_DIGEST, OutcomeKeeping, Permitted
from muniment.gateway.outcomes import KEEPING, PendingOutcome
from muniment.gateway.reach import Reach, close_unbegun
from muniment.gateway.refusals import denial_of_members, record_reduced
from muniment.gateway.runs import current_run, run_edges
from muniment.gateway.withholding import new_nonce
from muniment.permit import Permit
from muniment.records.addenda import ARGUMENTS, Patterns
from muniment.records.commitments import MAX_ADDENDUM, addendum, commitment_of
from muniment.records.members import MAX_ID
from muniment.tlog.encoding import FormatError
from muniment.tlog.tlogproof import verify_tlog_proof

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway

T = TypeVar("T")


class Governing:
    """The steps of one call; ``reach`` is its caller's way to the loop of the gateway.

    Attributes:
        outcomes: Keeps how the call ended, once it may run.
    """

    def __init__(self, gateway: "Gateway", reach: Reach, rules: CallRules) -> None:
        self._gateway = gateway
        self._reach = reach
        self._rules = rules
        withholding = gateway.withholding
        self._keeps_arguments = withholding is not None and withholding.keeps_arguments
        self._states_arguments = self._keeps_arguments or rules.states_arguments
        self.outcomes: Final = OutcomeKeeping(gateway, reach, rules)
        self._end = None if rules.timeout is None else time.monotonic() + rules.timeout

    async def permit(self, about: CallSubject) -> Permitted:
        """Takes every step before the run.

        Raises Denied if it may not run; then its outcome is kept, if it needs one.
        """
        try:
            if self._rules.once is None:
                return await self._permit(about)
            return await self._permit_once(about, self._rules.once)
        finally:
            if self._end is not None:
                self._gateway.breaker.released()

    async def _permit_once(self, about: CallSubject, key: str) -> Permitted:
        """As ``permit``, for a call that somebody may have asked for before."""
        store = self._gateway.once
        if store is None:
            raise Denied(("authorization_discontinuity",), [_NO_ONCE])
        seconds = self._seconds()
        try:
            claim = await self._obtain(store.claim(key, seconds), KeyClaim.release, seconds)
        except Exception as error:
            raise denial_of(error) from error
        try:
            if claim.stored is None:
                return await self._permit(about, claim)
            return await self._permit_again(about, key, claim.stored)
        finally:
            claim.release()

    async def _permit_again(self, about: CallSubject, key: str, stored: StoredPermit) -> Permitted:
        """Gives the first permit again, verified and judged anew, if this is the same call."""
        decision, policy = stored.permit.decision, self._gateway.policy
        asked: dict[str, Any] = {"id": f"d-{secrets.token_hex(12)}"}
        try:
            if policy is None or decision is None or decision.execution is None:
                raise FormatError(f"once: what is kept for {key[:64]!a} is no permit of a call")
            in_force = policy.at(int(time.time()))
            verify_tlog_proof(stored.permit.proof, stored.permit.entry, in_force)
        except Exception as error:
            raise denial_of(error) from error
        bound, _ = await self._bind(asked, about, stored.nonce, asks_log=False)
        if (stored.about, stored.arguments) != (_about(asked, stored.nonce), bound.commitment):
            raise await self._refuse(asked, Denied(("authorization_discontinuity",), [_OTHER]))
        permit = stored.permit
        if self._keeps_arguments:
            held = {sha256(bound.addendum).hexdigest(): bound.addendum}
            permit = Permit.of(permit.entry, permit.proof, permit.record, held=held)
        call = Call(decision.execution, asked["request"], stored.parent, bound.commitment)
        if self._states_arguments:
            call = replace(call, arguments=bound.arguments)
        outcome = self._gateway.waiting.pop(key, None)
        if outcome is None:
            try:
                outcome = await self._begin(call, about, ())
            except Exception as error:
                raise denial_of(error) from error
            outcome.has_permit = True
        try:
            await self._judge(permit, call)
            self._check_still(about, bound, stored.nonce)
        except BaseException as error:
            await self._abandon(outcome, error)
            raise
        return Permitted(call, outcome, permit, _unbound(about))

    def _check_still(self, about: CallSubject, bound: Bound, nonce: str) -> None:
        """The last step, after which nothing waits: the call is the one that was decided."""
        if not about.bound(about.resource(), nonce).is_same(bound):
            raise Denied(("authorization_discontinuity",), [_CHANGED])
        self._gateway.spool.check_there()

    async def _abandon(self, outcome: PendingOutcome, error: BaseException) -> None:
        """Ends a call that does not run; raises Denied for an exception that is another one."""
        denial = denial_of(error)
        raised = denial if isinstance(error, Exception) else error
        await note_failure(raised, self.outcomes.finish(partial(outcome.abandon, denial.codes)))
        if raised is not error:
            raise raised from error

    async def _permit(self, about: CallSubject, claim: KeyClaim | None = None) -> Permitted:
        execution = f"run-{secrets.token_hex(12)}"
        is_kept = self._keeps_arguments
        nonce = new_nonce() if is_kept else self._gateway.salts.nonce(execution, ARGUMENTS_DIGEST)
        asked: dict[str, Any] = {"id": f"d-{execution}", "execution": execution}
        bound, parent = await self._bind(asked, about, nonce)
        call = Call(execution, asked["request"], parent, bound.commitment)
        if self._states_arguments:
            call = replace(call, arguments=bound.arguments)
        try:
            outcome = await self._begin(call, about, [bound.addendum] if is_kept else [])
        except Exception as error:
            raise denial_of(error) from error
        try:
            permit = await self._authorize(call, asked, outcome, bound)
            if claim is not None:
                stored = StoredPermit(permit, nonce, _about(asked, nonce), bound.commitment, parent)
                await self._reach.on_gateway(asyncio.to_thread(claim.keep, stored), KEEPING)
            self._check_still(about, bound, nonce)
        except BaseException as error:
            await self._abandon(outcome, error)
            raise
        return Permitted(call, outcome, permit, _unbound(about))

    def _seconds(self) -> float:
        """How long the next wait may take."""
        if self._end is None:
            return self._gateway.deadline
        return max(self._end - time.monotonic(), _LEAST)

    async def _ask(self, answer: Any, what: str) -> Any:
        """What the caller's code says, which may be awaitable, and may never say it."""
        if not inspect.isawaitable(answer):
            return answer
        try:
            return await self._reach.here(answer, self._seconds(), what)
        finally:
            close_unbegun(answer)  # the gateway's loop did not even begin

    async def _bind(
        self, asked: dict[str, Any], about: CallSubject, nonce: str, *, asks_log: bool = True
    ) -> tuple[Bound, str | None]:
        """Tells what the call is about, and which run triggers it; notes the request in ``asked``.

        A ``Denied``, on record, if that cannot be told, what runs cannot be bound to it, or the log
        is known to be away.
        """
        rules = self._rules
        request: dict[str, Any] = {"action": {"name": rules.action}}
        asked["request"] = request
        try:
            request["subject"] = deepcopy(dict(rules.subject))
            request["resource"] = about.resource()
            if rules.ids:
                request["context"] = {"ids": dict(rules.ids)}
            parent = about.parent()
            parent = current_run() if parent is None else parent
            if parent is None and rules.require_parent:
                raise Denied(("lineage_fragmentation",), [_NO_PARENT])
        except Exception as error:
            raise await self._refuse(asked, denial_of(error)) from error
        try:
            bound = about.bound(request["resource"], nonce)
            if self._states_arguments:
                if len(bound.addendum) > MAX_ADDENDUM:
                    raise FormatError(f"arguments of more than {MAX_ADDENDUM} bytes")
                request["context"] = {**request.get("context", {}), "arguments": bound.arguments}
        except Exception as error:
            denial = denial_of(error)
            try:
                asked["response"] = await self._evaluate(request)  # whose no comes first
            except Denied as failed:
                denial = failed
            raise await self._refuse(asked, denial) from error
        if asks_log and self._end is not None and (away := self._gateway.breaker.refusal()):
            denial = Denied(("governance_mesh_discontinuity",), [away])
            raise await self._refuse(asked, denial, later=True)
        return bound, parent

    async def _refuse(
        self, asked: dict[str, Any], denial: Denied, *, later: bool = False
    ) -> Denied:
        """Records that a call is denied of which there will be no decision otherwise."""
        denial = denial_of_members(asked, denial)
        if self._states_arguments and not self._keeps_arguments and self._gateway.withholding:
            # Others' patterns say what is left out of the record; arguments always are.
            context = {**asked["request"].get("context", {})}
            context.pop("arguments", None)
            asked = {**asked, "request": {**asked["request"], "context": context}}
        work = record_reduced(
            self._gateway,
            asked,
            denial,
            None if self._end is None else self._seconds(),
            private=_STATED if self._states_arguments else None,
            later=later,
        )
        try:
            return await self._reach.on_gateway(work, self._seconds() + KEEPING)
        except MunimentError as error:
            return Denied(denial.codes, [*denial.reasons, f"the denial is not recorded: {error}"])

    async def _begin(
        self, call: Call, about: CallSubject, addenda: Sequence[bytes]
    ) -> PendingOutcome:
        gateway = self._gateway
        if gateway.policy is None:
            raise ValueError("a gateway without a policy verifies nothing and cannot authorize")
        members: dict[str, Any] = {
            "execution": call.execution,
            "inputs": {"arguments": call.inputs},
        }
        if unbound := _unbound(about):
            members["unbound"] = unbound
        work = PendingOutcome.begin(gateway, members, addenda)
        return await self._obtain(work, PendingOutcome.drop, KEEPING)

    async def _obtain(
        self, work: Coroutine[Any, Any, T], undo: Callable[[T], object], seconds: float
    ) -> T:
        """Waits for the gateway's work; undoes what comes when its caller has just left."""
        found: list[T] = []
        is_left = False

        async def obtain() -> T:
            result = await work
            found.append(result)
            if is_left:
                undo(result)
            return result

        obtaining = obtain()
        try:
            return await self._reach.on_gateway(obtaining, seconds)
        except BaseException:
            is_left = True
            close_unbegun(work)
            if found:
                self._gateway.call_soon(partial(undo, found[0]))
            raise

    async def _authorize(
        self, call: Call, asked: dict[str, Any], outcome: PendingOutcome, bound: Bound
    ) -> Permit:
        try:
            asked["response"] = await self._evaluate(call.request)
            record, prepared = record_decision(
                self._gateway,
                self._rules,
                call,
                asked,
                bound,
                states_arguments=self._states_arguments,
                keeps_arguments=self._keeps_arguments,
            )
            edges = run_edges(
                call.execution,
                agent=call.request["subject"]["id"],
                parent=call.parent,
                delegator=self._rules.delegator,
            )
        except Exception as error:
            raise await self._refuse(asked, denial_of(error)) from error
        seconds = self._seconds()
        limit = None if self._end is None else seconds
        work = authorize_call(self._gateway, record, prepared, edges, outcome, limit)
        permit = await self._reach.on_gateway(work, seconds + KEEPING)
        await self._judge(permit, call)
        return permit

    async def _judge(self, permit: Permit, call: Call) -> None:
        """Has the caller's ``check`` judge a permit."""
        if self._rules.check is None:
            return
        found = await self._ask(self._rules.check(permit, call.copied()), "check=")
        if found is not None and not found.permitted:
            raise denial_of_verdict(found)

    async def _evaluate(self, request: JsonObject) -> dict[str, Any]:
        """The policy engine's answer, all of it copied; ``Denied`` if it gives none."""
        try:
            said = await self._ask(self._rules.decide(deepcopy(request)), "the policy engine")
            # One copy, of which all is read: the object could say something else the next time.
            response = dict(said) if isinstance(said, Mapping) else {}
        except Exception as error:
            raise Denied(("could_not_evaluate",), [str(error) or type(error).__name__]) from error
        if not isinstance(response.get("decision"), bool):
            raise Denied(("could_not_evaluate",), ["the policy engine gave no AuthZEN response"])
        try:
            return deepcopy(response)
        except Exception:  # noqa: BLE001 - no more than what cannot be copied can it be recorded
            return response


_STATED: Final = Patterns([ARGUMENTS])
"""Where a decision has its call's arguments, which nobody sees who reads the log."""

_LEAST: Final = 0.001
"""Seconds that a wait has whose time is over already: what is there is taken."""

_CHANGED: Final = (
    "the arguments, or the resource made of them, changed between the decision and the run"
)
_NO_ONCE: Final = "once= needs a gateway with a spool, beside which permits are kept"
_OTHER: Final = (
    "once: the key was used for a call by another agent, of another tool, or with other arguments"
)
_NO_PARENT: Final = (
    "no run triggers this call, and require_parent asks for one: call it inside of a governed call "
    "or of running(RUN), give parent=, or hand the run on to another thread with carry_run"
)


def _about(asked: Mapping[str, Any], nonce: str) -> str:
    """Commitment to whom and what a call is about, besides its arguments."""
    request = asked["request"]
    members = {name: request[name] for name in ("subject", "action", "resource")}
    return commitment_of(addendum(nonce, members))


def _unbound(about: CallSubject) -> list[str]:
    return [f"{ARGUMENTS_DIGEST}.{quote(name, safe='')}"[:MAX_ID] for name in about.unbound]
