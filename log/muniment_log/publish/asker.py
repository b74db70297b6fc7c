"""Who asks one cosigner: a task of its own, so that a slow cosigner holds up only itself."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from muniment.tlog.addcheckpoint import AccusedError
from muniment_log.publish.witness import WitnessClient

if TYPE_CHECKING:
    from muniment.local.backoff import Backoff
    from muniment.tlog.addcheckpoint import WitnessError
    from muniment_log.publish.publisher import Publisher

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
