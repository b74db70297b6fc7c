"""Governed callables (design section 6): decide, log, prove, verify, run, then say how it went.

    @governed(gateway, decide=policy_engine, subject={"type": "agent", "id": "planner"})
    async def search(query: str) -> list[str]: ...

Every call becomes an AuthZEN request, gets the policy engine's answer, and runs only with a
permit. Its outcome, with digests of what went in and came out, goes to the gateway's spool, so
that a log that is away afterwards costs nothing. A call inside of a governed call is triggered by
it. With a ``blocking.Gateway`` the callable is a plain function.
"""

import asyncio
import functools
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ParamSpec, TypeAlias, TypeVar, overload

from muniment import blocking
from muniment.authorization import denial_of_error, denial_of_verdict
from muniment.errors import Denied
from muniment.formats.canonical import encode_canonical
from muniment.formats.encoding import FormatError
from muniment.formats.preparation import RecordInput
from muniment.gateway import Gateway
from muniment.permit import Permit, Verdict
from muniment.runs import current_run, run_edges, running

P = ParamSpec("P")
R = TypeVar("R")

JsonObject: TypeAlias = Mapping[str, Any]
Decide: TypeAlias = Callable[[JsonObject], Any]
"""The policy engine: an AuthZEN request to its response, or to an awaitable of it."""

_OK, _FAILED, _ABORTED = "completed", "failed", "aborted"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a governed callable.

    Attributes:
        execution: Id of the run that the call is.
        request: The AuthZEN request.
        parent: The run inside of which the call was made, if any.
        inputs: Digest of the arguments; None when they have no canonical JSON form.
    """

    execution: str
    request: JsonObject
    parent: str | None
    inputs: str | None


Complete: TypeAlias = Callable[[Call, dict[str, Any]], RecordInput]
"""Adds to a decision, whose members it gets, what the policy engine does not know: the artifact, an
authority's signature."""

Check: TypeAlias = Callable[[Permit, Call], "Verdict | Awaitable[Verdict | None] | None"]
"""Judges a permit before the run; raises, or returns a verdict that does not permit, to deny."""


@dataclass(frozen=True, slots=True)
class _Rules:
    decide: Decide
    subject: JsonObject
    action: str
    resource: Callable[..., JsonObject] | JsonObject | None
    delegator: str | None
    complete: Complete | None
    check: Check | None
    producer: str
    name: str

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        resource: Any = self.resource or {"type": "tool", "id": self.name}
        if callable(resource):
            resource = resource(*args, **kwargs)
        request = {
            "subject": dict(self.subject),
            "action": {"name": self.action},
            "resource": dict(resource),
        }
        execution = f"run-{secrets.token_hex(12)}"
        return Call(execution, request, current_run(), _digest({"args": args, "kwargs": kwargs}))

    def decision(self, call: Call, response: Any) -> RecordInput:
        if not isinstance(response, Mapping) or not isinstance(response.get("decision"), bool):
            raise FormatError("the policy engine gave no AuthZEN response")
        members: dict[str, Any] = {
            "v": 1,
            "kind": "decision",
            "id": f"d-{call.execution}",
            "time": time.time_ns() // 1_000_000,
            "producer": self.producer,
            "execution": call.execution,
            "request": call.request,
            "response": dict(response),
        }
        if not response["decision"]:
            members["denial"] = {"codes": ["denied_by_policy"]}
        return members if self.complete is None else self.complete(call, members)

    def edges(self, call: Call) -> list[dict[str, Any]]:
        return run_edges(
            call.execution,
            agent=self.subject["id"],
            parent=call.parent,
            delegator=self.delegator,
        )


@overload
def governed(
    gateway: Gateway,
    *,
    decide: Decide,
    subject: JsonObject,
    action: str = "call",
    resource: Callable[..., JsonObject] | JsonObject | None = None,
    delegator: str | None = None,
    complete: Complete | None = None,
    check: Check | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...
@overload
def governed(
    gateway: blocking.Gateway,
    *,
    decide: Decide,
    subject: JsonObject,
    action: str = "call",
    resource: Callable[..., JsonObject] | JsonObject | None = None,
    delegator: str | None = None,
    complete: Complete | None = None,
    check: Check | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def governed(
    gateway: Gateway | blocking.Gateway,
    *,
    decide: Decide,
    subject: JsonObject,
    action: str = "call",
    resource: Callable[..., JsonObject] | JsonObject | None = None,
    delegator: str | None = None,
    complete: Complete | None = None,
    check: Check | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a decorator: calls of what it decorates run with a permit, or raise ``Denied``.

    Args:
        gateway: An open gateway with a policy and a spool by the time of the first call.
        decide: The policy engine.
        subject: The AuthZEN subject; its id is the agent that performs the runs.
        action: The AuthZEN action's name.
        resource: The AuthZEN resource, or what makes it of the call's arguments; None for the tool
            of the callable's name.
        delegator: The agent that delegated to the subject; logged as an edge.
        complete: Adds artifact and signatures to a decision.
        check: Judges each permit, e.g. ``Guard.check`` with the runtime's context.

    Raises (every call):
        Denied: If the call may not run, whatever the reason, errors of ``decide``, ``complete`` and
            ``check`` included.
        SpoolFull, FatalDatabaseError: If the call ran and its outcome could not be kept.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        is_async = inspect.iscoroutinefunction(function)
        if is_async == isinstance(gateway, blocking.Gateway):
            raise TypeError("a coroutine function needs a Gateway, a function a blocking.Gateway")
        rules = _Rules(
            decide, subject, action, resource, delegator, complete, check, gateway.producer,
            getattr(function, "__name__", "call"),
        )  # fmt: skip
        if isinstance(gateway, blocking.Gateway):
            return _blocking(function, gateway, rules)
        return _asynchronous(function, gateway, rules)

    return decorate


def _asynchronous(
    function: Callable[..., Awaitable[R]], gateway: Gateway, rules: _Rules
) -> Callable[..., Awaitable[R]]:
    @functools.wraps(function)
    async def governed_call(*args: Any, **kwargs: Any) -> R:
        spool = gateway.spool
        try:
            call = rules.call(args, kwargs)
            response = rules.decide(call.request)
            if inspect.isawaitable(response):
                response = await response
            decision = rules.decision(call, response)
            permit = await gateway.authorize(decision, edges=rules.edges(call))
            if rules.check is not None:
                found = rules.check(permit, call)
                _require(await found if inspect.isawaitable(found) else found)
        except Denied:
            raise
        except Exception as error:
            raise denial_of_error(error) from error
        try:
            with running(call.execution):
                result = await function(*args, **kwargs)
        except BaseException as error:
            # Shielded: the outcome of a run that is being cancelled is worth keeping too.
            await _noting(error, asyncio.shield(spool.put([_outcome(call, _status(error))])))
            raise
        await spool.put([_outcome(call, _OK, result)])
        return result

    return governed_call


def _blocking(
    function: Callable[..., R], gateway: blocking.Gateway, rules: _Rules
) -> Callable[..., R]:
    @functools.wraps(function)
    def governed_call(*args: Any, **kwargs: Any) -> R:
        try:
            call = rules.call(args, kwargs)
            response = rules.decide(call.request)
            if inspect.isawaitable(response):
                response = gateway.run(_await(response))
            decision = rules.decision(call, response)
            permit = gateway.authorize(decision, edges=rules.edges(call))
            if rules.check is not None:
                found = rules.check(permit, call)
                _require(gateway.run(_await(found)) if inspect.isawaitable(found) else found)
        except Denied:
            raise
        except Exception as error:
            raise denial_of_error(error) from error
        try:
            with running(call.execution):
                result = function(*args, **kwargs)
        except BaseException as error:
            try:
                gateway.put([_outcome(call, _status(error))])
            except Exception as lost:  # noqa: BLE001 - what the run raised comes first
                error.add_note(f"the outcome is not logged: {lost}")
            raise
        gateway.put([_outcome(call, _OK, result)])
        return result

    return governed_call


async def _await(value: Awaitable[R]) -> R:
    return await value


async def _noting(error: BaseException, put: Awaitable[None]) -> None:
    try:
        await put
    except Exception as lost:  # noqa: BLE001 - what the run raised comes first
        error.add_note(f"the outcome is not logged: {lost}")


def _require(verdict: Verdict | None) -> None:
    if verdict is not None and not verdict.permitted:
        raise denial_of_verdict(verdict)


def _status(error: BaseException) -> str:
    return _FAILED if isinstance(error, Exception) else _ABORTED


def _outcome(call: Call, status: str, *result: Any) -> dict[str, Any]:
    outcome: dict[str, Any] = {"kind": "outcome", "execution": call.execution, "status": status}
    if call.inputs is not None:
        outcome["inputs"] = {"arguments": call.inputs}
    if result and (digest := _digest(result[0])) is not None:
        outcome["outputs"] = {"result": digest}
    return outcome


def _digest(value: Any) -> str | None:
    """Digest of the canonical JSON form; None for a value that has none."""
    try:
        return f"sha256:{sha256(encode_canonical(value)).hexdigest()}"
    except (FormatError, ValueError, TypeError, RecursionError):
        return None
