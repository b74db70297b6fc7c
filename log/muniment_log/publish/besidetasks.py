"""The tasks that ask the cosigners no head waits for, and the one that keeps what came of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment_log.publish.asker import Asker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint

_LOGGER: Final = logging.getLogger(__name__)


A = TypeVar("A", bound=Asker[Any])


class Asking(Generic[A]):
    """One task for each cosigner of a kind, while a group runs; others may take their places.

    Attributes:
        askers: who asks.
    """

    def __init__(
        self,
        kind: str,
        newest: Callable[[], SignedCheckpoint | None],
        keep: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Takes the kind's name, what is to be kept, and how, whenever `has_news` was called."""
        self.askers: Sequence[A] = ()
        self._kind = kind
        self._newest = newest
        self._keep = keep
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    def use(self, askers: Sequence[A]) -> None:
        """Ends the tasks of those before, and begins those of others if a group runs."""
        for task in self._tasks:
            task.cancel()
        self.askers = askers
        if self._group is not None:
            self.start(self._group)
        self.wake()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begins, with tasks of the group."""
        self._group = group
        self._tasks = [
            group.create_task(one.run(), name=f"{self._kind} {one.client.label}")
            for one in self.askers
        ]
        if self.askers:
            self._tasks.append(group.create_task(self._keep_news(), name=f"keep {self._kind}"))

    def stop(self) -> None:
        """The group has ended."""
        self._group = None

    def wake(self) -> None:
        """Has each look whether there is a head to be asked about."""
        for one in self.askers:
            one.wake()

    def has_news(self) -> None:
        """There is a newer checkpoint to be kept."""
        self._news.set()

    async def _keep_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            newest = self._newest()
            if newest is None:
                continue
            with Contained("keeping cosignatures") as outcome:
                await self._keep(newest.encode())
            if outcome.error:
                event(
                    _LOGGER,
                    logging.WARNING,
                    "cosignatures not kept",
                    of=self._kind,
                    error=outcome.error,
                )
