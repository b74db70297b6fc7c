"""A witness reads the logs that it knows by itself, and does not wait to be asked.

For each log with a URL: fetch the checkpoint on a jittered period, compare it with the frontier by
tiles that the witness reads and verifies itself, and, where the operator wants it, cosign it by the
same judgement as add-checkpoint. What is cosigned shows at the monitoring endpoint at once.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.note import Verifier
from muniment_witness.config import LogOptions
from muniment_witness.cosign.suspension import Suspensions
from muniment_witness.gossip.advance import HeadAdvancer
from muniment_witness.gossip.announcer import HeadAnnouncer
from muniment_witness.gossip.antientropy import PeerReader
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.jitter import jittered
from muniment_witness.gossip.logstate import LogState
from muniment_witness.gossip.net import Transport, UnreachableError
from muniment_witness.gossip.sources import Sources
from muniment_witness.judge.comparison import Comparison
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import SignedHead, authentic
from muniment_witness.store.heads import CosignedHead, HeadStore

_LOGGER: Final = logging.getLogger(__name__)


class Puller:
    """Reads the logs that have a URL.

    Attributes:
        state: What is known, by origin; those logs alone that have a URL.
    """

    def __init__(
        self,
        *,
        logs: Mapping[str, KnownLog],
        options: Mapping[str, LogOptions],
        own: Sequence[Verifier],
        store: HeadStore,
        comparer: Comparer,
        advancer: HeadAdvancer,
        suspensions: Suspensions,
        sources: Sources,
        peer_reader: PeerReader,
        announcer: HeadAnnouncer,
        transport: Transport,
        clock: Callable[[], int],
    ) -> None:
        """Takes its collaborators.

        Args:
            logs: The known logs by origin.
            options: How each of them is watched, by origin.
            own: This witness's keys.
            store: The heads, for reading.
            comparer: Compares what a log shows.
            advancer: Cosigns it.
            suspensions: Which origins are held back.
            sources: Where tiles may be read.
            peer_reader: Learns which peers cosign a log.
            announcer: Tells of each head that was cosigned.
            transport: The network.
            clock: Gives Unix seconds.
        """
        self._logs = logs
        self._options = options
        self._own = tuple(own)
        self._store = store
        self._comparer = comparer
        self._advancer = advancer
        self._suspensions = suspensions
        self._sources = sources
        self._peer_reader = peer_reader
        self._announcer = announcer
        self._transport = transport
        self._clock = clock
        self.state: Final = {
            origin: LogState() for origin, each in options.items() if each.url is not None
        }

    async def run(self) -> None:
        """Reads all logs until cancelled.

        Raises:
            FatalDatabaseError: If something could not be made durable; the process must end.
        """
        async with asyncio.TaskGroup() as group:
            for origin in self.state:
                group.create_task(self._run(origin), name=f"pull {origin}")

    async def _run(self, origin: str) -> None:
        while True:
            period = self._options[origin].period
            await asyncio.sleep(jittered(period, hurry=origin in self._suspensions.unknown))
            await self.round(origin)

    async def look_for_own(self, origin: str) -> None:
        """Reads the log's checkpoint at the start, to find own cosignatures on it.

        Where nothing was signed yet, as far as the database knows, what it shows is compared, too:
        the first cosignature must not contradict it.
        """
        state = self.state[origin]
        with Contained(origin) as outcome:
            seen, _ = await self._fetch(origin, "")
            if seen is not None and self._suspensions.is_first(
                origin, self._store.head(origin).size
            ):
                await self._observe(origin, state, seen)
        state.error = outcome.error

    async def round(self, origin: str) -> None:
        """Reads one log once.

        Raises:
            FatalDatabaseError: If something could not be made durable; the process must end.
        """
        state = self.state[origin]
        with Contained(origin) as outcome:
            await self._read(origin, state)
        if outcome.error and not state.error:
            event(
                _LOGGER, logging.WARNING, "cannot check a log", origin=origin, error=outcome.error
            )
        state.error = outcome.error

    async def _read(self, origin: str, state: LogState) -> None:
        prefixes = self._sources.tiles(origin)
        if origin in self._suspensions.lost:
            await self._advancer.recover(origin, prefixes)
        # While it is asked what was signed, its answer is compared again each time.
        known = "" if origin in self._suspensions.unknown else state.etag
        seen, etag = await self._fetch(origin, known)
        if seen is None:
            state.reached = self._clock()
            self._note_lag(origin, state)
            return
        state.etag = ""
        finding = await self._observe(origin, state, seen)
        if finding is Comparison.UNRESOLVED:
            return
        if self._options[origin].cosign and finding in {Comparison.SAME, Comparison.EXTENDS}:
            await self._cosign(origin, seen, prefixes)
        state.etag = etag

    async def _fetch(self, origin: str, etag: str) -> tuple[SignedHead | None, str]:
        """Reads a log's checkpoint, and its entity tag; None when it has the given one still."""
        answer = await self._transport.get(f"{self._options[origin].url}/checkpoint", etag=etag)
        if answer.status == 304 and etag:
            return None, etag
        if answer.status != 200:
            if answer.status == 404:
                self._suspensions.note_answer(origin, "log")  # it has published nothing
            raise UnreachableError(f"checkpoint: status {answer.status}")
        signed = parse_signed_checkpoint(answer.body)
        seen = authentic(self._logs[origin], signed)
        self._advancer.note_own_cosignature(seen, signed, self._own)
        self._peer_reader.note_cosigners(origin, signed)
        return seen, answer.etag

    async def _observe(self, origin: str, state: LogState, seen: SignedHead) -> Comparison:
        state.reached = self._clock()
        state.size = seen.head.size
        finding = await self._comparer.observe(seen, "the log", self._sources.tiles(origin))
        state.finding = finding
        self._note_lag(origin, state)
        if finding is not Comparison.UNRESOLVED:
            self._suspensions.note_answer(origin, "log")
        return finding

    def _note_lag(self, origin: str, state: LogState) -> None:
        frontier = self._comparer.frontier(origin)
        if frontier is None or state.size >= frontier.head.size:
            state.behind = 0
        elif not state.behind or state.size >= state.target:
            state.behind, state.target = self._clock(), frontier.head.size

    async def _cosign(self, origin: str, seen: SignedHead, prefixes: Sequence[str]) -> None:
        latest = self._store.latest.get(origin)
        if latest is not None and latest.head.size >= seen.head.size:
            return
        outcome = await self._advancer.cosign(seen, prefixes)
        if isinstance(outcome, CosignedHead):
            self._announcer.announce(origin, outcome.latest)
            self._comparer.reconcile(origin)  # the watched head is the cosigned one now
