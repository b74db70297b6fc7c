"""Publishing heads (C2SP tlog-checkpoint, tlog-witness): two heads, one rule.

The *integrated* head is durable. The *published* head is the newest one that the log signed, stored
and got cosigned by the quorum of its policy. A round takes the newest integrated head, asks the
witnesses, and ends when the quorum is met; the next begins with the newest head then. When nothing
is under way a commit's own transaction carries the signature of its head, so a lone decision waits
for one sync and one exchange with the witnesses, and for no timer. Only a busy log paces its
rounds, and only while nobody waits for one. An idle log has its head signed and cosigned anew from
time to time, so that a frozen view of it shows by its age.

Order, for the crash argument: sign, store, ask witnesses; store what they answered, serve it.
A head that was signed but never stored was never shown; a restart signs a head that extends it.
Only those who wait for their own records get the cosigned head while it is being stored: their
proof rests on a head that is stored, signed, and holds for ever, and nothing is read from the log
meanwhile (`settled`), so that what was published is there for whoever has seen it.

It fails closed: without a quorum the published head stays where it is, and `is_stalled` says so.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from muniment.local.logs import event
from muniment.local.taskgroup import TaskGroup
from muniment.tlog.addcheckpoint import AccusedError, AheadError, WitnessError
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment_log.publish.clock import Clock
from muniment_log.publish.cosigners import Cosigners
from muniment_log.publish.mirroring import Mirroring
from muniment_log.publish.pace import Pace
from muniment_log.publish.published import Publication
from muniment_log.publish.rated import RatedCosigners
from muniment_log.publish.rounds import ConsistencyProofs, Round, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from muniment.tlog.heads import Head
    from muniment_log.core.heads import HeadSigner
    from muniment_log.metrics import TreeMetrics
    from muniment_log.publish.cosigners import CosignerSet
    from muniment_log.publish.keeping import Keeping
    from muniment_log.publish.pace import PublisherLimits
    from muniment_log.publish.published import CheckpointStore, PublishedTiles
    from muniment_log.publish.rollback import Doubts
    from muniment_log.publish.witness import Cosigned, WitnessClient

_LOGGER = logging.getLogger(__name__)


class Publisher:
    """Signs heads, collects their cosignatures, publishes. One event loop; `run` is its one task.

    `Pace` computes when rounds begin and end, `Cosigners` asks the witnesses, and `Publication`
    holds what is published.

    Attributes:
        doubts: whether witnesses know more than the log.
        rated: the witnesses with a rate of their own, which no head waits for.
        mirrors: the mirrors; no head waits for them, either.
        integrated: the newest integrated head.
        round: the round under way, or the last one.
        prove: makes the consistency proof between two sizes; see `ConsistencyProofs`.
        wants_signature: whether the next commit is to sign its head.
    """

    def __init__(
        self,
        *,
        signer: HeadSigner,
        store: CheckpointStore,
        tiles: PublishedTiles,
        cosigners: CosignerSet,
        metrics: TreeMetrics,
        limits: PublisherLimits,
        doubts: Doubts,
        head: Head,
        signed: bytes | None,
        published: bytes | None,
        is_committing: Callable[[], bool],
        rated_kept: Keeping,
        mirrors_kept: Keeping,
        clock: Clock | None = None,
    ) -> None:
        """Continues from what is stored: the integrated head, the signed and published notes.

        Without a policy the log publishes uncosigned. `is_committing` tells whether a commit is
        under way or follows at once, so that a signature can ride in its transaction. `rated_kept`
        and `mirrors_kept` are of those that no head waits for.
        """
        self._signer = signer
        self._store = store
        self._tiles = tiles
        self.prove = ConsistencyProofs(tiles).prove
        self._metrics = metrics
        self._limits = limits
        self._pace = Pace(limits)
        self.doubts = doubts
        self._clock = Clock() if clock is None else clock
        self._is_committing = is_committing
        self._cosigners = Cosigners(self, cosigners, limits, self._clock)
        self.rated = RatedCosigners(self, cosigners.rated, self._clock, rated_kept)
        self.mirrors = Mirroring(
            self,
            cosigners.policy,
            cosigners.mirrors,
            self._clock,
            mirrors_kept,
            tiles=tiles,
            metrics=metrics,
        )
        self._groups = (self._cosigners, self.rated, self.mirrors)
        self._has_late_lines = False
        self.integrated = head
        self.round: Round | None = None
        # Also when it was published: witnesses give their cosignatures on the same head again, and
        # those that were late before the restart are added. An older one is not worth a round.
        self._signed = signed if signer.last == head else None  # newer than the round
        self.wants_signature = False
        self._interested = 0
        self._news = asyncio.Event()
        self._publication = Publication(
            None if published is None else parse_signed_checkpoint(published)
        )
        if self.published is not None:
            metrics.published(self.published.checkpoint.size)

    def use(self, cosigners: CosignerSet) -> None:
        """Publishes by another policy from now on.

        The newest signed head is put to its witnesses at once, also when it was published by the
        policy before; what was published stays until then.
        """
        self._cosigners.use(cosigners)
        self.rated.use(cosigners.rated)
        self.mirrors.use(cosigners.policy, cosigners.mirrors)
        self.doubts.use(cosigners)
        last = self.round
        if last is None or last.stage is not Stage.MET:  # else somebody has it: it is stored first
            self.round = None
        if last is not None and self._signed is None:
            self._signed = last.own.encode()
        self._news.set()

    @property
    def published(self) -> SignedCheckpoint | None:
        """The published checkpoint, cosigned by the quorum and stored; None before the first."""
        return self._publication.stored

    @property
    def is_stalled(self) -> bool:
        """Whether a head waits for a quorum that does not come."""
        current = self.round
        return (
            current is not None
            and not current.is_stored
            and self._is_stuck(current)
            and not self._has_met(current)
        )

    @property
    def doubt(self) -> str:
        """Why no records are taken, when witnesses know more than the log; empty when they are."""
        return self.doubts.reason

    @property
    def witnesses(self) -> list[dict[str, str | int | bool | None]]:
        """Each cosigner, for readiness; see `Asker.described`."""
        return [described for group in self._groups for described in group.described]

    def signer(self) -> Callable[[Head], bytes] | None:
        """Before a commit: how to sign its head, when the publisher waits for a newer one."""
        if not self.wants_signature or self._pause() > 0:
            return None
        self.wants_signature = False
        return self._signer.begin

    def committed(self, head: Head, signed: bytes | None) -> None:
        """After a commit: the new integrated head, and its checkpoint when it was signed."""
        self.integrated = head
        if signed is not None:
            self._signed = signed
            ready = self._signer.completed(signed)
            if ready is not None and (self.round is None or self.round.is_stored):
                self._begin(ready)
                return
        self._news.set()

    @contextmanager
    def interest(self) -> Iterator[None]:
        """Somebody will wait for the head of what is submitted inside: rounds are not paced."""
        self._interested += 1
        if self._has_news:
            self._news.set()
        try:
            yield
        finally:
            self._interested -= 1

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is published, and returns its checkpoint.

        Raises:
            NotPublishedError: not in time.
            UnavailableError: the log stops.
        """
        with self.interest():
            return await self._publication.wait(size, seconds)

    async def reached(self, size: int) -> SignedCheckpoint:
        """As `wait`, for however long it takes; who only watches does not hurry any round."""
        return await self._publication.wait(size, None)

    async def settled(self) -> None:
        """Waits until nothing announced is still being stored; see `PublishedHead.settled`."""
        await self._publication.settled()

    async def run(self) -> None:
        """Publishes, until cancelled.

        Raises:
            StorageError: a head could not be stored; the process must end.
            RolledBackError: a witness knows a head that the tree does not contain; it must, too.
        """
        try:
            async with TaskGroup() as group:
                for asking in self._groups:
                    asking.start(group)
                await self._publish_all()
        finally:
            self._publication.stop()
            for asking in self._groups:
                asking.stop()

    async def _publish_all(self) -> None:
        while True:
            self._news.clear()
            current = self.round
            if current is not None and not current.is_stored and self._has_met(current):
                await self._publish(current)
                continue
            if self._has_late_lines:
                self._has_late_lines = False
                if current is not None and current.is_stored:
                    # Here, and nowhere else, so that no older head is stored after a newer one.
                    await self._tiles.publish(current.signed.encode())
                    continue
            if current is None or current.is_stored or self._is_stuck(current):
                self._metrics.stalled.set(self.is_stalled)
                if self._signed is not None:
                    await self._begin_signed(self._signed, current)
                    continue
                following = await self._next()
                if following is not None:
                    self._begin(following)
                    continue
            await self._wait_for_news(current)

    async def _wait_for_news(self, current: Round | None) -> None:
        is_open = current is not None and not current.is_stored and not self._is_stuck(current)
        in_time = await self._clock.wait(self._news, self._seconds_to_look(current))
        if is_open and not in_time:
            missing = self._cosigners.missing(current)
            event(_LOGGER, logging.WARNING, "no quorum in time", waiting=missing)

    def _seconds_to_look(self, current: Round | None) -> float | None:
        """How long nothing can be due, unless there is news; None when only news matters."""
        now = self._clock.time()
        if current is not None and not current.is_stored and not self._is_stuck(current):
            return self._pace.until_late(current, now)
        if self._has_news:
            # The pace's time may have passed since `_next` looked. A commit under way brings a head
            # that is newer, and tells; one that comes to nothing does not.
            coming = self._limits.pace_seconds if self._is_committing() else 0.0
            return self._pause() or coming
        if current is None:
            return None
        # Not at once when it is due already: then a commit is under way that is newer.
        return max(self._pace.until_refresh(current, now), self._limits.pace_seconds)

    async def _begin_signed(self, note: bytes, current: Round | None) -> None:
        """Begins a round with a head that a commit has signed, when all signatures are there."""
        signed = await self._signer.complete(note)
        if self._signed is not note:
            return  # a newer one was signed meanwhile
        if current is not None and not current.is_stored and self._has_met(current):
            # Late, and first. The signer goes on, and need not remember this one.
            self._signed = signed.encode()
            return
        self._begin(signed)

    async def _next(self) -> SignedCheckpoint | None:
        """The newest head, signed and stored; None when there is nothing new to publish."""
        # A commit that follows at once signs its own head: newer, and one sync less.
        self.wants_signature = True
        last, now = self.round, self._clock.time()
        due = last is not None and self._pace.until_refresh(last, now) == 0
        if not (self._has_news or due) or self._pause() > 0 or self._is_committing():
            return None
        self.wants_signature = False
        head = self.integrated
        # C3: a crash after the signature is made and before it is durable. Nobody has seen it, and
        # the head that the restart signs is the same or extends it.
        # C4: a crash after it is durable, before a quorum has answered. The restart asks the
        # witnesses for the same head again, and they give their cosignatures again.
        return self._signer.read(await self._store.put_signed(lambda: self._signer.sign(head)))

    @property
    def _has_news(self) -> bool:
        """Whether the integrated head is newer than the last one signed."""
        last = self._signer.last
        return last is None or self.integrated.size > last.size

    def _pause(self) -> float:
        """Seconds until the next round may begin; 0 when somebody waits for it."""
        return self._pace.until_next(
            self.round, self._clock.time(), is_waited_for=self._interested > 0
        )

    def _begin(self, signed: SignedCheckpoint) -> None:
        self._signed = None
        self.round = Round(signed, self._clock.time())
        self._cosigners.ask()
        self._news.set()  # the round's time counts from now; and without witnesses nobody answers

    def _has_met(self, current: Round) -> bool:
        """Whether a round has its quorum, or had that of the policy before."""
        return current.stage is not Stage.SIGNED or self._cosigners.have_met(current)

    def _is_stuck(self, current: Round) -> bool:
        is_late = self._pace.until_late(current, self._clock.time()) == 0
        return is_late or self._cosigners.have_failed(current)

    def _announce(self, current: Round) -> None:
        """Gives the head, whose quorum is met, to those who wait for it; readers wait."""
        self._publication.announce(current.signed)
        current.stage = Stage.MET
        self.doubts.confirmed()
        self.wants_signature = True  # a commit before it is stored signs the next one
        self._news.set()

    async def _publish(self, current: Round) -> None:
        if current.stage is Stage.SIGNED:
            self._announce(current)
        # C5: a crash before this is durable. Those who waited have their proofs, which rest on
        # the signed head that is stored (C4); nobody has read the log up to it meanwhile
        # (`settled`). After the restart its witnesses cosign it again, and it is published.
        await self._tiles.publish(current.signed.encode())
        # Witnesses that answered while it was being stored are on the note that is served.
        current.stage = Stage.STORED
        self._publication.serve(current.signed)
        self._cosigners.ask_others()
        self.rated.published(current)
        self.mirrors.published(current)
        self._metrics.published(current.size)
        self._metrics.stalled.set(0)
        self._metrics.publish_seconds.observe(self._clock.time() - current.started)

    # What a worker tells.

    def answered(self, current: Round, client: WitnessClient, cosigned: Cosigned) -> None:
        """A witness has cosigned the head of a round, in time or late.

        Raises WitnessError if the checkpoint has no room for what it has sent.
        """
        current.add(client, cosigned)
        self.doubts.cosigned(client)
        if self.round is current:
            if current.is_stored:
                # Late: another cosignature only makes the published head stronger. It is not
                # stored, a witness gives it again; but those with a rate are not asked so soon.
                self._publication.serve(current.signed)
                if self.rated.asks(client):
                    self._has_late_lines = True
                    self._news.set()
            elif current.stage is Stage.SIGNED and self._cosigners.have_met(current):
                self._announce(current)
            elif self._is_stuck(current):
                self._news.set()
        self._metrics.witness_requests.labels(client.label, "cosigned").inc()
        self._metrics.witness_size.labels(client.label).set(client.size)

    async def failed(self, client: WitnessClient, error: WitnessError, *, first: bool) -> None:
        """A witness has not cosigned; `first` after it did or was new, which is told louder.

        Raises:
            RolledBackError: it knows a head that the tree does not contain.
            LogError: another process writes the tree.
        """
        self._cosigners.ask_all()
        accused = isinstance(error, AccusedError)
        self._metrics.witness_requests.labels(
            client.label, "accused" if accused else "failed"
        ).inc()
        level = (logging.ERROR if accused else logging.WARNING) if first else logging.DEBUG
        event(_LOGGER, level, "a witness did not cosign", witness=client.label, error=str(error))
        self._news.set()
        if isinstance(error, AheadError):
            await self.doubts.weigh(client, str(error), error.beyond)
        else:
            self.doubts.failed(client)
