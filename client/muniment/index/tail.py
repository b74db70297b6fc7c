"""The newest leaves of a log, as they come, verified without a replica of all the others.

Each checkpoint is verified by the policy and has to extend the one before (`audit.trust`); the
entry bundles that are read are authenticated up to its root (`tlog.treereader`). So what is shown
is in the tree that a quorum has cosigned; that of the leaves before nothing is known is the price
of not reading them.
"""

from typing import Final, NamedTuple

from muniment.audit.trust import TrustState
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.index.httpsource import HttpSource
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.tlog.heads import Relation
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, check_bundle, tile_at

BUNDLES: Final = 16
"""Entry bundles read at a time, of what has come since the last look."""


class LeafRun(NamedTuple):
    """Leaves side by side, from index `first` on; none when there are no new ones."""

    first: int
    data: list[bytes]


class LogTail:
    """The leaves of a log over HTTP, from so many before its head on."""

    def __init__(self, client: LogClient, policy: Policy, origin: str | None, *, last: int) -> None:
        """Takes an open client; begins `last` leaves before the first head that it sees."""
        self._client = client
        self._source = HttpSource(client, policy, origin)
        self._last = last
        self._trust: TrustState | None = None
        self._head: CosignedCheckpoint | None = None
        self._next = 0

    async def news(self) -> LeafRun:
        """The next leaves, a bounded number of them.

        Raises:
            Unreachable, Refused: If the log cannot be reached.
            VerificationError, FormatError, BadAnswer: If what it says cannot be verified.
            StaleCheckpoint: If it shows an older checkpoint than before.
            ProvenMisbehaviour: If its own signatures prove that it has two histories.
        """
        if self._head is None or self._next == self._head.size:
            await self._look()
        head = self._head
        if head is None or self._next == head.size:
            return LeafRun(self._next, [])
        first = self._next // TILE_WIDTH
        end = min(-(-head.size // TILE_WIDTH), first + BUNDLES)
        wanted = [tile_at(ENTRIES, number, head.size) for number in range(first, end)]
        found = await log_tiles(self._client, head.head).read(wanted)
        leaves = [leaf for tile in wanted for leaf in check_bundle(tile, found[tile])]
        begin, self._next = self._next, wanted[-1].end
        return LeafRun(begin, leaves[begin - first * TILE_WIDTH :])

    async def _look(self) -> None:
        new = await self._source.head()
        if self._trust is None:
            self._trust = TrustState.on_first_use(new)
            self._next = max(0, new.size - self._last)
        elif self._trust.relate(new) is not Relation.SAME:
            prefix = await self._source.prefix(self._trust.size, new.head)
            self._trust = self._trust.accept(new, prefix.proof, implied_root=prefix.root)
        self._head = new


class ReplicaTail:
    """The leaves of a replica that somebody's follower keeps, from so many before its head on."""

    def __init__(self, reader: IndexReader, *, last: int) -> None:
        """Takes an open reader."""
        self._reader = reader
        self._last = last
        self._next = -1

    async def news(self) -> LeafRun:
        """The next leaves; raises DatabaseError and FactsError if the replica cannot be read."""
        size = ReplicaFacts(self._reader).head.size
        if self._next < 0:
            self._next = max(0, size - self._last)
        end = min(size, self._next + BUNDLES * TILE_WIDTH)
        first, self._next = self._next, max(self._next, end)
        return LeafRun(first, list(self._reader.leaves(range(first, end)).values()))
