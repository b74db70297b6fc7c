"""Publication rounds (C2SP tlog-witness): one signed head, and a worker that asks each witness."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

from muniment_log.witness import WitnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.formats.checkpoint import SignedCheckpoint
    from muniment_log.witness import Cosigned, WitnessClient

_NEWEST: Final = 0.125
"""What the newest answer counts for in the time that a witness takes."""


@dataclass(slots=True, eq=False)
class Round:
    """One signed head on its way to its quorum.

    Attributes:
        signed: the checkpoint, with the cosignatures that have come.
        started: when the round began, by `perf_counter`.
        names: the policy's names of the witnesses that have cosigned.
        answered: the clients that need not be asked any more.
        told: whether the quorum was met, and those who wait were told.
        published: whether the head was stored then, and is served.
    """

    signed: SignedCheckpoint
    started: float
    names: set[str] = field(default_factory=set)
    answered: set[WitnessClient] = field(default_factory=set)
    told: bool = False
    published: bool = False

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self.signed.checkpoint.size


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
        """A witness has cosigned the head of a round, in time or late."""
        ...

    def failed(self, client: WitnessClient, error: WitnessError, *, first: bool) -> None:
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
                cosigned = await self.client.add_checkpoint(current.signed, self._rounds.prove)
            except WitnessError as error:
                first, self.failure = self.failure is None, error
                self._rounds.failed(self.client, error, first=first)
                # Jitter: witnesses that failed together should not all be asked again together.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
                pause = min(2 * pause, self._longest_pause)
                self._woken.set()
            else:
                self.failure = None
                self.seconds += (perf_counter() - began - self.seconds) * _NEWEST
                pause = self._first_pause
                self._rounds.answered(current, self.client, cosigned)
