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
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, Unpack

from muniment.errors import Denied
from muniment.gateway.authorization import denial_of
from muniment.gateway.callbinding import JsonObject
from muniment.gateway.calls import CallOptions, CallScope, Run
from muniment.records.canonical import encode_canonical

MAX_KEYS: Final = 10_000
"""Most calls whose attempts are remembered; of older ones a resume is told by the key alone."""

T = TypeVar("T")


class Gateway(Protocol):
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
class Asked:
    """What a framework says of a call.

    Attributes:
        tool: The tool's name, as the model has it.
        arguments: Those that run, by name.
        agent: The name of the agent that calls; None if the framework has none.
        ids: Of call, session, turn and user, what there is.
        place: What stands for this one call, the same when it is resumed and never for another one;
            empty if the framework has nothing of the kind: then a resume is a new decision.
    """

    tool: str
    arguments: Any
    agent: str | None = None
    ids: Mapping[str, object] = field(default_factory=dict)
    place: tuple[object, ...] = ()


class Gate:
    """The gateway, and what all calls of a program have in common."""

    def __init__(
        self,
        gateway: Gateway,
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
            options: Those of ``Gateway.call``, for all calls, ``once`` and ``parent`` excepted.
        """
        if unfit := {"once", "parent"} & options.keys():
            raise TypeError(f"{min(unfit)}: each call has its own")
        self._gateway, self._agent, self._options = gateway, agent, options
        self.user = user
        self._attempts = _Attempts()

    async def run(
        self,
        ask: Callable[[], Asked],
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
        passage = Passage(self, waits)
        try:
            run = await passage.enter(ask).__aenter__()
        except BaseException as error:  # noqa: BLE001 - `refused` raises what is no refusal
            return refuse(passage.refused(error))
        raised: BaseException | None = None
        try:
            return await execute(run)
        except BaseException as error:
            passage.raised(run, raised := error)
            raise
        finally:
            await passage.scope.__aexit__(type(raised) if raised else None, raised, None)
            passage.left()

    def run_blocking(
        self,
        ask: Callable[[], Asked],
        execute: Callable[[Run], T],
        refuse: Callable[[str], T],
        waits: tuple[type[BaseException], ...] = (),
    ) -> T:
        """As ``run``, in a thread that may block."""
        passage = Passage(self, waits)
        try:
            run = passage.enter(ask).__enter__()
        except BaseException as error:  # noqa: BLE001 - as above
            return refuse(passage.refused(error))
        raised: BaseException | None = None
        try:
            return execute(run)
        except BaseException as error:
            passage.raised(run, raised := error)
            raise
        finally:
            passage.scope.__exit__(type(raised) if raised else None, raised, None)
            passage.left()

    def begin(self, asked: Asked) -> CallScope:
        """The scope of a call, keyed if it has a place of its own."""
        ids = {"user": self.user, **{name: one for name, one in asked.ids.items() if one}}
        options: CallOptions = {**self._options}
        if asked.place:
            options["once"] = encode_canonical([str(one) for one in asked.place]).decode()
        agent = asked.agent or self._agent
        return self._gateway.call(asked.tool, asked.arguments, agent=agent, ids=ids, **options)


class Passage:
    """One call on its way through a gate."""

    scope: CallScope

    def __init__(self, gate: Gate, waits: tuple[type[BaseException], ...] = ()) -> None:
        """Enters nothing yet."""
        self._gate = gate
        self._attempts = gate._attempts  # noqa: SLF001 - of this module
        self._waits = waits
        self._place: tuple[object, ...] = ()
        self._is_waiting = False

    def enter(self, ask: Callable[[], Asked]) -> CallScope:
        """The call's scope, to be entered; raises whatever ``ask`` does."""
        asked = ask()
        if asked.place:
            self._place = (*asked.place, self._attempts.begin(asked.place))
        self.scope = self._gate.begin(
            Asked(asked.tool, asked.arguments, asked.agent, asked.ids, self._place)
        )
        return self.scope

    def refused(self, error: BaseException) -> str:
        """What the model reads of a call that has no permit; raises what is no refusal."""
        self._attempts.end(self._place, is_over=False)
        if not isinstance(error, Exception):
            raise error
        return text_of(denial_of(error))

    def raised(self, run: Run, error: BaseException) -> None:
        """Notes that a run raised, which may be its way to wait."""
        if self._place and isinstance(error, self._waits):
            self.waits(run)

    def waits(self, run: Run) -> None:
        """Notes that a call goes on later; without a place of its own it never ran."""
        if self._place:
            run.waiting()
            self._is_waiting = True
        else:
            run.not_run()

    def left(self) -> None:
        """Notes that a run has ended; a later one at its place is another attempt."""
        self._attempts.end(self._place, is_over=not self._is_waiting)


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
