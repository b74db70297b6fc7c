"""What every framework's adapter stands on: one call through the gateway, and never around it.

    gate = Gate(gateway, user="ada")
    …an adapter of this package takes it

Whatever goes wrong before a call has its permit, the adapter's own reading of the framework's
objects included, the call does not run, and the model reads why. Cancellation passes on, and
nothing runs either. `once` keys are made here: a call that waits and is asked for again has its
first permit, one that ended has none.
"""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar, Unpack

from muniment.errors import Denied
from muniment.gateway.authorization import denial_of
from muniment.gateway.callbinding import JsonObject
from muniment.gateway.calls import CallOptions, CallScope, Run
from muniment.records.canonical import encode_canonical

MAX_KEYS: Final = 10_000
"""Most calls whose attempts are remembered; of older ones a resume is told by the key alone."""

T = TypeVar("T")


class AnyGateway(Protocol):
    """A gateway of any kind."""

    def call(
        self,
        tool: str,
        arguments: Any = None,
        *,
        agent: str | JsonObject,
        ids: Mapping[str, object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CallScope:
        """See ``muniment.Gateway.call``."""
        ...


@dataclass(frozen=True, slots=True)
class FrameworkCall:
    """What a framework says of a call.

    Attributes:
        tool: The tool's name, as the model has it.
        arguments: Those that run, by name.
        agent: The name of the agent that calls; None if the framework has none.
        ids: Of call, session, turn and user, what there is.
        parent: The run that triggers the call, where it is another than the one that is going on.
        place: What stands for this one call, the same when it is resumed and never for another one;
            empty if the framework has nothing of the kind: then a resume is a new decision.
    """

    tool: str
    arguments: Any
    agent: str | None = None
    ids: Mapping[str, object] = field(default_factory=dict)
    parent: str | None = None
    place: tuple[object, ...] = ()


class Gate:
    """The gateway, and what all calls of a program have in common."""

    def __init__(
        self,
        gateway: AnyGateway,
        *,
        agent: str = "agent",
        user: str | None = None,
        **options: Unpack[CallOptions],
    ) -> None:
        """Calls go through ``gateway``.

        Args:
            gateway: A ``muniment.Gateway``, ``ProcessGateway`` or one of ``muniment.blocking``.
            agent: The subject of calls whose agent the framework does not name.
            user: The person's id, where the framework does not know it.
            options: Those of ``AnyGateway.call``, for all calls, ``once`` and ``parent`` excepted.
        """
        if unfit := {"once", "parent"} & options.keys():
            raise TypeError(f"{min(unfit)}: each call has its own")
        self._gateway, self._agent, self._options = gateway, agent, options
        self.user = user
        self._attempts = _Attempts()

    async def run(
        self,
        ask: Callable[[], FrameworkCall],
        execute: Callable[[Run], Awaitable[T]],
        refuse: Callable[[str], T],
        waits: tuple[type[BaseException], ...] = (),
    ) -> T:
        """Decides a call and runs it, or has ``refuse`` make the framework's refusal of a text.

        Args:
            ask: Says what the call is; it may fail like all else.
            execute: Runs the call, and tells the run how it ended if not by an exception.
            refuse: Makes of a text what the framework hands to the model.
            waits: Exceptions by which a call says that it goes on later.
        """
        passage = GatedCall(self, waits)
        if (refusal := await passage.begin(ask)) is not None:
            return refuse(refusal)
        raised: BaseException | None = None
        try:
            return await execute(passage.run)
        except BaseException as error:
            raised = error
            raise
        finally:
            await passage.end(raised)

    def run_blocking(
        self,
        ask: Callable[[], FrameworkCall],
        execute: Callable[[Run], T],
        refuse: Callable[[str], T],
        waits: tuple[type[BaseException], ...] = (),
    ) -> T:
        """As ``run``, in a thread that may block."""
        passage = GatedCall(self, waits)
        if (refusal := passage.begin_blocking(ask)) is not None:
            return refuse(refusal)
        raised: BaseException | None = None
        try:
            return execute(passage.run)
        except BaseException as error:
            raised = error
            raise
        finally:
            passage.end_blocking(raised)

    def scope(self, asked: FrameworkCall) -> CallScope:
        """The scope of a call, keyed if it has a place of its own."""
        ids = {"user": self.user, **{name: one for name, one in asked.ids.items() if one}}
        options: CallOptions = {**self._options}
        if asked.place:
            options["once"] = encode_canonical([str(one) for one in asked.place]).decode()
        if asked.parent is not None:
            options["parent"] = asked.parent
        agent = asked.agent or self._agent
        return self._gateway.call(asked.tool, asked.arguments, agent=agent, ids=ids, **options)


class GatedCall:
    """One call on its way through a gate, for hooks before and after it; see `Gate.run`.

    Attributes:
        run: The call's run, once it has begun.
    """

    run: Run

    def __init__(self, gate: Gate, waits: tuple[type[BaseException], ...] = ()) -> None:
        """Begins nothing yet."""
        self._gate = gate
        self._attempts = gate._attempts  # noqa: SLF001 - of this module
        self._waits = waits
        self._place: tuple[object, ...] = ()

    async def begin(self, ask: Callable[[], FrameworkCall]) -> str | None:
        """Decides; what the model reads of a call that may not run, None of one that may."""
        try:
            self._scope = self._entered(ask)
            self.run = await self._scope.__aenter__()
        except BaseException as error:  # noqa: BLE001 - it raises what is no refusal
            return self._refused(error)
        return None

    def begin_blocking(self, ask: Callable[[], FrameworkCall]) -> str | None:
        """As `begin`, in a thread that may block."""
        try:
            self._scope = self._entered(ask)
            self.run = self._scope.__enter__()
        except BaseException as error:  # noqa: BLE001 - it raises what is no refusal
            return self._refused(error)
        return None

    async def end(self, raised: BaseException | None = None) -> None:
        """Keeps the outcome of a call that has begun, and has told its run or raised."""
        waits = self._is_waiting(raised)
        await self._scope.__aexit__(type(raised) if raised else None, raised, None)
        self._attempts.end(self._place, is_over=not waits)

    def end_blocking(self, raised: BaseException | None = None) -> None:
        """As `end`, in a thread that may block."""
        waits = self._is_waiting(raised)
        self._scope.__exit__(type(raised) if raised else None, raised, None)
        self._attempts.end(self._place, is_over=not waits)

    def _entered(self, ask: Callable[[], FrameworkCall]) -> CallScope:
        asked = ask()
        if asked.place:
            self._place = (*asked.place, self._attempts.begin(asked.place))
        return self._gate.scope(replace(asked, place=self._place))

    def _refused(self, error: BaseException) -> str:
        self._attempts.end(self._place, is_over=False)
        if not isinstance(error, Exception):
            raise error
        return text_of(denial_of(error))

    def _is_waiting(self, raised: BaseException | None) -> bool:
        """Whether an exception is a call's way to wait for who asks again at its place."""
        waits = bool(self._place) and isinstance(raised, self._waits)
        if waits:
            self.run.waiting()
        return waits


class _Attempts:
    """Which attempts at calls are going on or over, by the calls' places."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: OrderedDict[tuple[object, ...], set[int]] = OrderedDict()

    def begin(self, place: tuple[object, ...]) -> int:
        """The number of an attempt: the first that is neither going on nor over."""
        with self._lock:
            taken = self._taken.setdefault(place, set())
            self._taken.move_to_end(place)
            number = next(n for n in range(len(taken) + 1) if n not in taken)
            taken.add(number)
            while len(self._taken) > MAX_KEYS:
                self._taken.popitem(last=False)
            return number

    def end(self, place: tuple[object, ...], *, is_over: bool) -> None:
        """Ends an attempt; one that is not over may be begun again."""
        if place and not is_over:
            with self._lock:
                self._taken.get(place[:-1], set()).discard(int(str(place[-1])))


def text_of(denied: Denied) -> str:
    """What the model reads of a denial."""
    return f"Denied ({', '.join(denied.codes)}): {'; '.join(denied.reasons)}"
