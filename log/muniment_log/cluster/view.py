"""The log as any process of a cluster sees it: by polling the database.

Integration and publication happen in another process. One small query says how far both are, and
who does it; the checkpoint itself is read only when it is a new one. Polling is slow while nobody
waits, and as fast as an exchange with a witness while somebody does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgspec

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.heads import Head
from muniment.tlog.merkle import EMPTY_ROOT
from muniment_log.errors import StorageError, UnavailableError, WrongIdentityError
from muniment_log.publish.published import HeadWaiters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from muniment_log.cluster.database import Database
    from muniment_log.cluster.metrics import ClusterMetrics
    from muniment_log.metrics import LogMetrics

POLL_SECONDS: Final = 0.2
"""How often to look while nobody waits."""

URGENT_SECONDS: Final = 0.004
"""How often to look while somebody waits for publication."""

CLOSED_BYTES: Final = 1 << 62
"""Backlog that the coordinator's row states while a log is copied: no limit is so large, so every
frontend answers 503."""

FIRST_SECONDS: Final = 5.0
"""How long the first records of all wait for an integrator to say that the log may be empty."""

NOBODY_HEARD: Final = (
    "this log is empty, and no integrator has compared that with the bucket and the witnesses yet: "
    "is one running?"
)

_LOGGER: Final = logging.getLogger(__name__)

_LOOK: Final = """
SELECT tree.size, tree.root, lease.until > now() AS held, lease.status, lease.epoch, lease.holder,
    coordinator.next, coordinator.bytes, head.version, head.note,
    extract(epoch FROM head.stored)::float8 AS stored
FROM tree JOIN lease ON lease.id = 0 JOIN coordinator ON coordinator.id = 0
LEFT JOIN head ON head.kind = 'published' AND head.version > $1
WHERE tree.id = 0
"""


RESOLUTION_SECONDS: Final = 0.1
"""Looks closer to each other than this count as one."""

MAX_LOOKS: Final = 2048
"""Looks remembered: a backlog of minutes at full resolution; then pairs of them become one."""


class Lag:
    """Remembers looks at the order, as far as they are not integrated.

    Entries carry no times: an index on them would cost every order something. Whoever looks
    regularly knows when it first saw an index given out, and so how long the oldest leaf that is
    not yet in the tree has waited at least, or since it began to look.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # when, and up to which leaf

    def __len__(self) -> int:
        return len(self._seen)

    def look(self, now: float, ordered: int, integrated: int) -> float:
        """Takes a look, and says for how many seconds the oldest leaf outside the tree has waited.

        0 when everything is in the tree. Too much by the time between two looks, or by the
        resolution, and for a long backlog by more. `now` is of a clock that never goes back.
        """
        seen = self._seen
        while seen and seen[0][1] <= integrated:
            seen.popleft()
        if ordered > (seen[-1][1] if seen else integrated):
            if seen and now - seen[-1][0] < RESOLUTION_SECONDS:
                seen[-1] = seen[-1][0], ordered
            else:
                seen.append((now, ordered))
        if len(seen) > MAX_LOOKS:
            looks = list(seen)
            # The earlier time with the later leaf: never less than is true.
            merged = [(a[0], b[1]) for a, b in zip(looks[::2], looks[1::2], strict=False)]
            self._seen = seen = deque([*merged, *looks[2 * len(merged) :]])
        return now - seen[0][0] if seen else 0.0


class IntegratorStatus(msgspec.Struct, frozen=True):
    """What the integrator tells the frontends with each renewal of its lease.

    Attributes:
        stalled: whether a head waits for a quorum that does not come.
        witnesses: each witness, see `Publisher.witnesses`.
        doubt: why no records are to be taken, see `Publisher.doubt`.
        heard: whether the database, the bucket and the witnesses contradict nothing, so that an
            empty log may take its first records.
    """

    stalled: bool = False
    witnesses: list[dict[str, Any]] = []
    doubt: str = ""
    heard: bool = False


class PublishedView:
    """A `PublishedHead` that follows the database; belongs to one event loop.

    Attributes:
        integrated: the integrated head.
        ordered: leaves that have an index.
        waiting_bytes: of those that are not in the tree, or from `CLOSED_BYTES` on.
        lag: seconds that the oldest leaf outside the tree has waited; see `Lag`.
        is_led: whether some integrator holds the lease.
        epoch: of the lease.
        holder: who holds it; empty when nobody does, also where the last one ended without giving
            it back.
        published_time: when the published checkpoint was stored, Unix seconds by the database's
            clock; None before the first.
        is_blind: whether the last look failed, and all of this is older.
    """

    def __init__(
        self,
        database: Database,
        metrics: LogMetrics,
        cluster_metrics: ClusterMetrics,
        keep: Callable[[], Awaitable[None]],
    ) -> None:
        """Takes the database; `look` once before anything is asked.

        `keep` is called when the epoch has changed, as it does with the log's keys: it raises
        `WrongIdentityError` when this process may not go on.
        """
        self.integrated = Head(0, b"")
        self.ordered = self.waiting_bytes = 0
        self.lag = 0.0
        self.is_led = False
        self.epoch = 0
        self.holder = ""
        self.published_time: float | None = None
        self.is_blind = False
        self._database = database
        self._metrics = metrics
        self._cluster_metrics = cluster_metrics
        self._lag = Lag()
        self._keep = keep
        self._version = 0
        self._status = IntegratorStatus()
        self._interested = 0
        self._urgent = asyncio.Event()
        self._looked = asyncio.Event()
        self._until = monotonic() + FIRST_SECONDS
        self._waiting = HeadWaiters()

    @property
    def published(self) -> SignedCheckpoint | None:
        """The published checkpoint; None before the first."""
        return self._waiting.newest

    @property
    def is_stalled(self) -> bool:
        """Whether a head waits for a quorum that does not come; nobody waits while nobody leads."""
        return self.is_led and self._status.stalled

    @property
    def doubt(self) -> str:
        """Why no records are taken; an empty log has some time to hear that it may be empty."""
        late = monotonic() >= self._until
        return self._refusal if late or not self._is_unheard else ""

    @property
    def _refusal(self) -> str:
        doubt = self._status.doubt if self.is_led else ""
        return doubt or (NOBODY_HEARD if self._is_unheard else "")

    @property
    def _is_unheard(self) -> bool:
        """Whether the log is empty, and no integrator has said that it may be."""
        # While a log is being copied into the cluster nothing is taken anyway.
        is_empty = self.ordered == 0 and self.waiting_bytes < CLOSED_BYTES
        return is_empty and not (self.is_led and self._status.heard)

    async def cleared(self) -> None:
        """Waits until it is known whether records may be taken; most of the time at once.

        Raises UnavailableError if witnesses know more than the log, as the integrator last told; or
        the log is empty, and no integrator has told yet that it may be.
        """
        if self._is_unheard:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    while self._is_unheard:
                        self._looked.clear()
                        await self._looked.wait()
        if refusal := self._refusal:
            raise UnavailableError(refusal)

    @property
    def witnesses(self) -> Sequence[dict[str, Any]]:
        """Each witness, as the integrator last told."""
        return self._status.witnesses

    @property
    def tree(self) -> Head:
        """The published tree; the empty one before the first."""
        return Head(0, EMPTY_ROOT) if self.published is None else self.published.checkpoint.head

    @contextmanager
    def interest(self) -> Iterator[None]:
        """Somebody will wait for the head of what is submitted inside."""
        yield

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is published; see `PublishedHead.wait`."""
        self._interested += 1
        self._urgent.set()
        try:
            return await self._waiting.wait(size, seconds)
        finally:
            self._interested -= 1

    async def settled(self) -> None:
        """Returns: nobody is told of a head before it is stored; see `PublishedHead`."""

    async def look(self) -> None:
        """Reads the state once.

        Raises:
            WrongIdentityError: this process has a key that is not the log's any more.
            UnavailableError, StorageError: the database cannot be used.
        """
        row = await self._database.read(
            lambda db: db.fetchrow(_LOOK, self._version), "reading the published head"
        )
        if row is None:
            raise StorageError("the database has lost its tree state")
        if row["epoch"] != self.epoch:
            await self._keep()
        self.integrated = Head(row["size"], row["root"])
        self.ordered, self.waiting_bytes = row["next"], row["bytes"]
        self.is_led, self.epoch = row["held"], row["epoch"]
        self.holder = row["holder"] if self.is_led else ""
        self.lag = self._lag.look(monotonic(), self.ordered, self.integrated.size)
        self._status = _status(row)
        self._metrics.integrated(row["size"])
        self._metrics.stalled.set(self.is_stalled)
        self._show()
        if row["note"] is not None:
            self._version = row["version"]
            self.published_time = row["stored"]
            self._cluster_metrics.published_time.set(row["stored"])
            published = parse_signed_checkpoint(row["note"])
            self._metrics.published(published.checkpoint.size)
            self._waiting.tell(published)
        self._looked.set()

    def _show(self) -> None:
        cluster_metrics = self._cluster_metrics
        cluster_metrics.led.set(self.is_led)
        cluster_metrics.epoch.set(self.epoch)
        cluster_metrics.ordered.set(self.ordered)
        cluster_metrics.lag_leaves.set(max(0, self.ordered - self.integrated.size))
        cluster_metrics.lag_seconds.set(self.lag)

    async def run(self) -> None:
        """Follows the database, until cancelled.

        Raises WrongIdentityError as `look` does; the process must end.
        """
        try:
            while True:
                self._urgent.clear()
                with Contained("PostgreSQL", (WrongIdentityError,)) as outcome:
                    await self.look()
                if outcome.error and not self.is_blind:
                    event(_LOGGER, logging.WARNING, "cannot see the head", error=outcome.error)
                self.is_blind = bool(outcome.error)
                self._cluster_metrics.blind.set(self.is_blind)
                if self._interested and not self.is_blind:
                    await asyncio.sleep(URGENT_SECONDS)
                    continue
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._urgent.wait()
                except TimeoutError:
                    pass
        finally:
            self._waiting.stop()


def _status(row: Mapping[str, Any]) -> IntegratorStatus:
    try:
        return msgspec.json.decode(row["status"] or b"{}", type=IntegratorStatus)
    except msgspec.DecodeError as error:
        raise StorageError(f"the integrator's status is damaged: {error}") from error
