"""Who asks cosigners: one task for each, so that a slow cosigner holds up only itself.

`AskerGroup` has the tasks of all cosigners of a kind; `BesideGroup` those of a kind that no head
waits for, and keeps what came of it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.addcheckpoint import AccusedError
from muniment_log.publish.witness import WitnessClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from muniment.local.backoff import Backoff
    from muniment.local.taskgroup import TaskGroup
    from muniment.tlog.addcheckpoint import WitnessError
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.publish.publisher import Publisher
    from muniment_log.publish.rounds import Round

C = TypeVar("C", bound=WitnessClient)


class Asker(ABC, Generic[C]):
    """Asks one cosigner, whenever there is a head to be asked about.

    Attributes:
        client: the cosigner.
        failure: why its last answer was none; None when it was one.
    """

    def __init__(self, publisher: Publisher, client: C, backoff: Backoff) -> None:
        """Tells the publisher what became of it; the backoff is of its failures."""
        self.client = client
        self.failure: WitnessError | None = None
        self._publisher = publisher
        self._backoff = backoff
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be such a head."""
        self._woken.set()

    @abstractmethod
    async def run(self) -> None:
        """Asks, until cancelled."""

    @property
    def described(self) -> dict[str, str | int | bool | None]:
        """The cosigner, the size it last cosigned, and why it fails, for readiness."""
        return {
            "witness": self.client.label,
            "size": self.client.size,
            "error": None if self.failure is None else str(self.failure),
            # It holds evidence that this log's key signed two histories.
            "accused": isinstance(self.failure, AccusedError),
        }

    def _succeeded(self) -> None:
        self.failure = None
        self._backoff.reset()

    async def _failed(self, error: WitnessError) -> float:
        """Tells of a failure; returns the seconds after which it is to ask again."""
        first, self.failure = self.failure is None, error
        await self._publisher.failed(self.client, error, first=first)
        self._woken.set()
        # Jitter: cosigners that failed together should not all be asked again together. And of a
        # log that comes sooner than it was asked to, a cosigner may take no more.
        return self._backoff.next(error.retry_after)


_LOGGER: Final = logging.getLogger(__name__)


A = TypeVar("A", bound=Asker[Any])


class AskerGroup(ABC, Generic[A]):
    """One task for each cosigner of a kind, while a task group runs.

    Attributes:
        askers: who asks.
    """

    def __init__(self, kind: str) -> None:
        """Takes the kind's name, for those of the tasks."""
        self.askers: Sequence[A] = ()
        self._kind = kind
        self._group: TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _replace(self, askers: Sequence[A]) -> None:
        """Ends the tasks of those before, and begins those of others if a group runs."""
        for task in self._tasks:
            task.cancel()
        self.askers = askers
        if self._group is not None:
            self.start(self._group)

    def start(self, group: TaskGroup) -> None:
        """Begins to ask, with a task of the group for each cosigner."""
        self._group = group
        self._tasks = [
            group.create_task(one.run(), name=f"{self._kind} {one.client.label}")
            for one in self.askers
        ]

    def stop(self) -> None:
        """The group has ended: nobody is asked any more."""
        self._group = None

    @property
    def described(self) -> list[dict[str, str | int | bool | None]]:
        """Each cosigner; see `Asker.described`."""
        return [one.described for one in self.askers]


class BesideGroup(AskerGroup[A]):
    """Has published heads cosigned by those that no head waits for, and keeps the result."""

    def __init__(self, kind: str, keep: Callable[[bytes], Awaitable[None]]) -> None:
        """Takes the kind's name, and what keeps a checkpoint; see `Keeping`."""
        super().__init__(kind)
        self._newest: Round | None = None
        self._keep = keep
        self._news = asyncio.Event()  # there is a newer checkpoint to be kept

    @property
    @abstractmethod
    def kept(self) -> SignedCheckpoint | None:
        """The newest checkpoint that is to be kept; None before the first."""

    async def newest(self) -> bytes | None:
        """What `kept` gives, encoded."""
        return None if self.kept is None else self.kept.encode()

    def published(self, current: Round) -> None:
        """There is another published head."""
        self._newest = current
        self._wake()

    def _replace(self, askers: Sequence[A]) -> None:
        super()._replace(askers)
        self._wake()

    def _wake(self) -> None:
        for one in self.askers:
            one.wake()

    def start(self, group: TaskGroup) -> None:
        """Begins to ask, and to keep what came of it, with tasks of the group."""
        super().start(group)
        if self.askers:
            self._tasks.append(group.create_task(self._keep_news(), name=f"keep {self._kind}"))

    async def _keep_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            kept = self.kept
            if kept is None:
                continue
            with Contained("keeping cosignatures") as outcome:
                await self._keep(kept.encode())
            if outcome.error:
                event(
                    _LOGGER,
                    logging.WARNING,
                    "cosignatures not kept",
                    of=self._kind,
                    error=outcome.error,
                )
