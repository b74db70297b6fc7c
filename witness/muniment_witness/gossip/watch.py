"""Everything that a witness does without being asked: pulling, gossip, evidence, alarms.

`app.build` makes a `Watch`; HTTP, the status page and the alarms read it. With neither logs to read
nor peers it does nothing but keep evidence from what it is asked to sign.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from msgspec import Struct

from muniment.local.logs import event
from muniment.local.taskgroup import TaskGroup
from muniment_service.http import Problem
from muniment_witness.bastion.links import Bastions
from muniment_witness.cosign.cosigner import Cosigner
from muniment_witness.gossip.advance import HeadAdvancer
from muniment_witness.gossip.alarmboard import AlarmBoard
from muniment_witness.gossip.alarms import Situation, WitnessAlarm, alarms
from muniment_witness.gossip.announcer import HeadAnnouncer
from muniment_witness.gossip.antientropy import PeerReader
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.gauges import WatchGauges
from muniment_witness.gossip.lists import LogListPuller
from muniment_witness.gossip.pull import Puller
from muniment_witness.gossip.push import Pusher
from muniment_witness.gossip.quotas import Quotas
from muniment_witness.gossip.receive import PushReceiver
from muniment_witness.gossip.requests import RequestObserver
from muniment_witness.gossip.shared import Shared
from muniment_witness.gossip.tiles import TileCache, UnresolvedError
from muniment_witness.judge.decide import Refusal

ALARM_SECONDS: Final = 5.0
"""Longest time between two looks for alarms."""

_LOGGER: Final = logging.getLogger(__name__)


class Watch(Struct, frozen=True, kw_only=True):
    """The parts of a witness that work without being asked, all made before."""

    shared: Shared
    started: int
    cosigner: Cosigner
    cache: TileCache
    comparer: Comparer
    advancer: HeadAdvancer
    announcer: HeadAnnouncer
    puller: Puller
    peer_reader: PeerReader
    pusher: Pusher
    receiver: PushReceiver
    requests: RequestObserver
    board: AlarmBoard
    gauges: WatchGauges
    quotas: Quotas
    lists: LogListPuller | None = None
    bastions: Bastions | None = None

    @property
    def alarms(self) -> list[WitnessAlarm]:
        """The alarms as of the last look."""
        return self.board.raised

    async def start(self) -> None:
        """Asks logs and peers what this witness signed, before it signs anything."""
        looks = [self.puller.look_for_own(origin) for origin in self.puller.state]
        heads = {origin: self.shared.store.head(origin).size for origin in self.shared.logs}
        first = [
            origin
            for origin, size in heads.items()
            if self.shared.suspensions.is_first(origin, size)
        ]
        asks = [self.peer_reader.ask_own(peer, first) for peer in self.shared.peers]
        with suppress(TimeoutError):
            async with asyncio.timeout(self.shared.config.file.gossip.start_seconds):
                await asyncio.gather(*looks, *asks, return_exceptions=True)
        self.refresh_alarms()

    async def resume(self) -> None:
        """Signs again for the logs of which it is known again what this witness has signed.

        All that could be asked have answered; the lost records are recovered, and the newest head
        that was read is cosigned first. The cosigner must be running.
        """
        for origin, record in list(self.shared.suspensions.unknown.items()):
            if (
                not record.has_all_answers
                or origin in self.shared.suspensions.lost
                or self.shared.suspensions.evidence(origin)
            ):
                continue
            try:
                outcome = await self.advancer.cosign_newest(origin, self.shared.tiles(origin))
            except (UnresolvedError, Problem):
                continue  # tried again
            if isinstance(outcome, Refusal):
                continue
            await self.shared.observations.save()
            await self.shared.store.record_known(origin, self.shared.clock())
            del self.shared.suspensions.unknown[origin]
            head = self.shared.store.head(origin)
            event(
                _LOGGER,
                logging.WARNING,
                "logs and peers were asked what this witness has signed; it signs again",
                origin=origin,
                size=head.size,
            )
            if outcome is not None:
                self.announcer.announce(origin, outcome.latest)

    async def run(self) -> None:
        """Works until cancelled; the cosigner must be running."""
        async with TaskGroup() as group:
            group.create_task(self.puller.run(), name="pull")
            group.create_task(self.peer_reader.run(), name="gossip")
            group.create_task(self.pusher.run(), name="pushes")
            group.create_task(self.receiver.run(), name="pushed heads")
            group.create_task(self._run_alarms(), name="alarms")

    async def _run_alarms(self) -> None:
        while True:
            await self.resume()
            self.refresh_alarms()
            await self.board.wait(min(self.shared.config.file.gossip.period_seconds, ALARM_SECONDS))

    def situation(self) -> Situation:
        """Collects what the alarms depend on."""
        observations = self.shared.observations
        heads = {origin: latest.time for origin, latest in self.shared.store.latest.items()}
        for origin, noted in observations.watched.items():
            heads[origin] = max(heads.get(origin, 0), noted.time)
        return Situation(
            now=self.shared.clock(),
            started=self.started,
            name=self.shared.config.name,
            limits=self.shared.config.file.gossip,
            options=self.shared.options,
            evidence=[
                (origin, filed.hash.hex(), filed.kind)
                for origin in self.shared.logs
                for filed in self.shared.suspensions.evidence(origin)
            ],
            unresolved=[
                (origin, suspicion.source, suspicion.since)
                for origin, known in observations.suspicions.items()
                # With nobody to ask for tiles, anyone could raise the alarm by a spoiled proof.
                if self.shared.tiles(origin)
                for suspicion in known.values()
            ],
            restored=sorted(self.shared.suspensions.lost),
            unknown=[
                (origin, record.refusal().detail)
                for origin, record in sorted(self.shared.suspensions.unknown.items())
                if origin not in self.shared.suspensions.lost
            ],
            heads=heads,
            pulled=self.puller.state,
            peers=self.peer_reader.state,
            clock_is_behind=self.cosigner.clock_is_behind,
            lists={} if self.lists is None else self.lists.state,
            bastions={} if self.bastions is None else self.bastions.state,
        )

    def refresh_alarms(self) -> list[WitnessAlarm]:
        """Finds the alarms of the situation, and shows them and the gauges."""
        found = alarms(self.situation())
        self.board.show(found)
        self.gauges.show(
            self.shared.observations,
            self.peer_reader.state,
            self.puller.state,
            {} if self.bastions is None else self.bastions.state,
            since=self.shared.clock() - 3 * self.shared.config.file.gossip.period_seconds,
        )
        return found
