"""Publication rounds (C2SP tlog-witness): one signed head, and a worker that asks each witness."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

from muniment_log.publish.witness import WitnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.publish.witness import Cosigned, WitnessClient

HEAD_START: Final = 0.01
"""Seconds that the witnesses asked first are given before the others are asked, too. A quorum on
one machine takes less; one across the world loses no more than this when a witness stalls."""

_NEWEST: Final = 0.125
"""What the newest answer counts for in the time that a witness takes."""


@dataclass(frozen=True, slots=True)
class PublisherLimits:
    """Deadlines of publishing.

    Attributes:
        pace_seconds: time between the beginnings of two rounds while nobody waits for one; signing
            every commit of a busy log would cost a third of its rate and help no one.
        round_seconds: after this, a round without a quorum gives way to a newer head.
        refresh_seconds: age of a round after which an idle log signs its head again and has it
            cosigned anew: fresh times tell a quiet log from a frozen view of it.
        backoff_first_seconds: pause after a witness's first failure; doubles from there.
        backoff_most_seconds: longest pause between two requests to a failing witness.
    """

    pace_seconds: float = 0.05
    round_seconds: float = 5.0
    refresh_seconds: float = 120.0
    backoff_first_seconds: float = 0.05
    backoff_most_seconds: float = 10.0


@dataclass(slots=True, eq=False)
class Round:
    """One signed head on its way to its quorum.

    Attributes:
        own: the checkpoint with the log's own signatures, which is what witnesses are sent: with
            those of the others a request grows beyond what some of them take.
        signed: the same with the cosignatures that have come.
        started: when the round began, by `perf_counter`.
        names: the policy's names of the witnesses that have cosigned.
        answered: the clients that need not be asked any more.
        told: whether the quorum was met, and those who wait were told.
        published: whether the head was stored then, and is served.
    """

    own: SignedCheckpoint
    started: float
    signed: SignedCheckpoint = field(init=False)
    names: set[str] = field(default_factory=set)
    answered: set[WitnessClient] = field(default_factory=set)
    told: bool = False
    published: bool = False

    def __post_init__(self) -> None:
        self.signed = self.own

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self.own.checkpoint.size


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

        Raises:
            WitnessError: The checkpoint has no room for what it has sent.
        """
        ...

    async def failed(self, client: WitnessClient, error: WitnessError, *, first: bool) -> None:
        """A witness has not cosigned; `first` after it did or was new."""
        ...


class Worker:
    """Keeps one witness at the newest head; a slow witness holds up only itself.

    Attributes:
        client: the witness.
        failure: why its last answer was none; None when it was one.
        seconds: what its answers take, the last few counting most; 0 before the first.
    """

    def __init__(
        self, rounds: Rounds, client: WitnessClient, *, first_pause: float, longest_pause: float
    ) -> None:
        """Works for `rounds`; pauses are seconds after a failure, doubled up to the longest."""
        self.client = client
        self.failure: WitnessError | None = None
        self.seconds = 0.0
        self._rounds = rounds
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._woken = asyncio.Event()

    @property
    def rank(self) -> tuple[bool, float]:
        """Workers in this order are those that are to be asked first."""
        return self.failure is not None, self.seconds

    def wake(self) -> None:
        """There is a head that it is to be asked about."""
        self._woken.set()

    async def run(self) -> None:
        """Asks for each round's cosignature, until cancelled."""
        pause = self._first_pause
        while True:
            await self._woken.wait()
            self._woken.clear()
            current = self._rounds.round
            if current is None or self.client in current.answered:
                continue
            began = perf_counter()
            try:
                cosigned = await self.client.add_checkpoint(current.own, self._rounds.prove)
                self._rounds.answered(current, self.client, cosigned)
            except WitnessError as error:
                first, self.failure = self.failure is None, error
                await self._rounds.failed(self.client, error, first=first)
                # Jitter: witnesses that failed together should not all be asked again together.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
                pause = min(2 * pause, self._longest_pause)
                self._woken.set()
            else:
                self.failure = None
                self.seconds += (perf_counter() - began - self.seconds) * _NEWEST
                pause = self._first_pause


class Workers:
    """All workers, in the policy's order, and whose turn it is to ask.

    Those that make a quorum ask at once, the soonest to answer of all; the others when they are
    told to, or after a head start. When all ask at the same time, on a machine that has fewer
    processors than witnesses, each of them takes the time of those that the quorum waits for.

    Attributes:
        head_start: seconds.
    """

    def __init__(self, workers: Sequence[Worker], makes_quorum: Callable[[set[str]], bool]) -> None:
        """Takes the workers, and what says whether witnesses of these names make a quorum."""
        self.head_start = HEAD_START
        self._makes_quorum = makes_quorum
        self._workers = tuple(workers)
        self._ranked = self._workers
        self._first = 0
        self._later: asyncio.TimerHandle | None = None
        self._choose()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def begin(self) -> None:
        """There is a new head."""
        ranked = tuple(sorted(self._workers, key=lambda worker: worker.rank))
        if ranked != self._ranked:
            self._ranked = ranked
            self._choose()
        for worker in reversed(ranked[: self._first]):  # the one that takes longest begins first
            worker.wake()
        self.stop()
        if self._first < len(ranked):
            self._later = asyncio.get_running_loop().call_later(self.head_start, self.ask_all)

    def ask_all(self) -> None:
        """Has those asked as well that were not needed at first."""
        if self._later is not None:
            self.stop()
            for worker in self._ranked[self._first :]:
                worker.wake()

    def stop(self) -> None:
        """Nobody else is asked."""
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _choose(self) -> None:
        names: set[str] = set()
        self._first = 0
        while self._first < len(self._ranked) and not self._makes_quorum(names):
            names |= self._ranked[self._first].client.names
            self._first += 1
