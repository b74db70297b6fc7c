"""Everything that a witness does unasked, put together: pulling, gossip, evidence, alarms.

`Watch` builds the parts and runs them; HTTP, the status page and the alarms read it. With neither
logs to read nor peers it does nothing but keep evidence from what it is asked to sign.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from muniment.local.logs import event
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.evidence import contradiction_of
from muniment_service.http import Problem
from muniment_service.metrics import Metrics
from muniment_witness.config import WitnessConfig
from muniment_witness.gossip.advance import Mover
from muniment_witness.gossip.alarms import KINDS, Alarm, Situation, alarms
from muniment_witness.gossip.antientropy import Gossip
from muniment_witness.gossip.catchup import CatchUp
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.net import Transport
from muniment_witness.gossip.pull import Puller
from muniment_witness.gossip.push import Relay
from muniment_witness.gossip.sources import Sources
from muniment_witness.gossip.tiles import TileCache, TileReader, UnresolvedError
from muniment_witness.judge.cosigner import Cosigner
from muniment_witness.judge.decide import Authentic, Refused
from muniment_witness.judge.relation import Seen, digest_of
from muniment_witness.judge.suspension import Holds, Lacking, Who
from muniment_witness.store.evidence import Docket
from muniment_witness.store.heads import Cosigned, Store
from muniment_witness.store.observations import Filed, counts

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
        mover = self._mover = Mover(store, self.cosigner, self.comparer, self.holds, reader)
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
        peer: frozenset[Who] = frozenset({"peer"} if config.peers else ())
        for origin, each in config.options.items():
            if store.past.loss is not None and store.past.lacks(origin):
                log: frozenset[Who] = frozenset({"log"} if each.url is not None else ())
                self.holds.lacking[origin] = Lacking(store.past.loss, peer | log)
        docket.filed = self._filed
        self.puller.shown = self.gossip.noticed
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
        heads = {origin: self.store.head(origin).size for origin in self.config.logs}
        first = [origin for origin, size in heads.items() if self.holds.is_first(origin, size)]
        asks = [self.gossip.ask_own(peer, first) for peer in self.gossip.peers]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.start_seconds):
                await asyncio.gather(*looks, *asks, return_exceptions=True)
        self.look()

    async def settle(self) -> None:
        """Lets go of the logs of which it is known again what this witness has signed.

        All who can tell have told; what it had signed is taken back, and the newest head that was
        read is taken up. The cosigner must be running.

        Raises:
            FatalDatabaseError: If that could not be made durable; the process must end.
        """
        for origin, lacking in list(self.holds.lacking.items()):
            if not lacking.is_told or origin in self.holds.ahead or self.holds.evidence(origin):
                continue
            try:
                outcome = await self._mover.take_up(origin, self._sources.tiles(origin))
            except (UnresolvedError, Problem):
                continue  # tried again
            if isinstance(outcome, Refused):
                continue
            await self.store.ledger.save()
            await self.store.settle(origin, self.clock())
            del self.holds.lacking[origin]
            head = self.store.head(origin)
            event(
                _LOGGER,
                logging.WARNING,
                "logs and peers were asked what this witness has signed; it signs again",
                origin=origin,
                size=head.size,
            )
            if outcome is not None:
                self.puller.moved(origin, outcome)

    async def prepare(self, request: Authentic) -> None:
        """Sees to it that a request is judged by what was read of its log, too.

        A head of the size of one that was read, and of another root, is evidence at once. Where
        nothing of the log was cosigned yet, the newest head that was read is, first: whatever is
        cosigned later extends it.

        Raises:
            FatalDatabaseError: If evidence could not be made durable; the process must end.
        """
        checkpoint = request.checkpoint
        origin = checkpoint.origin
        self.comparer.reconcile(origin)
        if origin not in self.store.ledger.watched:
            return  # the newest head is the cosigned one, by which the request is judged anyway
        frontier = self.comparer.frontier(origin)
        if frontier is None or frontier.head == (checkpoint.size, checkpoint.root):
            return
        signed = SignedCheckpoint(checkpoint, request.note)
        if contradiction_of(frontier.signed, signed) is not None:
            await self.comparer.observe(Seen(signed, digest_of(signed)), "add-checkpoint")
        elif self.store.head(origin).size == 0 and self.holds(origin) is None:
            with suppress(UnresolvedError):
                outcome = await self._mover.take_up(origin, self._sources.tiles(origin))
                if isinstance(outcome, Cosigned):
                    self.puller.moved(origin, outcome)

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
            lacking=[
                (origin, lacking.refusal().detail)
                for origin, lacking in sorted(self.holds.lacking.items())
                if origin not in self.holds.ahead
            ],
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
