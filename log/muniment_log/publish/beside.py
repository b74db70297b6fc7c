"""The cosigners that no head waits for: witnesses with a rate of their own, and mirrors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from muniment_log.publish.mirroring import Mirroring, MirrorSetup
from muniment_log.publish.rated import RatedCosigners, RatedSetup

if TYPE_CHECKING:
    from muniment.local.taskgroup import TaskGroup
    from muniment.tlog.treereader import AuthenticTiles
    from muniment_log.metrics import TreeMetrics
    from muniment_log.publish.clock import Clock
    from muniment_log.publish.publisher import Publisher
    from muniment_log.publish.rounds import Round


class BesideSetup(Struct, frozen=True):
    """Who they are, and what they had cosigned before."""

    rated: RatedSetup = field(default_factory=RatedSetup)
    mirrors: MirrorSetup = field(default_factory=MirrorSetup)


class Beside:
    """Both kinds; they begin and end together, and are told of the same published heads.

    Attributes:
        rated: the witnesses with a rate of their own.
        mirrors: the mirrors.
    """

    def __init__(
        self,
        publisher: Publisher,
        setup: BesideSetup,
        tiles: AuthenticTiles,
        clock: Clock,
        metrics: TreeMetrics,
    ) -> None:
        self.rated = RatedCosigners(publisher, setup.rated, clock)
        self.mirrors = Mirroring(publisher, setup.mirrors, tiles, clock, metrics)

    def start(self, group: TaskGroup) -> None:
        """Begins to ask them, with tasks of the group."""
        self.rated.start(group)
        self.mirrors.start(group)

    def stop(self) -> None:
        """The group has ended: nobody is asked any more."""
        self.rated.stop()
        self.mirrors.stop()

    def use(self, setup: BesideSetup) -> None:
        """Asks others from now on; what they had cosigned before is not taken from here."""
        self.rated.use(setup.rated.witnesses)
        self.mirrors.use(setup.mirrors.policy, setup.mirrors.clients)

    def published(self, current: Round) -> None:
        """There is another published head."""
        self.rated.published(current)
        self.mirrors.published(current)

    @property
    def described(self) -> list[dict[str, str | int | bool | None]]:
        """Each of them as `Asker.described` has it, with what is its kind's."""
        return self.rated.witnesses + self.mirrors.mirrors
