"""Takes the pushes of peers, and of anybody else.

What comes in is verified before anything is kept or passed on: a head must be signed by a
configured log, evidence must hold against configured keys. Each peer has its own budget and
strangers share a small one (see `senders`), so that nobody can use up another's. Work that may need
the network waits in bounded queues, so that an answer never does.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from time import monotonic
from typing import Final

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.taskgroup import TaskGroup
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, MunimentError, unframe
from muniment.tlog.evidence import parse_evidence
from muniment_service.http import Problem, overloaded
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.peers import MAX_HEAD_SIZE, MAX_HEADS
from muniment_witness.gossip.senders import STRANGERS, SenderBudget, Senders
from muniment_witness.gossip.shared import Shared
from muniment_witness.judge.relation import SignedHead, authentic

HEADS_PER_SECOND: Final = 4.0
"""Heads of one origin that are taken from the pushes of one peer; more wait for anti-entropy."""

HEADS_BURST: Final = 32.0

EVIDENCE_PER_SECOND: Final = 1.0
"""Files of one peer that are verified; what is known already costs nothing."""

EVIDENCE_BURST: Final = 16.0

STRANGERS_SHARE: Final = 0.25
"""The budget of all strangers together, as a share of one peer's."""

_REQUESTS: Final = "a refused request"
"""The sender of heads that came with requests; no peer has such a name, with spaces in it."""

_LOGGER: Final = logging.getLogger(__name__)


MAX_WAITING = 16
"""Heads of one sender and log that wait at one time."""


class PushQueue:
    """Pushed heads of one log that wait to be compared: a queue for each sender, served in turn.

    Comparing may need the network. A sender of many heads waits behind itself, and a log that
    serves its tiles slowly delays no other. Senders are peers or all strangers, so their number is
    bounded.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[SignedHead]] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many heads wait."""
        return sum(map(len, self._queues.values()))

    def put(self, sender: str, candidate: SignedHead) -> bool:
        """Adds a head to its sender's queue; False when that is full."""
        queue = self._queues.setdefault(sender, deque())
        if len(queue) >= MAX_WAITING:
            return False
        queue.append(candidate)
        self._some.set()
        return True

    def pop(self) -> SignedHead | None:
        """Takes the next head, sender by sender; None when nothing waits."""
        if not self._queues:
            self._some.clear()
            return None
        sender, queue = next(iter(self._queues.items()))
        del self._queues[sender]
        candidate = queue.popleft()
        if queue:
            self._queues[sender] = queue  # behind the other senders
        return candidate

    async def get(self) -> SignedHead:
        """Takes the next head; waits for one."""
        while (candidate := self.pop()) is None:
            await self._some.wait()
        return candidate


@dataclass(eq=False, kw_only=True)
class PushReceiver:
    """Takes pushed heads and evidence.

    Attributes:
        timer: A monotonic clock, in seconds.
        senders: Tells the peers from strangers.
    """

    shared: Shared
    comparer: Comparer
    timer: InitVar[Callable[[], float]] = monotonic
    senders: Senders = field(init=False)

    def __post_init__(self, timer: Callable[[], float]) -> None:
        self.senders = Senders(self.shared.peers)
        self._queues = {origin: PushQueue() for origin in self.shared.logs}
        share = STRANGERS_SHARE
        self._heads = SenderBudget(HEADS_PER_SECOND, HEADS_BURST, timer)
        self._strange_heads = SenderBudget(HEADS_PER_SECOND * share, HEADS_BURST * share, timer)
        self._evidence = SenderBudget(EVIDENCE_PER_SECOND, EVIDENCE_BURST, timer)
        self._strange_evidence = SenderBudget(
            EVIDENCE_PER_SECOND * share, EVIDENCE_BURST * share, timer
        )

    @property
    def waiting(self) -> int:
        """How many pushed heads wait to be compared."""
        return sum(map(len, self._queues.values()))

    async def run(self) -> None:
        """Compares what was pushed, until cancelled."""
        async with TaskGroup() as group:
            for origin, queue in self._queues.items():
                group.create_task(self._run_queue(queue), name=f"pushed heads {origin}")
            group.create_task(self.senders.run(), name="peer addresses")

    def take_heads(self, body: bytes, address: str) -> int:
        """Takes framed notes, to be compared soon, at the cost of the sender at `address`.

        Gives how many are worth comparing; those known, of other logs or over budget are not.

        Raises:
            FormatError: If the body or a note is malformed, or there are too many.
            Problem: 403 when a note is of a known log but not signed by it; 503 when too many of
                this sender wait.
        """
        notes = unframe(body, "heads", most=MAX_HEADS)
        sender = self.senders.name_of(address)
        taken = 0
        for number, data in enumerate(notes, 1):
            if len(data) > MAX_HEAD_SIZE:
                raise FormatError(f"heads: note {number}: more than {MAX_HEAD_SIZE} bytes")
            taken += self._take(parse_signed_checkpoint(data), number, sender)
        return taken

    def _take(self, signed: SignedCheckpoint, number: int, sender: str) -> bool:
        log = self.shared.logs.get(signed.checkpoint.origin)
        if log is None:
            return False
        frontier = self.comparer.frontier(log.origin)
        if frontier is not None and frontier.signed.checkpoint == signed.checkpoint:
            return False
        heads = self._strange_heads if sender == STRANGERS else self._heads
        if not heads.take((sender, log.origin)):
            return False
        try:
            candidate = authentic(log, signed)
        except MunimentError as error:
            raise Problem(403, "bad-signature", f"heads: note {number}: {error}") from error
        if not self._queues[log.origin].put(sender, candidate):
            raise overloaded("busy", "too many heads are waiting; try again")
        return True

    def add_refused(self, candidate: SignedHead) -> None:
        """Queues the head of a refused request, if there is room and budget."""
        origin = candidate.origin
        if self.shared.tiles(origin) and self._heads.take((_REQUESTS, origin)):
            self._queues[origin].put(_REQUESTS, candidate)

    async def _run_queue(self, queue: PushQueue) -> None:
        while True:
            await self.compare(await queue.get())

    async def compare(self, candidate: SignedHead) -> None:
        """Compares one pushed head."""
        with Contained(candidate.origin) as outcome:
            await self.comparer.observe(candidate, "pushed", self.shared.tiles(candidate.origin))
        if outcome.error:
            event(
                _LOGGER,
                logging.DEBUG,
                "cannot compare a pushed head",
                origin=candidate.origin,
                error=outcome.error,
            )

    async def take_evidence(self, body: bytes, address: str) -> bool:
        """Takes a file of evidence: verified, durable, and on its way to the other peers.

        The sender at `address` pays for it. Gives whether it was new.

        Raises:
            FormatError: If it is malformed.
            VerificationError: If it proves nothing against a log of this witness.
            Problem: 404 when it is about another log, 503 when this sender sends too much.
        """
        evidence = parse_evidence(body)
        if self.shared.observations.knows(evidence):
            return False
        if evidence.origin not in self.shared.logs:
            raise Problem(404, "unknown-origin", "this witness does not know that log")
        if self.shared.suspensions.acknowledged(evidence.origin):
            return False  # may be nothing new, which takes tiles to tell: left to the next round
        sender = self.senders.name_of(address)
        budget = self._strange_evidence if sender == STRANGERS else self._evidence
        if not budget.take((sender,)):
            raise overloaded("busy", "too much evidence at one time; try again", seconds=5)
        return await self.comparer.file(evidence, "pushed") is not None
