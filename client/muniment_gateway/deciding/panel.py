"""All authorities, asked at the same time, each with its own deadline.

Once enough have answered for the decision to be certain, the others have a grace: what comes within
it is recorded, and nobody waits for the rest. Who signs is waited for, as a runtime may demand its
signature. A late answer is still counted when it comes, so that an engine that hangs is seen.

What is wrong with an authority is so until it is seen well in the same respect: an answer says
nothing of its policy, nor does a policy that can be read say that it answers.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from muniment.http.client import HttpSession
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.records.artifact import PolicyRef
from muniment_gateway.authorities import Authority
from muniment_gateway.core.quorum import AuthorityAnswer, Quorum, is_settled
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.engines.make import make_engine
from muniment_gateway.engines.policyfiles import configured_policy
from muniment_gateway.engines.port import Engine, NoAnswerError, PassedOn, UnfitError

_LOGGER: Final = logging.getLogger(__name__)

NOT_AWAITED: Final = "not waited for: the decision was certain without it"

MOST_LATE: Final = 256
"""Questions whose answers nobody waits for any more, at one time; of more the oldest is ended."""

PROBE: Final[dict[str, Any]] = {
    "subject": {"type": "gateway", "id": "muniment"},
    "action": {"name": "muniment.probe"},
    "resource": {"type": "gateway", "id": "probe"},
}
"""What a silent engine is asked, so that it is seen to answer again though nobody else asks."""

PROBE_TIMEOUT: Final = 5.0
"""Deadline of that, if its own is not sooner: who looks has more to do."""


@dataclass(frozen=True, slots=True)
class Seat:
    """An authority and its engine."""

    authority: Authority
    engine: Engine

    @property
    def name(self) -> str:
        """The authority's name."""
        return self.authority.entry.name


class Panel:
    """The authorities of one configuration.

    Attributes:
        seats: In their configured order.
        silent: Why an authority gave no answer to the last question, by name.
        untold: Why its policy cannot be told, likewise.
        lately: Those that gave no answer to a question since the last look.
        most_seconds: What an authority has at most, whatever its own deadline.
    """

    def __init__(
        self,
        authorities: Sequence[Authority],
        http: HttpSession,
        counts: Counts,
        quorum: Quorum | None = None,
        grace: float = 0.0,
    ) -> None:
        """Makes their engines, and counts their answers.

        With a `quorum`, those that are not needed for it have `grace` seconds once it is met.
        """
        self.seats = tuple(Seat(one, make_engine(one, http)) for one in authorities)
        self.silent: dict[str, str] = {}
        self.untold: dict[str, str] = {}
        self.lately: set[str] = set()
        self._warned: set[str] = set()
        self.most_seconds = inf
        self._quorum = quorum
        self._grace = grace
        self._late: dict[asyncio.Task[AuthorityAnswer], None] = {}
        self._answers = counts.answers
        self._seconds = counts.answer_seconds

    def within(self, seconds: float) -> "Panel":
        """The same engines, each with no more than some seconds; its troubles are its own."""
        hasty = copy(self)
        hasty.silent, hasty.untold, hasty.lately = {}, {}, set()
        hasty.most_seconds = seconds
        return hasty

    @property
    def troubles(self) -> dict[str, str]:
        """Why authorities do not answer, or cannot tell their policies, by name."""
        return self.untold | self.silent

    @property
    def unusable(self) -> dict[str, str]:
        """Those troubles for which nobody should be sent here.

        Silence counts until the next look: an engine may answer others than the last question, and
        would never be asked again.
        """
        return self.untold | {name: self.silent[name] for name in self.lately & {*self.silent}}

    async def ask(self, request: dict[str, Any], asked: PassedOn) -> list[AuthorityAnswer]:
        """Asks all of them; none raises."""
        if len(self.seats) == 1:
            return [await self._ask(self.seats[0], request, asked)]
        tasks = [asyncio.create_task(self._ask(one, request, asked)) for one in self.seats]
        try:
            await self._enough(tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        found: list[AuthorityAnswer] = []
        for seat, task in zip(self.seats, tasks, strict=True):
            if task.done():
                found.append(task.result())
            else:
                found.append(AuthorityAnswer(seat.name, error=NOT_AWAITED))
                self._let_go(task)
        return found

    async def _enough(self, tasks: Sequence[asyncio.Task[AuthorityAnswer]]) -> None:
        """Waits until all have answered, or enough, and the others had their grace."""
        signs = {
            task
            for seat, task in zip(self.seats, tasks, strict=True)
            if seat.authority.vkey is not None
        }
        pending, until = set(tasks), inf
        while pending:
            left = max(0.0, until - time.monotonic())
            if not left and not pending & signs:
                return
            timeout = left if 0 < left < inf else None
            _, pending = await asyncio.wait(
                pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if until == inf and self._quorum is not None:
                answered = [task.result() for task in tasks if task.done()]
                if is_settled(answered, self._quorum):
                    until = time.monotonic() + self._grace

    @property
    def late(self) -> int:
        """Questions that are left to their own deadlines."""
        return len(self._late)

    def _let_go(self, task: asyncio.Task[AuthorityAnswer]) -> None:
        """Leaves a question to its own deadline, unless too many are left so."""
        if len(self._late) >= MOST_LATE:
            next(iter(self._late)).cancel()
        self._late[task] = None
        task.add_done_callback(lambda done: self._late.pop(done, None))

    async def _ask(self, seat: Seat, request: dict[str, Any], asked: PassedOn) -> AuthorityAnswer:
        started = time.perf_counter()
        seconds = min(seat.authority.entry.deadline_seconds, self.most_seconds)
        found, policy, error = None, None, ""
        with Contained(seat.name) as outcome:
            try:
                async with asyncio.timeout(seconds):
                    found = await seat.engine.evaluate(request, asked)
                    policy = found.policy or await self._configured(seat)
            except TimeoutError:
                found, error = None, f"no answer within {seconds:g} s"
        if outcome.error:
            found, error = None, outcome.error
        took = time.perf_counter() - started
        if not error:
            self.silent.pop(seat.name, None)
        elif not isinstance(outcome.cause, UnfitError):  # that says nothing of the next request
            self.silent[seat.name] = error
            self.lately.add(seat.name)
        self._seconds.labels(seat.name).observe(took)
        if found is None:
            self._answers.labels(seat.name, "none").inc()
            cause = outcome.cause
            plain = cause.plain if isinstance(cause, UnfitError) else ""
            return AuthorityAnswer(seat.name, error=error, took=took, plain=plain)
        allows = found.response["decision"]
        self._answers.labels(seat.name, "allow" if allows else "deny").inc()
        return AuthorityAnswer(seat.name, found.response, "", policy, found.ticket, took, found.raw)

    async def _configured(self, seat: Seat) -> PolicyRef | None:
        entry = seat.authority.entry.policy
        if entry is None:
            return None
        if entry.digest is not None:
            return configured_policy(entry)
        return await asyncio.to_thread(configured_policy, entry)

    async def policies(self) -> dict[str, PolicyRef]:
        """The policies in force, of those authorities of which they can be told now."""
        found: dict[str, PolicyRef] = {}
        for seat in self.seats:
            with Contained(seat.name) as outcome:
                try:
                    async with asyncio.timeout(seat.authority.entry.deadline_seconds):
                        policy = await seat.engine.policy() or await self._configured(seat)
                except TimeoutError as error:
                    raise NoAnswerError("no answer in time") from error
                if policy is not None:
                    found[seat.name] = policy
            if outcome.error:
                self.untold[seat.name] = outcome.error
            else:
                self.untold.pop(seat.name, None)
        return found

    async def look(self) -> dict[str, PolicyRef]:
        """The same, for who looks at times whether all is well; asks the silent something.

        Whoever is in trouble is in the log once, and again after a look at which all was well.
        """
        found = await self.policies()
        troubles = self.troubles
        for seat in self.seats:
            self._warn(seat.name, troubles.get(seat.name, ""))
        self.lately.clear()
        await asyncio.gather(*(self._probe(one) for one in self.seats if one.name in self.silent))
        return found

    async def _probe(self, seat: Seat) -> None:
        """Asks a silent engine; what nobody asked for is not counted among its answers."""
        answered = False
        seconds = min(seat.authority.entry.deadline_seconds, PROBE_TIMEOUT)
        with Contained(seat.name) as outcome, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await seat.engine.evaluate(PROBE, PassedOn({}))
            answered = True
        # Most have no rule for it, and say so.
        if answered or isinstance(outcome.cause, UnfitError):
            self.silent.pop(seat.name, None)

    def _warn(self, name: str, trouble: str) -> None:
        if not trouble:
            self._warned.discard(name)
        elif name not in self._warned:
            self._warned.add(name)
            event(
                _LOGGER,
                logging.WARNING,
                "an authority gives no answer",
                authority=name,
                reason=trouble,
            )
