"""What a governed call is, and the options by which the calls of a function are governed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Required, TypeAlias, TypedDict

from msgspec import UNSET

from muniment.gateway.callbinding import JsonObject, ResourceOf
from muniment.permit import Permit, Verdict
from muniment.records.preparation import RecordInput

Decide: TypeAlias = Callable[[JsonObject], Any]
"""The policy engine: an AuthZEN request to its response, or to an awaitable of it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a governed callable, which is a run.

    Attributes:
        execution: The run's id.
        request: The AuthZEN request.
        parent: The run that triggered the call, if any.
        inputs: Commitment to the arguments, or to what stands for them.
        arguments: These as JSON, if the decision states them (withheld, see ``Gateway``); else
            UNSET. For the ``arguments`` of a ``Context``.
    """

    execution: str
    request: JsonObject
    parent: str | None
    inputs: str
    arguments: Any = UNSET

    def copied(self) -> "Call":
        """The same for code of the caller's, which may change the request that it gets."""
        return replace(self, request=deepcopy(self.request), arguments=deepcopy(self.arguments))


Complete: TypeAlias = Callable[[Call, dict[str, Any]], RecordInput]
"""Adds to a decision, whose members it gets, what the policy engine does not know: the artifact, an
authority's signature. What it gives back must be about the same request and run."""

Check: TypeAlias = Callable[[Permit, Call], "Verdict | Awaitable[Verdict | None] | None"]
"""Judges a permit before the run; raises, or returns a verdict that does not permit, to deny."""


class Options(TypedDict, total=False):
    """How calls of a function are governed.

    Attributes:
        decide: The policy engine.
        subject: The AuthZEN subject; its id is the agent that performs the runs.
        action: The AuthZEN action's name; "call" if absent.
        resource: The AuthZEN resource, or what makes it of the call's arguments; the tool of the
            callable's name if absent: see ``callables.tool_name``. What has no name needs one.
        delegator: The agent that delegated to the subject; logged as an edge.
        complete: Adds artifact and signatures to a decision.
        check: Judges each permit, e.g. ``Guard.check`` with the runtime's context.
        bind: Makes of the call's arguments a JSON value that stands for them, when they have none
            of their own: its digest is taken at the decision, compared before the run, and logged.
        unbound: Names of arguments that are left out, because they have no canonical form (a
            connection, a framework's context): nothing binds them, and the outcome says so.
        timeout: Seconds until a call is denied that has no permit; and with that it is denied at
            once while the log is known to be away. If absent, each wait takes the gateway's
            deadline.
        parent: The run that triggers the calls, or what makes its id of the call's arguments; if
            absent, the run inside of which the call is made.
        require_parent: Whether a call that no run triggers is denied.
    """

    decide: Required[Decide]
    subject: Required[JsonObject]
    action: str
    resource: ResourceOf | None
    delegator: str | None
    complete: Complete | None
    check: Check | None
    bind: Callable[..., Any] | None
    unbound: Sequence[str] | None
    timeout: float | None
    parent: Callable[..., str | None] | str | None
    require_parent: bool


def check_options(options: Options) -> None:
    """Raises a ``TypeError``, as for arguments, if an option is missing or unknown."""
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"governed() got an unexpected argument {min(unknown)!r}")
    if missing := Options.__required_keys__ - options.keys():
        raise TypeError(f"governed() is missing the argument {min(missing)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """How calls are governed; ``Options`` says more of these.

    Attributes:
        decide: The policy engine.
        subject: The AuthZEN subject.
        action: The action's name.
        delegator: Who delegated to the subject.
        complete: Adds to decisions.
        check: Judges permits.
        require_parent: Whether a call that no run triggers is denied.
        timeout: Seconds until a call is denied that has no permit, and with that, whether it is
            denied at once while the log is known to be away. If None, each wait takes the gateway's
            deadline.
        ids: Ids of the call, for the decision's context.
        once: A key by which the call gets the permit again that was given for it first.
        states_arguments: Whether decisions state the arguments also where the gateway does not
            withhold them: as a digest.
    """

    decide: Decide
    subject: JsonObject
    action: str = "call"
    delegator: str | None = None
    complete: Complete | None = None
    check: Check | None = None
    require_parent: bool = False
    timeout: float | None = None
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    once: str | None = None
    states_arguments: bool = False

    def after(self, seconds: float) -> "CallRules":
        """The rules of a call that has waited already."""
        if self.timeout is None:
            return self
        return replace(self, timeout=max(self.timeout - seconds, 0.0))


def rules_of(options: Options) -> CallRules:
    """The options of a governed function that do not depend on its arguments."""
    return CallRules(
        decide=options["decide"],
        subject=options["subject"],
        action=options.get("action", "call"),
        delegator=options.get("delegator"),
        complete=options.get("complete"),
        check=options.get("check"),
        require_parent=options.get("require_parent", False),
        timeout=options.get("timeout"),
    )
