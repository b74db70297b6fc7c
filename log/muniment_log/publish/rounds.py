"""Publication rounds (C2SP tlog-witness): one signed head, and a worker that asks each witness."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from muniment.tlog.addcheckpoint import WitnessError
from muniment.tlog.encoding import FormatError
from muniment_log.publish.asker import Asker
from muniment_log.publish.witness import WitnessClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from muniment.local.backoff import Backoff
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.publish.clock import Clock, Timer
    from muniment_log.publish.witness import Cosigned

HEAD_START: Final = 0.01
"""Seconds that the witnesses asked first are given before the others are asked, too. A quorum on
one machine takes less; one across the world loses no more than this when a witness stalls."""

OTHERS_PACE: Final = 0.05
"""Seconds from one time that the others are asked because a head is out to the next: where heads
follow on each other faster, each would take processor time from the quorum of the next one, and the
newest is what readers want to be cosigned by more."""

_NEWEST: Final = 0.125
"""What the newest answer counts for in the time that a witness takes."""


class Stage(Enum):
    """How far a round is; it only ever goes on to the next.

    Attributes:
        SIGNED: the head is signed and stored, and witnesses are asked.
        MET: the quorum has cosigned it; those who wait have it, and it is being stored.
        STORED: it is stored with its cosignatures, and served.
    """

    SIGNED = auto()
    MET = auto()
    STORED = auto()


@dataclass(slots=True, eq=False)
class Round:
    """One signed head on its way to its quorum.

    Attributes:
        own: the checkpoint with the log's own signatures, which is what witnesses are sent: with
            those of the others a request grows beyond what some of them take.
        signed: the same with the cosignatures that have come.
        started: when the round began, by the publisher's clock.
        names: the policy's names of the witnesses that have cosigned.
        answered: the clients that need not be asked any more.
        stage: how far it is.
    """

    own: SignedCheckpoint
    started: float
    signed: SignedCheckpoint = field(init=False)
    names: set[str] = field(default_factory=set)
    answered: set[WitnessClient] = field(default_factory=set)
    stage: Stage = Stage.SIGNED

    def __post_init__(self) -> None:
        self.signed = self.own

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self.own.checkpoint.size

    @property
    def is_stored(self) -> bool:
        """Whether the head is served."""
        return self.stage is Stage.STORED

    def add(self, client: WitnessClient, cosigned: Cosigned) -> None:
        """Adds a witness's cosignatures; WitnessError if the checkpoint has no room for them."""
        try:
            self.signed = self.signed.with_signatures(cosigned.lines)
        except FormatError as error:
            raise WitnessError(f"its answer: {error}") from error
        self.names |= cosigned.names
        self.answered.add(client)


class Rounds(Protocol):
    """What a worker needs to know, and whom it tells: the publisher."""

    @property
    def round(self) -> Round | None:
        """The round under way, or the last one."""
        ...

    async def prove(self, old: int, new: int) -> Sequence[bytes]:
        """The consistency proof between two sizes."""
        ...

    def answered(self, current: Round, client: WitnessClient, cosigned: Cosigned) -> None:
        """A witness has cosigned the head of a round, in time or late.

        Raises WitnessError if the checkpoint has no room for what it has sent.
        """
        ...

    async def failed(self, client: WitnessClient, error: WitnessError, *, first: bool) -> None:
        """A witness has not cosigned; `first` after it did or was new."""
        ...


class WitnessTask(Asker[WitnessClient]):
    """Keeps one witness at the newest head.

    Attributes:
        seconds: what its answers take, the last few counting most; 0 before the first.
    """

    def __init__(
        self, rounds: Rounds, client: WitnessClient, backoff: Backoff, clock: Clock
    ) -> None:
        """Works for `rounds`."""
        super().__init__(rounds, client, backoff)
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
            current = self._rounds.round
            if current is None or self.client in current.answered:
                continue
            began = self._clock.time()
            try:
                cosigned = await self.client.add_checkpoint(current.own, self._rounds.prove)
                self._rounds.answered(current, self.client, cosigned)
            except WitnessError as error:
                await self._clock.sleep(await self._failed(error))
            else:
                self.seconds += (self._clock.time() - began - self.seconds) * _NEWEST
                self._succeeded()


class Workers:
    """All workers, in the policy's order; wakes those first that make a quorum soonest.

    Those that make a quorum ask at once, the soonest to answer of all; the others when they are
    told to, after a head start, or when the head is out (see `OTHERS_PACE`). When all ask at the
    same time, on a machine that has fewer processors than witnesses, each of them takes the time
    of those that the quorum waits for.
    """

    def __init__(
        self,
        workers: Sequence[WitnessTask],
        makes_quorum: Callable[[set[str]], bool],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._makes_quorum = makes_quorum
        self._workers = tuple(workers)
        self._ranked = self._workers
        self._first = 0
        self._reserve: Timer | None = None
        self._later: Timer | None = None
        self._asked_others = -OTHERS_PACE
        self._choose()

    def __iter__(self) -> Iterator[WitnessTask]:
        return iter(self._workers)

    def wake_first(self) -> None:
        """Wakes the workers that make a quorum soonest, and the others after a head start."""
        ranked = tuple(sorted(self._workers, key=lambda worker: worker.rank))
        if ranked != self._ranked:
            self._ranked = ranked
            self._choose()
        # The one that takes longest begins first, and its request is on its way before the next is
        # made: that is written one pass of the loop after it was made.
        for passes, worker in enumerate(reversed(ranked[: self._first])):
            _wake_after(passes, worker)
        self.hold_reserve()
        if self._first < len(ranked):
            self._reserve = self._clock.call_later(HEAD_START, self.wake_reserve)

    def wake_reserve(self) -> None:
        """Also wakes the workers held in reserve."""
        if self._reserve is not None:
            self.hold_reserve()
            self._wake_others()

    def hold_reserve(self) -> None:
        """Does not wake the workers held in reserve any more, until the head is out."""
        if self._reserve is not None:
            self._reserve.cancel()
            self._reserve = None

    def wake_others(self) -> None:
        """The head is out: also wakes the others, at once or when their pace allows."""
        self.hold_reserve()
        if self._later is not None:
            return
        pause = self._asked_others + OTHERS_PACE - self._clock.time()
        if pause > 0:
            self._later = self._clock.call_later(pause, self._wake_others)
        else:
            self._wake_others()

    def stop(self) -> None:
        """Wakes nobody any more."""
        self.hold_reserve()
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

    def _choose(self) -> None:
        names: set[str] = set()
        self._first = 0
        while self._first < len(self._ranked) and not self._makes_quorum(names):
            names |= self._ranked[self._first].client.names
            self._first += 1


def _wake_after(passes: int, worker: WitnessTask) -> None:
    if passes:
        asyncio.get_running_loop().call_soon(_wake_after, passes - 1, worker)
    else:
        worker.wake()
