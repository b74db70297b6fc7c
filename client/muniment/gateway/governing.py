"""The steps of a governed call, the same for event loops and threads.

Nothing of a call's own objects is trusted beyond the next wait: the policy, ``complete`` and
``check`` get copies of the request, and what the call is about is taken again before it runs.
The room for its outcome is on disk before anything is decided; from then on exactly one outcome is
kept for what ran or was allowed, and none for what was not.
"""

import asyncio
import contextlib
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from muniment.errors import Denied, MunimentError
from muniment.gateway.authorization import (
    authorize_call,
    denial_of,
    denial_of_verdict,
    note_failure,
)
from muniment.gateway.callables import close_unrun, is_unseen, tool_name
from muniment.gateway.callbinding import (
    Bound,
    CallBinding,
    JsonObject,
    addendum_of_result,
)
from muniment.gateway.calloptions import Call, Options
from muniment.gateway.gateway import Gateway
from muniment.gateway.outcomes import KEEPING, PendingOutcome
from muniment.gateway.refusals import denial_of_members, record_reduced
from muniment.gateway.runs import current_run, run_edges
from muniment.gateway.withholding import Prepared, new_nonce
from muniment.records.addenda import disclose, read_addendum
from muniment.records.canonical import encode_canonical
from muniment.records.codec import parse_record
from muniment.records.commitments import commitment_of
from muniment.records.kinds import Decision, Record, RunStatus
from muniment.tlog.encoding import FormatError

T = TypeVar("T")


class Wait(Protocol):
    """Has the gateway's loop do some work, and waits for it, whoever calls."""

    async def __call__(self, work: Coroutine[Any, Any, T], seconds: float, /) -> T:
        """Waits for work that should take so many seconds at the most.

        Raises:
            MunimentError: If the loop cannot do it, or gives no answer.
        """
        ...


async def await_within(work: Awaitable[T], seconds: float, what: str) -> T:
    """Awaits what may not let itself be cancelled; ``TimeoutError`` after so many seconds."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError(f"{what}: no answer within {seconds:g} s")
        return task.result()
    finally:
        task.cancel()


@dataclass(frozen=True, slots=True)
class Permitted:
    """A call that may run, and now must have an outcome."""

    call: Call
    outcome: PendingOutcome


class Governing:
    """The steps of the calls of one function; ``wait`` waits for the loop of the gateway."""

    def __init__(
        self, function: Callable[..., Any], gateway: Gateway, wait: Wait, options: Options
    ) -> None:
        self._gateway = gateway
        self._wait = wait
        self._decide = options["decide"]
        self._subject = options["subject"]
        self._action = options.get("action", "call")
        self._delegator = options.get("delegator")
        self._complete = options.get("complete")
        self._check = options.get("check")
        self._parent = options.get("parent")
        self._require_parent = options.get("require_parent", False)
        resource = options.get("resource") or {"type": "tool", "id": tool_name(function)}
        self._binding = CallBinding(function, resource, options.get("bind"))
        try:
            self._signature = inspect.signature(function, follow_wrapped=False)
        except ValueError:  # of something that is not written in Python
            self._signature = inspect.signature(lambda *_, **__: None)

    async def permit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Permitted:
        """Takes every step before the run.

        Raises:
            TypeError: If the function does not take these arguments; nothing is decided.
            Denied: If it may not run; then its outcome is kept, if it needs one.
        """
        self._signature.bind(*args, **kwargs)
        execution = f"run-{secrets.token_hex(12)}"
        withholding = self._gateway.withholding
        is_kept = withholding is not None and withholding.keeps_arguments
        nonce = new_nonce() if is_kept else self._gateway.salts.nonce(execution, _ARGUMENTS)
        asked: dict[str, Any] = {"id": f"d-{execution}", "execution": execution}
        bound, parent = await self._bind(asked, args, kwargs, nonce)
        call = Call(execution, asked["request"], parent, bound.commitment)
        if is_kept:
            arguments = read_addendum(bound.addendum, "the arguments")
            call = replace(call, arguments=arguments)
        try:
            outcome = await self._begin(call, [bound.addendum] if is_kept else [])
        except Exception as error:
            raise denial_of(error) from error
        try:
            await self._authorize(call, asked, outcome, nonce)
            if not self._binding.take(args, kwargs, nonce).is_same(bound):
                raise Denied(("authorization_discontinuity",), [_CHANGED])
            self._gateway.spool.check_there()
        except BaseException as error:
            denial = denial_of(error)
            raised = denial if isinstance(error, Exception) else error
            await note_failure(raised, self._finish(partial(outcome.abandon, denial.codes)))
            if raised is error:
                raise
            raise denial from error
        return Permitted(call, outcome)

    async def keep_raised(self, permitted: Permitted, error: BaseException) -> None:
        """Keeps the outcome of a run that raised."""
        status: RunStatus = "failed" if isinstance(error, Exception) else "aborted"
        await note_failure(error, self._keep(permitted, status))

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
            await self._keep(permitted, "completed", kept, outputs=outputs)
            return
        unrun = close_unrun(result)
        if unrun is None and not is_unseen(result):
            await self._keep(permitted, "completed", unbound=[_RESULT])
            return
        await self._keep(permitted, "unknown")
        if unrun is not None:
            raise TypeError(
                f"a governed call gave back a {unrun}, which had not run and is closed now: it "
                "would have run outside of the call; let the function run it to its end"
            )

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
        salted = self._gateway.salts.nonce(permitted.call.execution, _RESULT)
        return addendum_of_result(salted, result), False

    async def _keep(
        self,
        permitted: Permitted,
        status: RunStatus,
        addenda: Sequence[bytes] = (),
        **members: Any,
    ) -> None:
        await self._finish(partial(permitted.outcome.keep, status, addenda, **members))

    async def _finish(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await self._wait(self._gateway.unfinished.finish(work, "the outcome"), KEEPING)

    async def _ask(self, answer: Any, what: str) -> Any:
        """What the caller's code says, which may be awaitable, and may never say it."""
        if not inspect.isawaitable(answer):
            return answer
        seconds = self._gateway.deadline
        try:
            return await self._wait(await_within(answer, seconds, what), seconds)
        finally:
            if (
                inspect.iscoroutine(answer)
                and inspect.getcoroutinestate(answer) == inspect.CORO_CREATED
            ):
                answer.close()  # the gateway's loop did not even begin

    async def _bind(
        self, asked: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], nonce: str
    ) -> tuple[Bound, str | None]:
        """Tells what the call is about, and which run triggers it; notes the request in ``asked``.

        A ``Denied``, on record, if that cannot be told, or what runs cannot be bound to it.
        """
        request = asked["request"] = {"action": {"name": self._action}}
        try:
            request["subject"] = deepcopy(dict(self._subject))
            request["resource"] = self._binding.resource(args, kwargs)
            parent = self._parent(*args, **kwargs) if callable(self._parent) else self._parent
            parent = current_run() if parent is None else parent
            if parent is None and self._require_parent:
                raise Denied(("lineage_fragmentation",), [_NO_PARENT])
        except Exception as error:
            raise await self._refuse(asked, denial_of(error)) from error
        try:
            bound = self._binding.bound(request["resource"], args, kwargs, nonce)
        except Exception as error:
            denial = denial_of(error)
            try:
                asked["response"] = await self._evaluate(request)  # whose no comes first
            except Denied as failed:
                denial = failed
            raise await self._refuse(asked, denial) from error
        withholding = self._gateway.withholding
        if withholding is not None and withholding.keeps_arguments:
            arguments = read_addendum(bound.addendum, "the arguments")
            request["context"] = {"arguments": arguments}
        return bound, parent

    async def _refuse(self, asked: dict[str, Any], denial: Denied) -> Denied:
        """Records that a call is denied of which there will be no decision otherwise."""
        denial = denial_of_members(asked, denial)
        work = record_reduced(self._gateway, asked, denial)
        try:
            return await self._wait(work, self._gateway.deadline + KEEPING)
        except MunimentError as error:
            return Denied(denial.codes, [*denial.reasons, f"the denial is not recorded: {error}"])

    async def _begin(self, call: Call, addenda: Sequence[bytes]) -> PendingOutcome:
        gateway = self._gateway
        if gateway.policy is None:
            raise ValueError("a gateway without a policy verifies nothing and cannot authorize")
        members = {"execution": call.execution, "inputs": {"arguments": call.inputs}}
        return await self._wait(PendingOutcome.begin(gateway, members, addenda), KEEPING)

    async def _authorize(
        self, call: Call, asked: dict[str, Any], outcome: PendingOutcome, nonce: str
    ) -> None:
        try:
            asked["response"] = await self._evaluate(call.request)
            record, prepared = self._decision(call, asked, nonce)
            edges = run_edges(
                call.execution,
                agent=call.request["subject"]["id"],
                parent=call.parent,
                delegator=self._delegator,
            )
        except Exception as error:
            raise await self._refuse(asked, denial_of(error)) from error
        work = authorize_call(self._gateway, record, prepared, edges, outcome)
        permit = await self._wait(work, self._gateway.deadline + KEEPING)
        if self._check is not None:
            found = await self._ask(self._check(permit, call.copied()), "check=")
            if found is not None and not found.permitted:
                raise denial_of_verdict(found)

    async def _evaluate(self, request: JsonObject) -> dict[str, Any]:
        """The policy engine's answer, all of it copied; ``Denied`` if it gives none."""
        try:
            said = await self._ask(self._decide(deepcopy(request)), "the policy engine")
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

    def _decision(self, call: Call, asked: dict[str, Any], nonce: str) -> tuple[Decision, Prepared]:
        """The decision's record, read and as it is; a ``FormatError`` if ``complete`` gave another.

        ``complete`` gets what is logged: an authority signs no more than that.
        """
        members: dict[str, Any] = {
            "v": 1,
            "kind": "decision",
            "time": time.time_ns() // 1_000_000,
            "producer": self._gateway.producer,
            **asked,
            "request": deepcopy(call.request),
            "response": dict(asked["response"]),
        }
        allowed: bool = asked["response"]["decision"]
        if not allowed:
            members["denial"] = {"codes": ["denied_by_policy"]}
        withholding, addenda = self._gateway.withholding, list[bytes]()
        if withholding is not None:
            members["response"] = deepcopy(members["response"])
            addenda = withholding.take_call(members, nonce)
        completed: Any = members
        if self._complete is not None:
            completed = self._complete(call.copied(), members)
            if isinstance(completed, Mapping):  # for the record of a refusal
                asked |= {name: one for name, one in completed.items() if name not in asked}
                asked.pop("addenda", None)
        prepared = self._gateway.prepare_withheld([completed], addenda)
        record = parse_record(prepared.entries[0])
        return _check_own(record, call, prepared.addenda.get(0, ()), allowed=allowed), prepared


_ARGUMENTS: Final = "inputs.arguments"
_RESULT: Final = "outputs.result"
"""Where an outcome has its commitments."""

_CHANGED: Final = (
    "the arguments, or the resource made of them, changed between the decision and the run"
)
_NO_PARENT: Final = (
    "no run triggers this call, and require_parent asks for one: call it inside of a governed call "
    "or of running(RUN), give parent=, or hand the run on to another thread with carry_run"
)


def _check_own(record: Record, call: Call, addenda: Sequence[bytes], *, allowed: bool) -> Decision:
    """Checks that what ``complete`` may have made is still the decision of this call."""
    if not isinstance(record, Decision):
        raise FormatError("complete= gave back another kind of record than a decision")
    request = disclose(record, addenda).decision.request if addenda else record.request
    pairs: list[tuple[str, Any, Any]] = [("execution", record.execution, call.execution)]
    for member in sorted(request.keys() | call.request.keys()):
        name = f"request.{member}"
        pairs.append((name, request.get(member), call.request.get(member)))
    for name, found, expected in pairs:
        if encode_canonical(found) != encode_canonical(expected):
            raise FormatError(
                f"complete= gave back a decision with another {name} than the call's own: it may "
                "add an artifact, signatures and ids of its own, and change nothing"
            )
    if record.allowed and not allowed:
        raise FormatError("complete= made an allowing decision of the policy engine's no")
    return record
