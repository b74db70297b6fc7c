"""Witnesses that are asked within a rate of their own (C2SP tlog-witness, tlog-list "qpd").

Witnesses near the log make the quorum of every head. Public ones serve many logs, and each log may
ask them so and so often a day. These are asked about heads that are published already, the newest
one each time, never sooner than their rate allows, and nobody waits for them: what they cosign is
added to the head, served, and kept.

Those whose turn comes together are asked about the same head, so that one head has the
cosignatures of all of them. The newest head that has those of everybody who was asked about it is
the one that `kept` gives: a busy log has published others by then.

The rate holds whatever happens: each request counts, also one that is answered with a conflict or
not at all, and a process that has just started waits as if it had asked before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.local.backoff import Backoff
from muniment.tlog.addcheckpoint import ConflictError, WitnessError
from muniment_log.publish.asker import Asker, BesideGroup
from muniment_log.publish.witness import WitnessClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.publish.clock import Clock
    from muniment_log.publish.keeping import Keeping
    from muniment_log.publish.publisher import Publisher
    from muniment_log.publish.rounds import Round

DAY: Final = 86_400.0
"""Seconds."""

_MARGIN: Final = 1.01
"""Requests are a hundredth rarer than they may be: some are longer on their way than others."""

TOGETHER_SECONDS: Final = 2.0
"""Seconds, the shortest interval if that is less: for so long others are asked about the head that
was chosen last, although there may be a newer one."""

LONGEST_PAUSE: Final = 600.0
"""Seconds between two requests to a witness that fails, where its rate allows more."""


class RatedWitness(NamedTuple):
    """A witness, and how many requests a day it may be sent."""

    client: WitnessClient
    per_day: int

    @property
    def interval(self) -> float:
        """Seconds between the beginnings of two requests, at the least."""
        return DAY / self.per_day * _MARGIN


class RatedCosigners(BesideGroup["_Worker"]):
    """Asks rated witnesses about published heads, with one task for each, and keeps the result."""

    def __init__(
        self,
        publisher: Publisher,
        witnesses: Sequence[RatedWitness],
        clock: Clock,
        keeping: Keeping,
    ) -> None:
        """Begins with what was kept before."""
        super().__init__("witness", keeping.keep)
        self._before = keeping.kept
        self._publisher = publisher
        self._clock = clock
        self._asked: dict[str, float] = {}  # by URL, when the last request began
        self._chosen: Round | None = None
        self._chosen_at = 0.0
        self._turns: dict[Round, _Turn] = {}
        self._best: Round | None = None
        self.use(witnesses)

    @property
    def kept(self) -> SignedCheckpoint | None:
        """The newest checkpoint that all have cosigned who were asked and answered."""
        return self._before if self._best is None else self._best.signed

    def use(self, witnesses: Sequence[RatedWitness]) -> None:
        """Asks others from now on; what was asked before counts for the rates."""
        self._turns.clear()
        now = self._clock.time()
        before = self._asked
        # Whoever is new here may have been asked a moment ago, by the process before this one.
        self._asked = {each.client.url: before.get(each.client.url, now) for each in witnesses}
        self._together = min([TOGETHER_SECONDS, *(each.interval for each in witnesses)])
        self._replace([_Worker(self, each, self._publisher, self._clock) for each in witnesses])

    def asks(self, client: WitnessClient) -> bool:
        """Whether a witness is one of these."""
        return client.url in self._asked

    # What a worker needs to know and tell.

    def until(self, witness: RatedWitness) -> float:
        """Seconds until a witness may be asked."""
        asked = self._asked[witness.client.url]
        return max(0.0, asked + witness.interval - self._clock.time())

    def choose(self, client: WitnessClient) -> Round | None:
        """The head that a witness is to be asked about now; None when it has cosigned the newest.

        From here on the request counts.
        """
        now = self._clock.time()
        chosen = self._chosen
        if chosen is None or now >= self._chosen_at + self._together or client in chosen.answered:
            chosen = self._newest
            if chosen is not self._chosen:
                self._chosen, self._chosen_at = chosen, now
        if chosen is None or client in chosen.answered:
            return None
        self._asked[client.url] = now
        self._turns.setdefault(chosen, _Turn()).waiting += 1
        return chosen

    def answered(self, current: Round, *, has_cosigned: bool) -> None:
        """A witness has answered, or failed."""
        turn = self._turns.get(current)
        if turn is None:  # of witnesses that are not asked any more
            return
        turn.waiting -= 1
        turn.cosigned += has_cosigned
        best = self._turns.get(self._best) if self._best is not None else None
        is_wide = best is None or current is self._best or turn.cosigned >= best.cosigned
        is_newer = self._best is None or current.started >= self._best.started
        if turn.cosigned and is_newer and (is_wide or not turn.waiting):
            self._best = current
            self._news.set()
        for each in [r for r, t in self._turns.items() if not t.waiting and r is not self._best]:
            del self._turns[each]


class _Turn:
    """What came of asking about one head: how many have still to answer, how many cosigned it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.cosigned = 0


class _Worker(Asker[WitnessClient]):
    """Asks one witness, whenever its rate allows and there is a head that it has not cosigned."""

    def __init__(
        self, cosigners: RatedCosigners, witness: RatedWitness, publisher: Publisher, clock: Clock
    ) -> None:
        backoff = Backoff(witness.interval, max(witness.interval, LONGEST_PAUSE))
        super().__init__(publisher, witness.client, backoff)
        self.witness = witness
        self._cosigners = cosigners
        self._clock = clock

    @property
    def described(self) -> dict[str, str | int | bool | None]:
        return {**super().described, "per_day": self.witness.per_day}

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            while (seconds := self._cosigners.until(self.witness)) > 0:
                await self._clock.sleep(seconds)
            self._woken.clear()  # what is published from here on is for the next request
            current = self._cosigners.choose(self.client)
            if current is not None:
                await self._ask(current)

    async def _ask(self, current: Round) -> None:
        pause = 0.0
        try:
            # One request, whatever comes of it. What a conflict tells is for the next one.
            cosigned = await self.client.add_checkpoint(
                current.own, self._publisher.prove, attempts=1
            )
            self._publisher.answered(current, self.client, cosigned)
        except ConflictError:
            self._cosigners.answered(current, has_cosigned=False)
            self._woken.set()
        except WitnessError as error:
            self._cosigners.answered(current, has_cosigned=False)
            pause = await self._failed(error)
        else:
            self._succeeded()
            self._cosigners.answered(current, has_cosigned=True)
        await self._clock.sleep(pause)
