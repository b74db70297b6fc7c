"""Calls that somebody else makes: for frameworks, which hand over a tool and its arguments.

    async with gateway.call("send", {"to": "ada"}, agent="planner", ids={"call": id}) as run:
        run.result(await send(to="ada"))

The block runs with a permit, or ``Denied`` is raised before it. Threads say ``with`` instead, any
event loop ``async with``, and both may use one gateway. How the block ends is how the run ends,
unless the block says otherwise. The steps are those of governed functions, see ``governing``.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future, wait
from copy import deepcopy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, TypeVar, Unpack
from uuid import UUID

from muniment.errors import MunimentError, Unreachable
from muniment.gateway.authorization import denial_of
from muniment.gateway.callbinding import Bound, JsonObject, bind_arguments
from muniment.gateway.calloptions import CallRules, Check, Complete, Decide
from muniment.gateway.governing import Governing
from muniment.gateway.outcomekeeping import Permitted
from muniment.gateway.reach import Reach, at_once
from muniment.gateway.runs import begin_run, end_run
from muniment.local.logs import event

if TYPE_CHECKING:
    from contextvars import Token

    from muniment.gateway.gateway import Gateway
    from muniment.permit import Permit
    from muniment.records.kinds import RunStatus

CALL_TIMEOUT: Final = 2.5
"""Seconds until a call is denied that has no permit: less than clients of tools wait themselves."""

IDS: Final = frozenset({"approval", "call", "session", "turn", "user"})
"""The ids of a call that a decision has in its request's ``context.ids``.

``call`` is the framework's id of the call, ``session`` that of the conversation or thread, ``turn``
that of one run of the agent in it, ``user`` the person's for whom it runs, ``approval`` that of an
approval on which the call rests.
"""

_OPENING: Final = 30.0  # seconds that a call waits for a gateway to be opened, without a deadline

_LOGGER: Final = logging.getLogger(__name__)

T = TypeVar("T")


class CallOptions(TypedDict, total=False):
    """The options of a call; see ``calloptions.Options``, which says more.

    Attributes:
        decide: The policy engine, if not the gateway's own.
        action: The AuthZEN action's name; "call" if absent.
        resource: The AuthZEN resource; the tool of its name if absent.
        delegator: The agent that delegated to the subject.
        complete: Adds artifact and signatures to the decision.
        check: Judges the permit.
        parent: The run that triggers the call; if absent, the one that is going on.
        require_parent: Whether a call that no run triggers is denied.
        timeout: Seconds until it is denied without a permit, the policy engine's included;
            CALL_TIMEOUT if absent. None takes the gateway's deadline for each wait, and asks the
            log also while that is known to be away.
        once: A key of the caller's: who asks with it again gets the first permit, as long as it is
            kept (``once.KEPT_SECONDS``), also after a restart, and in another process on the
            same folder. A denial is decided anew; the same key for another call is one.
    """

    decide: Decide
    action: str
    resource: JsonObject
    delegator: str | None
    complete: Complete | None
    check: Check | None
    parent: str | None
    require_parent: bool
    timeout: float | None
    once: str | None


class ToolCall:
    """What a call is about: a tool, and its arguments as they are at any moment."""

    unbound: tuple[str, ...] = ()

    def __init__(self, tool: str, arguments: Any, options: CallOptions) -> None:
        """Takes them; None is no arguments."""
        self._resource = options.get("resource") or {"type": "tool", "id": tool}
        self._arguments = {} if arguments is None else arguments
        self._parent = options.get("parent")

    def resource(self) -> dict[str, Any]:
        """See ``About``."""
        return deepcopy(dict(self._resource))

    def bound(self, resource: dict[str, Any], nonce: str) -> Bound:
        """See ``About``."""
        return bind_arguments(resource, self._arguments, nonce, "arguments")

    def parent(self) -> str | None:
        """See ``About``."""
        return self._parent


def _rules_of_call(
    agent: str | JsonObject,
    ids: Mapping[str, object],
    options: CallOptions,
    decide: Decide | None,
) -> CallRules:
    """Checks the options of a call; ``decide`` is its gateway's policy engine.

    Raises TypeError if an option or an id is none, or nobody is there to decide.
    """
    if unknown := options.keys() - CallOptions.__annotations__.keys():
        raise TypeError(f"call() got an unexpected argument {min(unknown)!r}")
    decide = options.get("decide", decide)
    if decide is None:
        raise TypeError("call() has no policy engine: Gateway(..., decide=...), or decide=")
    timeout = options.get("timeout", CALL_TIMEOUT)
    if timeout is not None and not timeout > 0:
        raise TypeError(f"timeout: expected a number of seconds above 0, got {timeout!a}")
    return CallRules(
        decide=decide,
        subject={"type": "agent", "id": agent} if isinstance(agent, str) else agent,
        action=options.get("action", "call"),
        delegator=options.get("delegator"),
        complete=options.get("complete"),
        check=options.get("check"),
        require_parent=options.get("require_parent", False),
        timeout=timeout,
        ids=_checked_ids(ids),
        once=_checked_key(options.get("once")),
        states_arguments=True,
    )


def _checked_key(key: object) -> str | None:
    if key is not None and not (isinstance(key, str) and key):
        raise TypeError(f"once: expected a text that is not empty, got {key!a}")
    return key


def _checked_ids(ids: Mapping[str, object]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in ids.items():
        if name not in IDS:
            known = ", ".join(sorted(IDS))
            raise TypeError(f"ids: {name!a} is none; the ids of a call are {known}")
        if isinstance(value, UUID) or type(value) is int:
            value = str(value)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"ids: {name}: expected text, got {type(value).__name__}")
        if value is not None:
            found[name] = value
    return found


class GatewaySource(ABC):
    """Where the calls of a process have their gateway.

    Attributes:
        decide: The policy engine of ``call``, if it is given none.
    """

    decide: Decide | None

    @abstractmethod
    def find(self) -> "Gateway | Future[Gateway]":
        """The gateway, or what waits for it while it is being opened in another thread.

        Raises MunimentError if it cannot be opened.
        """

    def call(
        self,
        tool: str,
        arguments: Any = None,
        *,
        agent: str | JsonObject,
        ids: Mapping[str, object] | None = None,
        **options: Unpack[CallOptions],
    ) -> "CallScope":
        """Governs a call that somebody else makes; see the module for what that gives.

        Any event loop may use it with ``async with``, and any thread with ``with``. See
        ``CallOptions`` for the options. Raises TypeError if an option or an id is none, or nobody
        is there to decide.

        Args:
            tool: The tool's name.
            arguments: What it is called with; a mapping by names, as a rule.
            agent: Who calls it: the id of an agent, or an AuthZEN subject.
            ids: Ids of the call by the names in ``IDS``, for the decision's ``context.ids``.
        """
        about = ToolCall(tool, arguments, options)
        return CallScope(self, about, _rules_of_call(agent, ids or {}, options, self.decide))


class Run:
    """A call that has a permit, while it goes on.

    Attributes:
        execution: The run's id.
        permit: What proves that it is allowed; for the tool's own side to verify.
        arguments: The arguments that were decided on, in their canonical form.
        commitment: Commitment to them, as decision and outcome have it.
        lost: Why the outcome could not be kept, after the end; None if it is.
    """

    def __init__(self, permitted: Permitted, key: str | None) -> None:
        """Begins a run with its permit; ``key`` is that of the call."""
        self.execution: Final = permitted.call.execution
        self.permit: Final[Permit] = permitted.permit
        self.arguments: Final[Any] = permitted.call.arguments
        self.commitment: Final = permitted.call.inputs
        self.lost: MunimentError | None = None
        self._key = key
        self._status: RunStatus | Literal["waiting"] | None = None
        self._results: list[Any] = []

    def result(self, value: T) -> T:
        """Says what the call gave, and so that it ran to its end; gives that back."""
        self._results = [value]
        self._status = "completed"
        return value

    def failed(self) -> None:
        """Says that the call ran and failed, also where the block raises nothing."""
        self._status = "failed"

    def not_run(self) -> None:
        """Says that the call never began: its arguments were not valid, a result was there."""
        self._status = "not_run"

    def waiting(self) -> None:
        """Says that the call goes on later, by its key: it waits for a person, or for input.

        Its outcome is still to come; it is ``unknown`` if nobody asks again before the process
        ends. Raises RuntimeError if it has no key (``once=``).
        """
        if self._key is None:
            raise RuntimeError("a call that waits needs a key to go on by: call(..., once=KEY)")
        self._status = "waiting"

    def unknown(self) -> None:
        """Says that nobody knows how it ended: the connection broke, the client gave up."""
        self._status = "unknown"


class CallScope:
    """A call, as a context manager of either kind; it is entered once."""

    def __init__(self, source: GatewaySource, about: ToolCall, rules: CallRules) -> None:
        """See ``Gateway.call``."""
        self._source = source
        self._about = about
        self._rules = rules
        self._governing: Governing | None = None
        self._permitted: Permitted | None = None
        self._run: Run | None = None
        self._token: Token[str | None] | None = None

    async def __aenter__(self) -> Run:
        """Decides, logs, waits for the permit; Denied if there is none, whatever the reason."""
        gateway, reach, rules = await find(self._source, self._rules)
        return self._begun(await self._governs(gateway, reach, rules).permit(self._about))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keeps the outcome; that it could not be is told by ``Run.lost`` and the program's log."""
        if (token := self._token) is not None:
            self._token = None
            end_run(token)
            await self._keep(error)

    def __enter__(self) -> Run:
        """As ``__aenter__``, for a thread that may block."""
        gateway, reach, rules = find_blocking(self._source, self._rules)
        return self._begun(at_once(self._governs(gateway, reach, rules).permit(self._about)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """As ``__aexit__``."""
        if (token := self._token) is not None:
            self._token = None
            end_run(token)
            at_once(self._keep(error))

    def _governs(self, gateway: "Gateway", reach: Reach, rules: CallRules) -> Governing:
        if self._governing is not None:
            raise RuntimeError("a call is entered once: make another one")
        self._governing = Governing(gateway, reach, rules)
        return self._governing

    def _begun(self, permitted: Permitted) -> Run:
        self._permitted, self._run = permitted, Run(permitted, self._rules.once)
        self._token = begin_run(permitted.call.execution)
        return self._run

    async def _keep(self, error: BaseException | None) -> None:
        governing, permitted, run = self._governing, self._permitted, self._run
        assert governing is not None and permitted is not None and run is not None  # noqa: S101, PT018 - it was entered
        status = run._status  # noqa: SLF001 - the run tells it to its scope alone
        try:
            if status == "completed":
                await governing.outcomes.keep_result(permitted, run._results[0])  # noqa: SLF001
            elif status == "waiting":
                governing.outcomes.wait(permitted)
            elif status is not None:
                await governing.outcomes.keep(permitted, status)
            elif error is not None:
                await governing.outcomes.keep_raised(permitted, error)
            else:
                await governing.outcomes.keep_untold(permitted)
        except MunimentError as lost:
            # The call has run: who heard now that it failed would perhaps run it again.
            run.lost = lost
            event(_LOGGER, logging.ERROR, "an outcome is lost", run=run.execution, reason=str(lost))


async def find(source: GatewaySource, rules: CallRules) -> "tuple[Gateway, Reach, CallRules]":
    """The gateway of a caller who awaits, the way to it, and the rules in the time that is left.

    Raises Denied if there is none in time.
    """
    began = time.monotonic()
    try:
        found = source.find()
        if isinstance(found, Future):
            waiting = asyncio.wrap_future(found)
            waiting.add_done_callback(lambda one: one.cancelled() or one.exception())
            await asyncio.wait({waiting}, timeout=rules.timeout or _OPENING)
            found, rules = _gateway_of(found), rules.after(time.monotonic() - began)
        return found, found.reach(is_async=True), rules
    except MunimentError as error:
        raise denial_of(error) from error


def find_blocking(source: GatewaySource, rules: CallRules) -> "tuple[Gateway, Reach, CallRules]":
    """As ``find``, for a thread that may block."""
    began = time.monotonic()
    try:
        found = source.find()
        if isinstance(found, Future):
            wait({found}, timeout=rules.timeout or _OPENING)
            found, rules = _gateway_of(found), rules.after(time.monotonic() - began)
        return found, found.reach(is_async=False), rules
    except MunimentError as error:
        raise denial_of(error) from error


def _gateway_of(opening: "Future[Gateway]") -> "Gateway":
    """The gateway that should be open by now; raises why it is not."""
    if not opening.done():
        raise Unreachable("the gateway is not open in time; it is still being opened")
    return opening.result()
