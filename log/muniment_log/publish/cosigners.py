"""The witnesses of the policy in force (C2SP tlog-policy): asked by workers, one for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from muniment.local.backoff import Backoff
from muniment.tlog.addcheckpoint import WitnessError
from muniment.tlog.policychain import PolicyChain
from muniment_log.publish.asker import Asker, AskerGroup
from muniment_log.publish.witness import WitnessClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.policy import Policy
    from muniment_log.publish.clock import Clock, Timer
    from muniment_log.publish.mirrorclient import MirrorClient
    from muniment_log.publish.pace import PublisherLimits
    from muniment_log.publish.publisher import Publisher
    from muniment_log.publish.rated import RatedWitness
    from muniment_log.publish.rounds import Round

HEAD_START: Final = 0.01
"""Seconds that the witnesses asked first are given before the others are asked, too. A quorum on
one machine takes less; one across the world loses no more than this when a witness stalls."""

OTHERS_PACE: Final = 0.05
"""Seconds from one time that the others are asked because a head is out to the next: where heads
follow on each other faster, each would take processor time from the quorum of the next one, and the
newest is what readers want to be cosigned by more."""

_NEWEST: Final = 0.125
"""What the newest answer counts for in the time that a witness takes."""


class CosignerSet(Struct, frozen=True):
    """Whom a log asks, one client for each URL.

    Attributes:
        policy: the policy in force; None when the log publishes uncosigned.
        witnesses: each head waits for a quorum of them.
        rated: witnesses with a rate of their own, which no head waits for.
        mirrors: the policy's mirrors; no head waits for them, either.
    """

    policy: Policy | None = None
    witnesses: Sequence[WitnessClient] = ()
    rated: Sequence[RatedWitness] = ()
    mirrors: Sequence[MirrorClient] = ()

    @property
    def all(self) -> list[WitnessClient]:
        """The clients of all of them."""
        return [*self.witnesses, *(each.client for each in self.rated), *self.mirrors]

    @property
    def quorum(self) -> CosignerSet:
        """Those alone that heads wait for."""
        return CosignerSet(self.policy, self.witnesses)


class _Worker(Asker[WitnessClient]):
    """Keeps one witness at the newest head.

    Attributes:
        seconds: what its answers take, the last few counting most; 0 before the first.
    """

    def __init__(
        self, publisher: Publisher, client: WitnessClient, backoff: Backoff, clock: Clock
    ) -> None:
        """Works for the publisher."""
        super().__init__(publisher, client, backoff)
        self.seconds = 0.0
        self._clock = clock

    @property
    def rank(self) -> tuple[bool, float]:
        """Workers in this order are those that are to be asked first."""
        return self.failure is not None, self.seconds

    async def run(self) -> None:
        """Asks for each round's cosignature, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            current = self._publisher.round
            if current is None or self.client in current.answered:
                continue
            began = self._clock.time()
            try:
                cosigned = await self.client.add_checkpoint(current.own, self._publisher.prove)
                self._publisher.answered(current, self.client, cosigned)
            except WitnessError as error:
                await self._clock.sleep(await self._failed(error))
            else:
                self.seconds += (self._clock.time() - began - self.seconds) * _NEWEST
                self._succeeded()


class Cosigners(AskerGroup[_Worker]):
    """Has rounds cosigned by a policy's witnesses, and tells when they make its quorum.

    Those that make a quorum ask at once, the soonest to answer of all; the others when they are
    told to, after a head start, or when the head is out (see `OTHERS_PACE`). When all ask at the
    same time, on a machine that has fewer processors than witnesses, each of them takes the time
    of those that the quorum waits for.
    """

    def __init__(
        self,
        publisher: Publisher,
        cosigners: CosignerSet,
        limits: PublisherLimits,
        clock: Clock,
    ) -> None:
        """Takes whom the workers tell, and who is asked."""
        super().__init__("witness")
        self._publisher = publisher
        self._limits = limits
        self._clock = clock
        self._reserve: Timer | None = None
        self._later: Timer | None = None
        self.use(cosigners)

    def use(self, cosigners: CosignerSet) -> None:
        """Asks the witnesses of a policy from now on, and those of the one before no more."""
        self._hold_all()
        first, longest = self._limits.backoff_first_seconds, self._limits.backoff_most_seconds
        self._policy = cosigners.policy
        self._given_up = _given_up(cosigners)
        tasks = tuple(  # in the policy's order
            _Worker(self._publisher, witness, Backoff(first, longest), self._clock)
            for witness in cosigners.witnesses
        )
        self._asked_others = -OTHERS_PACE
        self._rank(tasks)
        self._replace(tasks)

    def _rank(self, ranked: tuple[_Worker, ...]) -> None:
        """Takes the order in which to ask, and finds how many of them make a quorum."""
        self._ranked = ranked
        names: set[str] = set()
        self._first = 0
        while self._first < len(ranked) and not self._makes_quorum(names):
            names |= ranked[self._first].client.names
            self._first += 1

    def stop(self) -> None:
        """The group has ended: nobody is asked any more."""
        super().stop()
        self._hold_all()

    def ask(self) -> None:
        """There is a new round: asks those who make a quorum soonest, the others a moment later."""
        ranked = tuple(sorted(self.askers, key=lambda worker: worker.rank))
        if ranked != self._ranked:
            self._rank(ranked)
        # The one that takes longest begins first, and its request is on its way before the next is
        # made: that is written one pass of the loop after it was made.
        for passes, worker in enumerate(reversed(ranked[: self._first])):
            _wake_after(passes, worker)
        self._hold_reserve()
        if self._first < len(ranked):
            self._reserve = self._clock.call_later(HEAD_START, self.ask_all)

    def ask_all(self) -> None:
        """Also asks those held in reserve."""
        if self._reserve is not None:
            self._hold_reserve()
            self._wake_others()

    def ask_others(self) -> None:
        """The head is out: also asks the others, at once or when their pace allows."""
        self._hold_reserve()
        if self._later is not None:
            return
        pause = self._asked_others + OTHERS_PACE - self._clock.time()
        if pause > 0:
            self._later = self._clock.call_later(pause, self._wake_others)
        else:
            self._wake_others()

    def _hold_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.cancel()
            self._reserve = None

    def _hold_all(self) -> None:
        self._hold_reserve()
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _wake_others(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._asked_others = self._clock.time()
        for worker in self._ranked[self._first :]:
            worker.wake()

    def _makes_quorum(self, names: set[str]) -> bool:
        if self._policy is None:
            return True
        if self._given_up:
            now = self._clock.unix()
            names = names - {name for name, since in self._given_up.items() if since <= now}
        return self._policy.is_met(names)

    def have_met(self, current: Round) -> bool:
        """Whether those who have cosigned make the quorum."""
        return self._makes_quorum(current.names)

    def have_failed(self, current: Round) -> bool:
        """Whether each has cosigned or failed, so that there is nobody to wait for."""
        return all(
            worker.client in current.answered or worker.failure is not None
            for worker in self.askers
        )

    def missing(self, current: Round | None) -> str:
        """The labels of those who have not cosigned."""
        answered = current.answered if current is not None else set()
        return ", ".join(w.client.label for w in self.askers if w.client not in answered)


def _given_up(cosigners: CosignerSet) -> dict[str, int]:
    """The witnesses that a policy over time lists as revoked, and since when; 0 for always.

    Readers of that policy do not count them: a head that is out with too few others is refused.
    None where the others that are asked make no quorum.
    """
    policy = cosigners.policy
    if not isinstance(policy, PolicyChain):
        return {}
    asked = {name for witness in cosigners.witnesses for name in witness.names}
    listed = [(one.name, policy.revoked.get(one.vkey.public)) for one in policy.witnesses]
    found = {
        name: 0 if one.word == "compromised" else one.since
        for name, one in listed
        if one is not None
    }
    return found if policy.is_met(asked - found.keys()) else {}


def _wake_after(passes: int, worker: _Worker) -> None:
    if passes:
        asyncio.get_running_loop().call_soon(_wake_after, passes - 1, worker)
    else:
        worker.wake()
