"""Mirrors: they get every leaf of published heads, and cosign what they hold (C2SP tlog-mirror).

No head waits for them. A worker for each mirror pushes the newest published head, about once a
second, and at once while somebody waits for a mirrored one. What a mirror cosigns joins the head,
and the newest head that as many mirrors hold as the policy asks for is the one that `kept` gives.

Where several are needed they have to cosign one head, and none of them waits for another: a mirror
that is free takes the head that another one is at work on, if that may still become mirrored.

Nothing is lost when a push ends anywhere: a mirror says itself what it lacks, and a process that
has just started asks it. What is kept is only what was cosigned; losing it costs another push.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from muniment.local.backoff import Backoff
from muniment.tlog.addcheckpoint import ConflictError, WitnessError
from muniment.tlog.encoding import VerificationError
from muniment.tlog.mirrors import are_mirrored, verify_mirrored
from muniment_log.publish.asker import Asker, BesideGroup
from muniment_log.publish.mirrorclient import MirrorClient
from muniment_log.publish.published import HeadWaiters
from muniment_log.publish.rated import LONGEST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.policy import Policy
    from muniment.tlog.treereader import AuthenticTiles
    from muniment_log.metrics import TreeMetrics
    from muniment_log.publish.clock import Clock
    from muniment_log.publish.keeping import Keeping
    from muniment_log.publish.publisher import Publisher
    from muniment_log.publish.rounds import Round

PUSH_SECONDS: Final = 1.0
"""Between the beginnings of two pushes to one mirror, while nobody waits for a mirrored head: each
costs the log a few milliseconds, which decisions would wait for."""

FIRST_PAUSE: Final = 0.2
"""Seconds after the first failure of a push; doubles, up to `rated.LONGEST_PAUSE`."""


class Mirroring(BesideGroup["_Worker"]):
    """Pushes published heads to mirrors, with one task for each, and keeps what came of it.

    Attributes:
        kept: the newest checkpoint that as many mirrors hold as the policy asks for.
    """

    def __init__(
        self,
        publisher: Publisher,
        policy: Policy | None,
        clients: Sequence[MirrorClient],
        clock: Clock,
        keeping: Keeping,
        *,
        tiles: AuthenticTiles,
        metrics: TreeMetrics,
    ) -> None:
        """Begins with what was kept before; `tiles` are of the log's tree.

        The clients, one for each URL, are of the policy's mirrors.
        """
        super().__init__("mirror", keeping.keep)
        self._publisher = publisher
        self._tiles = tiles
        self._clock = clock
        self._metrics = metrics
        self._waiting = HeadWaiters(keeping.kept)
        self._interested = 0
        self._urgent = asyncio.Event()
        self.use(policy, clients)
        self._show()

    @property
    def kept(self) -> SignedCheckpoint | None:
        """The newest mirrored checkpoint, see `Mirroring`."""
        return self._waiting.newest

    @property
    def has_mirrors(self) -> bool:
        """Whether there is anybody to push to."""
        return bool(self.askers)

    def use(self, policy: Policy | None, clients: Sequence[MirrorClient]) -> None:
        """Pushes to the mirrors of another policy from now on; what that accepts is kept."""
        self._policy = policy
        kept = self.kept
        if kept is not None and not _is_held(policy, kept):
            # By another policy, or the file was changed: another push brings it again.
            self._waiting.newest = None
        self._replace([_Worker(self, each, self._publisher, self._clock) for each in clients])

    def stop(self) -> None:
        """The group has ended: nothing is pushed any more, and nobody need wait."""
        super().stop()
        self._waiting.stop()

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is mirrored, and returns its checkpoint.

        Raises:
            NotPublishedError: not in time.
            UnavailableError: the log stops.
        """
        with self._interest():
            return await self._waiting.wait(size, seconds)

    @contextmanager
    def _interest(self) -> Iterator[None]:
        self._interested += 1
        self._urgent.set()
        try:
            yield
        finally:
            self._interested -= 1
            if not self._interested:
                self._urgent.clear()

    # What a worker needs to know and tell.

    async def pause(self, seconds: float) -> None:
        """Waits, unless somebody waits for a mirrored head."""
        if seconds > 0:
            await self._clock.wait(self._urgent, seconds)

    def choose(self, client: MirrorClient, last: Round | None) -> Round | None:
        """The head that a mirror is to be given now; None when it has cosigned the newest.

        `last` is the one that it was given last: it takes no older one any more.
        """
        newest = self._newest
        if newest is None or client in newest.answered:
            return None
        at_work = [one.current for one in self.askers if one.client is not client]
        shared = [
            each
            for each in at_work
            if each is not None
            and client not in each.answered
            and (last is None or each.started > last.started)
            and not self._is_mirrored(each)
        ]
        return max(shared, key=lambda each: each.started, default=newest)

    def _is_mirrored(self, current: Round) -> bool:
        return self._policy is not None and are_mirrored(self._policy, current.names)

    def cosigned(self, current: Round) -> None:
        """A mirror has cosigned a head."""
        kept = self.kept
        if self._is_mirrored(current) and (kept is None or current.size >= kept.checkpoint.size):
            self._waiting.tell(current.signed)
            self._show()
            self._news.set()

    def _show(self) -> None:
        if self.kept is not None:
            self._metrics.mirrored_size.set(self.kept.checkpoint.size)

    async def push(self, client: MirrorClient, current: Round) -> None:
        """Gives a mirror a head and what it lacks; see `MirrorClient.mirror`."""
        cosigned = await client.mirror(current.own, self._publisher.prove, self._tiles)
        self._publisher.answered(current, client, cosigned)


def _is_held(policy: Policy | None, signed: SignedCheckpoint) -> bool:
    """Whether who has the policy takes a checkpoint for a mirrored one, by the times it states."""
    if policy is None:
        return False
    try:
        verify_mirrored(policy, signed)
    except VerificationError:
        return False
    return True


class _Worker(Asker[MirrorClient]):
    """Pushes to one mirror, whenever there is a head that it has not cosigned."""

    def __init__(
        self, mirroring: Mirroring, client: MirrorClient, publisher: Publisher, clock: Clock
    ) -> None:
        super().__init__(publisher, client, Backoff(FIRST_PAUSE, LONGEST_PAUSE))
        self.current: Round | None = None  # at work on it
        self._last: Round | None = None
        self._mirroring = mirroring
        self._clock = clock

    @property
    def described(self) -> dict[str, str | int | bool | None]:
        return {**super().described, "mirror": True}

    async def run(self) -> None:
        began: float | None = None
        while True:
            await self._woken.wait()
            if began is not None:
                await self._mirroring.pause(began + PUSH_SECONDS - self._clock.time())
            self._woken.clear()  # what is published from here on is for the next push
            self.current = self._mirroring.choose(self.client, self._last)
            if self.current is None:
                continue
            began = self._clock.time()
            self._last = self.current
            try:
                pause = await self._push(self.current)
            finally:
                self.current = None
            if pause:
                await self._clock.sleep(pause)

    async def _push(self, current: Round) -> float:
        """Pushes a head; returns after how many seconds the next may follow."""
        try:
            await self._mirroring.push(self.client, current)
        except ConflictError:  # somebody else has given it a later head
            self._woken.set()
            return FIRST_PAUSE
        except WitnessError as error:
            return await self._failed(error)
        self._succeeded()
        self._mirroring.cosigned(current)
        self._woken.set()  # a newer one may have been published meanwhile
        return 0.0
