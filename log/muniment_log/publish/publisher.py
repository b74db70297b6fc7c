"""Publishing heads (C2SP tlog-checkpoint, tlog-witness): two heads, one rule.

The *integrated* head is durable. The *published* head is the newest one that the log signed, stored
and got cosigned by the quorum of its policy. A round takes the newest integrated head, asks the
witnesses, and ends when the quorum is met; the next begins with the newest head then. When nothing
is under way a commit's own transaction carries the signature of its head, so a lone decision waits
for one sync and one exchange with the witnesses, and for no timer. Only a busy log paces its
rounds, and only while nobody waits for one. An idle log has its head signed and cosigned anew from
time to time, so that a frozen view of it shows by its age.

As many witnesses as make a quorum are asked at once; the others when the head is out, when one of
those fails, or a moment later (see `rounds.Workers`).

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
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from muniment.local.logs import event
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.treereader import read_consistency
from muniment_log.core.ports import TileSource
from muniment_log.errors import DamagedTileError
from muniment_log.publish.published import Waiting
from muniment_log.publish.rounds import PublisherLimits, Round, Worker, Workers
from muniment_log.publish.witness import (
    AccusedError,
    AheadError,
    Cosigned,
    WitnessClient,
    WitnessError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from muniment.tlog.heads import Head
    from muniment.tlog.policy import Policy
    from muniment_log.core.heads import HeadSigner
    from muniment_log.metrics import LogMetrics
    from muniment_log.publish.rollback import Doubts

_LOGGER = logging.getLogger(__name__)


class HeadStore(Protocol):
    """Where signed and published checkpoints are stored before they are shown."""

    async def put_signed(self, sign: Callable[[], bytes]) -> bytes:
        """Makes and stores a signed checkpoint; see `SQLiteStore`."""
        ...


class PublishedTiles(TileSource, Protocol):
    """The tile source, which also keeps the published checkpoint."""

    async def publish(self, note: bytes) -> None:
        """Stores a published checkpoint, then gives it out."""
        ...


class Publisher:
    """Owns the published head. Belongs to one event loop; `run` is its one task.

    Attributes:
        published: the published checkpoint, cosigned by the quorum; None before the first.
    """

    def __init__(
        self,
        heads: HeadSigner,
        store: HeadStore,
        tiles: PublishedTiles,
        policy: Policy | None,
        witnesses: Sequence[WitnessClient],
        metrics: LogMetrics,
        limits: PublisherLimits,
        doubts: Doubts,
    ) -> None:
        """Puts a publisher together; `start` tells it what is stored."""
        self.published: SignedCheckpoint | None = None
        self._heads = heads
        self._store = store
        self._tiles = tiles
        self._policy = policy
        self._metrics = metrics
        self._limits = limits
        self._doubts = doubts
        self._workers = self._workers_of(witnesses)
        self._group: asyncio.TaskGroup | None = None
        self._asking: list[asyncio.Task[None]] = []
        self._integrated: Head | None = None
        self._round: Round | None = None
        self._signed: bytes | None = None  # newer than the round, waiting for its turn
        self._proof: tuple[tuple[int, int], Sequence[bytes]] | None = None
        self._wanted = False
        self._interested = 0
        self._more_to_come: Callable[[], bool] = lambda: False
        self._news = asyncio.Event()
        self._waiting = Waiting()
        self._cosigned: SignedCheckpoint | None = None  # published, or on its way to the disk
        self._stored = asyncio.Event()  # not set while a published head is being stored
        self._stored.set()

    def _workers_of(self, witnesses: Sequence[WitnessClient]) -> Workers:
        first, longest = self._limits.backoff_first_seconds, self._limits.backoff_most_seconds
        return Workers(
            [
                Worker(self, witness, first_pause=first, longest_pause=longest)
                for witness in witnesses
            ],
            self._makes_quorum,
        )

    def use(self, policy: Policy | None, witnesses: Sequence[WitnessClient]) -> None:
        """Publishes by another policy from now on.

        The newest signed head is put to its witnesses at once, also when it was published by the
        policy before; what was published stays until then.
        """
        for task in self._asking:
            task.cancel()
        self._workers.stop()
        self._policy = policy
        self._workers = self._workers_of(witnesses)
        self._doubts.use(policy, witnesses)
        self._ask()
        last, self._round = self._round, None
        if last is not None and self._signed is None:
            self._signed = last.own.encode()
        self._news.set()

    def _ask(self) -> None:
        if self._group is not None:
            self._asking = [
                self._group.create_task(worker.run(), name=f"witness {worker.client.label}")
                for worker in self._workers
            ]

    def start(
        self,
        head: Head,
        signed: bytes | None,
        published: bytes | None,
        more_to_come: Callable[[], bool],
    ) -> None:
        """Continues from what is stored.

        Args:
            head: the integrated head.
            signed: the newest signed checkpoint.
            published: the published checkpoint.
            more_to_come: whether another commit follows at once, so that a signature can ride in
                its transaction.
        """
        self._integrated = head
        self._more_to_come = more_to_come
        if published is not None:
            self.published = self._cosigned = parse_signed_checkpoint(published)
            self._metrics.published(self.published.checkpoint.size)
        # Also when it was published: witnesses give their cosignatures on the same head again, and
        # those that were late before the restart are added. An older one is not worth a round.
        if signed is not None and self._heads.last == head:
            self._signed = signed

    @property
    def integrated(self) -> Head:
        """The newest integrated head."""
        if self._integrated is None:
            raise AssertionError("the publisher was not started")
        return self._integrated

    @property
    def is_stalled(self) -> bool:
        """Whether a head waits for a quorum that does not come."""
        current = self._round
        return (
            current is not None
            and not current.published
            and self._is_stuck(current)
            and not self._is_met(current)
        )

    @property
    def doubt(self) -> str:
        """Why no records are taken, when witnesses know more than the log; empty when they are."""
        return self._doubts.reason

    @property
    def hold(self) -> str:
        """Why no records are to be taken now; see `Doubts.hold`."""
        return self._doubts.hold

    @property
    def witnesses(self) -> list[dict[str, str | int | bool | None]]:
        """Each witness, the size it last cosigned, and why it fails, for readiness."""
        return [
            {
                "witness": worker.client.label,
                "size": worker.client.size,
                "error": None if worker.failure is None else str(worker.failure),
                # It holds evidence that this log's key signed two histories.
                "accused": isinstance(worker.failure, AccusedError),
            }
            for worker in self._workers
        ]

    def signer(self) -> Callable[[Head], bytes] | None:
        """Before a commit: how to sign its head, when the publisher waits for a newer one."""
        if not self._wanted or self._pause() > 0:
            return None
        self._wanted = False
        return self._heads.sign

    def committed(self, head: Head, signed: bytes | None) -> None:
        """After a commit: the new integrated head, and its checkpoint when it was signed."""
        self._integrated = head
        if signed is not None:
            self._signed = signed
            if self._round is None or self._round.published:
                self._begin(self._heads.read(signed))
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
            return await self._waiting.wait(size, seconds, self._cosigned)

    async def settled(self) -> None:
        """Waits until the newest published head is stored, and `published`; see `PublishedHead`."""
        if not self._stored.is_set():
            await self._stored.wait()

    async def run(self) -> None:
        """Publishes, until cancelled.

        Raises:
            StorageError: a head could not be stored; the process must end.
            RolledBackError: a witness knows a head that the tree does not contain; it must, too.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._ask()
                await self._publish_all()
        finally:
            self._group = None
            self._waiting.stop()
            self._stored.set()
            self._workers.stop()

    async def _publish_all(self) -> None:
        while True:
            self._news.clear()
            current = self._round
            if current is not None and not current.published and self._is_met(current):
                await self._publish(current)
                continue
            if current is None or current.published or self._is_stuck(current):
                self._metrics.stalled.set(self.is_stalled)
                following = await self._next()
                if following is not None:
                    self._begin(following)
                    continue
            await self._wait_for_news(current)

    async def _wait_for_news(self, current: Round | None) -> None:
        seconds = None
        underway = current is not None and not current.published and not self._is_stuck(current)
        if underway and current is not None:
            seconds = max(0.0, current.started + self._limits.round_seconds - perf_counter())
        elif self._has_news:
            # The pace's time may have passed since `_next` looked. A commit under way brings a head
            # that is newer, and tells; one that comes to nothing does not.
            coming = self._limits.pace_seconds if self._more_to_come() else 0.0
            seconds = self._pause() or coming
        elif current is not None:
            # Not at once when it is due already: then a commit is under way that is newer.
            seconds = max(self._until_refresh(current), self._limits.pace_seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            if underway:
                missing = self._missing(current)
                event(_LOGGER, logging.WARNING, "no quorum in time", waiting=missing)

    async def _next(self) -> SignedCheckpoint | None:
        """The newest head, signed and stored; None when there is nothing new to publish."""
        if self._signed is not None:
            return self._heads.read(self._signed)
        # A commit that follows at once signs its own head: newer, and one sync less.
        self._wanted = True
        due = self._round is not None and self._until_refresh(self._round) == 0
        if not (self._has_news or due) or self._pause() > 0 or self._more_to_come():
            return None
        self._wanted = False
        head = self.integrated
        return self._heads.read(await self._store.put_signed(lambda: self._heads.sign(head)))

    @property
    def _has_news(self) -> bool:
        """Whether the integrated head is newer than the last one signed."""
        last = self._heads.last
        return last is None or self.integrated.size > last.size

    def _pause(self) -> float:
        """Seconds until the next round may begin; 0 when somebody waits for it."""
        if self._interested or self._round is None:
            return 0.0
        return max(0.0, self._round.started + self._limits.pace_seconds - perf_counter())

    def _until_refresh(self, last: Round) -> float:
        """Seconds until the head of the last round is to be cosigned anew."""
        return max(0.0, last.started + self._limits.refresh_seconds - perf_counter())

    def _begin(self, signed: SignedCheckpoint) -> None:
        self._signed = None
        self._round = Round(signed, perf_counter())
        self._workers.begin()
        self._news.set()  # the round's time counts from now; and without witnesses nobody answers

    def _is_met(self, current: Round) -> bool:
        return self._makes_quorum(current.names)

    def _makes_quorum(self, names: set[str]) -> bool:
        return self._policy is None or self._policy.is_met(names)

    def _is_stuck(self, current: Round) -> bool:
        if perf_counter() - current.started >= self._limits.round_seconds:
            return True
        return all(
            worker.client in current.answered or worker.failure is not None
            for worker in self._workers
        )

    def _missing(self, current: Round | None) -> str:
        answered = current.answered if current is not None else set()
        return ", ".join(w.client.label for w in self._workers if w.client not in answered)

    def _tell(self, current: Round) -> None:
        """The quorum is met: whoever waits for this head may have it, readers wait."""
        if self.published is not None and current.size < self.published.checkpoint.size:
            raise AssertionError("the published head never goes back")
        current.told = True
        self._doubts.confirmed()
        self._cosigned = current.signed
        self._stored.clear()
        self._wanted = True  # a commit before it is stored signs the next one
        self._waiting.tell(current.signed)
        self._news.set()

    async def _publish(self, current: Round) -> None:
        if not current.told:
            self._tell(current)
        try:
            await self._tiles.publish(current.signed.encode())
            # Witnesses that answered while it was being stored are on the note that is served.
            current.published = True
            self.published = current.signed
        finally:
            self._cosigned = self.published
            self._stored.set()
        self._workers.ask_all()
        self._metrics.published(current.size)
        self._metrics.stalled.set(0)
        self._metrics.publish_seconds.observe(perf_counter() - current.started)

    # What a worker needs to know and tell.

    @property
    def round(self) -> Round | None:
        """The round under way, or the last one."""
        return self._round

    async def prove(self, old: int, new: int) -> Sequence[bytes]:
        """The consistency proof that a witness asks for; most ask for the same one.

        Raises:
            WitnessError: a tile that it needs is damaged.
        """
        if self._proof is None or self._proof[0] != (old, new):
            try:
                made = await read_consistency(self._tiles, old, new)
            except DamagedTileError as error:
                # Other witnesses know a newer head, which is proved from other tiles.
                raise WitnessError(f"it could not be asked: {error}") from error
            self._proof = (old, new), made
        return self._proof[1]

    def answered(self, current: Round, client: WitnessClient, cosigned: Cosigned) -> None:
        """A witness has cosigned the head of a round, in time or late.

        Raises:
            WitnessError: the checkpoint has no room for what it has sent.
        """
        try:
            current.signed = current.signed.with_signatures(cosigned.lines)
        except FormatError as error:
            raise WitnessError(f"its answer: {error}") from error
        current.names |= cosigned.names
        current.answered.add(client)
        self._doubts.cosigned(client)
        if self._round is current:
            if current.published:
                # Late: another cosignature only makes the published head stronger. It is not
                # stored, a witness gives it again.
                self.published = self._cosigned = current.signed
            elif not current.told and self._is_met(current):
                self._tell(current)
            elif self._is_stuck(current):
                self._news.set()
        self._metrics.witness_requests.labels(client.label, "cosigned").inc()
        self._metrics.witness_size.labels(client.label).set(client.size)

    async def failed(self, client: WitnessClient, error: WitnessError, *, first: bool) -> None:
        """A witness has not cosigned.

        Raises:
            RolledBackError: it knows a head that the tree does not contain.
            LogError: another process writes the tree.
        """
        self._workers.ask_all()
        accused = isinstance(error, AccusedError)
        self._metrics.witness_requests.labels(
            client.label, "accused" if accused else "failed"
        ).inc()
        level = (logging.ERROR if accused else logging.WARNING) if first else logging.DEBUG
        event(_LOGGER, level, "a witness did not cosign", witness=client.label, error=str(error))
        self._news.set()
        if isinstance(error, AheadError):
            await self._doubts.weigh(client, str(error), error.beyond)
        else:
            self._doubts.failed(client)
