"""All bastions of a witness, as its configuration has them now."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from muniment.local.taskgroup import TaskGroup
from muniment_service.http import Responder
from muniment_service.limits import Budget, Limits
from muniment_witness.bastion.link import BastionLink, BastionState
from muniment_witness.bastion.table import Bastion

LOOK_SECONDS: Final = 1.0
"""Between two looks whether a reload has brought or taken a bastion."""


class BastionSettings(Protocol):
    """What of a configuration serving through bastions depends on."""

    @property
    def bastions(self) -> tuple[Bastion, ...]:
        """The bastions."""
        ...

    @property
    def ca(self) -> Path | None:
        """The file with the CAs to believe; None for the system's."""
        ...


class Bastions:
    """Serves through each bastion by a link of its own.

    Attributes:
        state: What came of it, by the submission prefix at the bastion.
    """

    def __init__(
        self,
        config: Callable[[], BastionSettings],
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        """`config` gives the configuration in force; the clock Unix seconds."""
        self.state: dict[str, BastionState] = {}
        self._config = config
        self._limits = limits
        self._budget = Budget(limits.inflight_bytes)
        self._clock = clock
        self._links: dict[Bastion, tuple[BastionLink, asyncio.Task[None]]] = {}
        self._is_finished = False

    async def run(self, app: Responder) -> None:
        """Serves `app` until cancelled; through bastions that a reload brings, too."""
        async with TaskGroup() as tasks:
            while not self._is_finished:
                bastions = self._config().bastions
                self.state = {
                    each.prefix: self.state.get(each.prefix, BastionState()) for each in bastions
                }
                for gone in self._links.keys() - set(bastions):
                    tasks.create_task(_end(*self._links.pop(gone)))
                for bastion in bastions:
                    if bastion not in self._links:
                        link = self._link(bastion, app)
                        self._links[bastion] = link, tasks.create_task(link.run(), name="bastion")
                await asyncio.sleep(LOOK_SECONDS)

    def _link(self, bastion: Bastion, app: Responder) -> BastionLink:
        return BastionLink(
            bastion,
            self.state[bastion.prefix],
            app,
            self._limits,
            self._budget,
            lambda: self._config().ca,
            self._clock,
        )

    async def finish(self) -> None:
        """Answers what has come, and ends the connections; `run` is to be cancelled then."""
        self._is_finished = True
        links, self._links = self._links, {}
        await asyncio.gather(*(_end(link, task) for link, task in links.values()))


async def _end(link: BastionLink, task: "asyncio.Task[None]") -> None:
    await link.finish()
    task.cancel()
