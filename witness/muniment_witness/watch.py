"""Everything that a witness does unasked, put together: pulling, gossip, evidence, alarms.

`Watch` builds the parts and runs them; HTTP, the status page and the alarms read it. With neither
logs to read nor peers it does nothing but keep evidence from what it is asked to sign.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from muniment.formats.cosignature import verifier_for
from muniment.service.logging import event
from muniment.service.metrics import Metrics
from muniment_witness.alarms import KINDS, Alarm, Situation, alarms
from muniment_witness.catchup import CatchUp
from muniment_witness.comparer import Comparer
from muniment_witness.config import WitnessConfig
from muniment_witness.cosigner import Cosigner
from muniment_witness.docket import Docket
from muniment_witness.gossip import Gossip
from muniment_witness.holds import Holds, Who
from muniment_witness.ledger import Filed, counts
from muniment_witness.mover import Mover
from muniment_witness.net import Transport
from muniment_witness.pull import Puller
from muniment_witness.relay import Relay
from muniment_witness.sources import Sources
from muniment_witness.store import Store
from muniment_witness.tiles import TileCache, TileReader

ALARM_SECONDS: Final = 5.0
"""Longest time between two looks for alarms."""

_LOGGER: Final = logging.getLogger(__name__)


class Watch:
    """The parts of a witness that work unasked.

    Attributes:
        config: The configuration.
        store: The database.
        holds: What is held back.
        cosigner: What moves heads.
        comparer: What compares heads.
        cache: The verified tiles.
        puller: What reads logs.
        gossip: What reads peers.
        relay: What pushes to peers and takes their pushes.
        alarms: The alarms as of the last look.
    """

    def __init__(
        self,
        config: WitnessConfig,
        store: Store,
        transport: Transport,
        metrics: Metrics,
        clock: Callable[[], int],
        cosigner: Cosigner | None = None,
    ) -> None:
        """Builds the parts.

        Args:
            config: The configuration.
            store: The database.
            transport: The network.
            metrics: Where to count.
            clock: Gives Unix seconds.
            cosigner: What moves heads already, when this replaces another; it must be told of the
                new `holds`.
        """
        file, limits = config.file, config.file.gossip
        own = tuple(verifier_for(signer.vkey) for signer in config.signers)
        sources = self._sources = Sources(config.options, config.peers)
        self.config: Final = config
        self.store: Final = store
        self.holds: Final = Holds(
            store.ledger, {origin: each.acknowledged for origin, each in config.options.items()}
        )
        self.cosigner: Final = cosigner or Cosigner(store, config.signers, clock, self.holds)
        self.cache: Final = TileCache(limits.tile_cache_bytes)
        reader = TileReader(transport, self.cache)
        docket = Docket(config.logs, store.ledger, self.holds, clock)
        self.comparer: Final = Comparer(
            config.logs, store, docket, reader, CatchUp(transport), clock
        )
        mover = Mover(store, self.cosigner, self.comparer, self.holds, reader)
        self.puller: Final = Puller(
            config.logs,
            config.options,
            own,
            store,
            self.comparer,
            mover,
            self.holds,
            sources,
            transport,
            clock,
        )
        self.gossip: Final = Gossip(
            file.name,
            config.logs,
            config.peers,
            own,
            store.ledger,
            self.comparer,
            mover,
            self.holds,
            sources,
            transport,
            limits.period_seconds,
            clock,
        )
        self.relay: Final = Relay(
            config.logs,
            config.peers,
            self.gossip.state,
            store,
            self.comparer,
            self.holds,
            sources,
            transport,
            limits.period_seconds,
        )
        if store.is_copy:
            peer: set[Who] = {"peer"} if config.peers else set()
            for origin, each in config.options.items():
                self.holds.unheard[origin] = peer | ({"log"} if each.url is not None else set())
        docket.filed = self._filed
        self.comparer.unrelated = self.relay.arrived
        self.comparer.suspected = self.relay.suspected
        self.alarms: list[Alarm] = []
        self.clock: Final = clock
        self._started = clock()
        self._limits = limits
        self._evidence = metrics.counter("evidence", "Evidence filed.", ("origin", "kind"))
        self._raised = metrics.gauge("alarms", "Alarms that are raised.", ("kind",))
        self._held = metrics.gauge("ledger", "What is held, by what it is.", ("what",))
        self._peer = metrics.gauge(
            "peer_reached_seconds", "When a peer last answered, Unix time.", ("peer",)
        )
        self._pulled = metrics.gauge(
            "log_reached_seconds", "When a log last gave a checkpoint, Unix time.", ("origin",)
        )
        self._compared = metrics.gauge(
            "peer_compared", "Logs whose head at the peer was compared in time.", ("peer",)
        )

    async def start(self) -> None:
        """Learns what logs and peers remember of this witness, before it signs anything."""
        looks = [self.puller.look(origin) for origin in self.puller.state]
        asks = [self.gossip.ask_own(peer) for peer in self.gossip.peers]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.start_seconds):
                await asyncio.gather(*looks, *asks, return_exceptions=True)
        await self.settle()
        self.look()

    async def settle(self) -> None:
        """Forgets that the database is a backup, once all that was signed since is taken back.

        Raises:
            FatalDatabaseError: If that could not be made durable; the process must end.
        """
        if self.store.is_copy and not (self.holds.unheard or self.holds.ahead):
            await self.store.settle_copy()

    async def run(self) -> None:
        """Works until cancelled; the cosigner must be running.

        Raises:
            ExceptionGroup: If something could not be made durable; the process must end.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.puller.run(), name="pull")
            group.create_task(self.gossip.run(), name="gossip")
            group.create_task(self.relay.run(), name="relay")
            group.create_task(self._run_alarms(), name="alarms")

    async def _run_alarms(self) -> None:
        while True:
            await self.settle()
            self.look()
            await asyncio.sleep(min(self._limits.period_seconds, ALARM_SECONDS))

    def situation(self) -> Situation:
        """What alarms depend on, now."""
        ledger = self.store.ledger
        heads = {origin: latest.time for origin, latest in self.store.latest.items()}
        for origin, noted in ledger.watched.items():
            heads[origin] = max(heads.get(origin, 0), noted.time)
        return Situation(
            now=self.clock(),
            started=self._started,
            name=self.config.file.name,
            limits=self._limits,
            options=self.config.options,
            evidence=[
                (origin, filed.hash.hex())
                for origin in self.config.logs
                for filed in self.holds.evidence(origin)
            ],
            unresolved=[
                (origin, suspicion.source, suspicion.since)
                for origin, known in ledger.suspicions.items()
                # With nobody to ask for tiles, anyone could raise the alarm by a spoiled proof.
                if self._sources.tiles(origin)
                for suspicion in known.values()
            ],
            restored=sorted(self.holds.ahead),
            copied=sorted(self.holds.unheard.keys() - self.holds.ahead.keys()),
            heads=heads,
            pulled=self.puller.state,
            peers=self.gossip.state,
            clock_is_behind=self.cosigner.clock_is_behind,
        )

    def look(self) -> list[Alarm]:
        """Looks for alarms; logs those that are new and those that ended."""
        found = alarms(self.situation())
        before = {(alarm.kind, alarm.subject) for alarm in self.alarms}
        now = {(alarm.kind, alarm.subject) for alarm in found}
        for alarm in found:
            if (alarm.kind, alarm.subject) not in before:
                event(
                    _LOGGER,
                    logging.ERROR,
                    "alarm",
                    kind=alarm.kind,
                    subject=alarm.subject,
                    detail=alarm.detail,
                )
        for kind, subject in sorted(before - now):
            event(_LOGGER, logging.WARNING, "alarm ended", kind=kind, subject=subject)
        self.alarms = found
        self._show()
        return found

    def _show(self) -> None:
        for kind in KINDS:
            self._raised.labels(kind).set(sum(alarm.kind == kind for alarm in self.alarms))
        for what, count in counts(self.store.ledger).items():
            self._held.labels(what).set(count)
        since = self.clock() - 3 * self._limits.period_seconds
        for name, state in self.gossip.state.items():
            self._peer.labels(name).set(state.reached)
            fresh = [h for h in state.heads.values() if h.size >= 0 and h.compared >= since]
            self._compared.labels(name).set(len(fresh))
        for origin, pulled in self.puller.state.items():
            self._pulled.labels(origin).set(pulled.reached)

    def _filed(self, filed: Filed) -> None:
        self._evidence.labels(filed.origin, filed.kind).inc()
        self.relay.filed(filed)
        self.look()
