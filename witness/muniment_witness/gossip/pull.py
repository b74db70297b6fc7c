"""A witness reads the logs that it knows by itself, and does not wait to be asked.

For each log with a URL: fetch the checkpoint on a jittered period, compare it with the frontier by
tiles that the witness reads and verifies itself, and, where the operator wants it, cosign it by the
same judgement as add-checkpoint. What is cosigned shows at the monitoring endpoint at once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.taskgroup import TaskGroup
from muniment.tlog import sumdb
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment_witness.gossip.advance import HeadAdvancer
from muniment_witness.gossip.announcer import HeadAnnouncer
from muniment_witness.gossip.antientropy import PeerReader
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.jitter import jittered
from muniment_witness.gossip.logstate import LogState
from muniment_witness.gossip.net import UnreachableError, get_first
from muniment_witness.gossip.shared import Shared
from muniment_witness.judge.comparison import Comparison
from muniment_witness.judge.relation import SignedHead, authentic
from muniment_witness.store.heads import CosignedHead

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class Puller:
    """Reads the logs that have a URL.

    Attributes:
        state: What is known, by origin; those logs alone that have a URL.
    """

    shared: Shared
    comparer: Comparer
    advancer: HeadAdvancer
    peer_reader: PeerReader
    announcer: HeadAnnouncer
    state: dict[str, LogState] = field(init=False)

    def __post_init__(self) -> None:
        self.state = {
            origin: LogState()
            for origin, each in self.shared.options.items()
            if each.url is not None
        }

    async def run(self) -> None:
        """Reads all logs until cancelled."""
        async with TaskGroup() as group:
            for origin in self.state:
                group.create_task(self._run(origin), name=f"pull {origin}")

    async def _run(self, origin: str) -> None:
        while True:
            period = self.shared.options[origin].period
            await asyncio.sleep(jittered(period, hurry=origin in self.shared.suspensions.unknown))
            await self.round(origin)

    async def look_for_own(self, origin: str) -> None:
        """Reads the log's checkpoint at the start, to find own cosignatures on it.

        Where nothing was signed yet, as far as the database knows, what it shows is compared, too:
        the first cosignature must not contradict it.
        """
        state = self.state[origin]
        with Contained(origin) as outcome:
            candidate, _ = await self._fetch(origin, "")
            if candidate is not None and self.shared.suspensions.is_first(
                origin, self.shared.store.head(origin).size
            ):
                await self._observe(origin, state, candidate)
        state.error = outcome.error

    async def round(self, origin: str) -> None:
        """Reads one log once."""
        state = self.state[origin]
        with Contained(origin) as outcome:
            await self._read(origin, state)
        if outcome.error and not state.error:
            event(
                _LOGGER, logging.WARNING, "cannot check a log", origin=origin, error=outcome.error
            )
        state.error = outcome.error

    async def _read(self, origin: str, state: LogState) -> None:
        prefixes = self.shared.tiles(origin)
        if origin in self.shared.suspensions.lost:
            await self.advancer.recover(origin, prefixes)
        # While it is asked what was signed, its answer is compared again each time.
        known = "" if origin in self.shared.suspensions.unknown else state.etag
        candidate, etag = await self._fetch(origin, known)
        if candidate is None:
            state.reached = self.shared.clock()
            self._note_lag(origin, state)
            return
        state.etag = ""
        finding = await self._observe(origin, state, candidate)
        if finding is Comparison.UNRESOLVED:
            return
        if self.shared.options[origin].cosign and finding in {Comparison.SAME, Comparison.EXTENDS}:
            await self._cosign(origin, candidate, prefixes)
        state.etag = etag

    async def _fetch(self, origin: str, etag: str) -> tuple[SignedHead | None, str]:
        """Reads a log's checkpoint, and its entity tag; None when it has the given one still."""
        url, paths = self.shared.options[origin].url or "", sumdb.checkpoint_paths(origin)
        answer = await get_first(self.shared.transport, url, paths, etag=etag)
        if answer.status == 304 and etag:
            return None, etag
        if answer.status != 200:
            if answer.status == 404:
                self.shared.suspensions.note_answer(origin, "log")  # it has published nothing
            raise UnreachableError(f"checkpoint: status {answer.status}")
        signed = parse_signed_checkpoint(answer.body)
        candidate = authentic(self.shared.logs[origin], signed)
        self.advancer.note_own_cosignature(candidate, signed)
        self.peer_reader.note_cosigners(origin, signed)
        return candidate, answer.etag

    async def _observe(self, origin: str, state: LogState, candidate: SignedHead) -> Comparison:
        state.reached = self.shared.clock()
        state.size = candidate.size
        finding = await self.comparer.observe(candidate, "the log", self.shared.tiles(origin))
        state.finding = finding
        self._note_lag(origin, state)
        if finding is not Comparison.UNRESOLVED:
            self.shared.suspensions.note_answer(origin, "log")
        return finding

    def _note_lag(self, origin: str, state: LogState) -> None:
        frontier = self.comparer.frontier(origin)
        if frontier is None or state.size >= frontier.size:
            state.behind = 0
        elif not state.behind or state.size >= state.target:
            state.behind, state.target = self.shared.clock(), frontier.size

    async def _cosign(self, origin: str, candidate: SignedHead, prefixes: Sequence[str]) -> None:
        latest = self.shared.store.latest.get(origin)
        if latest is not None and latest.head.size >= candidate.size:
            return
        outcome = await self.advancer.cosign(candidate, prefixes)
        if isinstance(outcome, CosignedHead):
            self.announcer.announce(origin, outcome.latest)
            self.comparer.reconcile(origin)  # the watched head is the cosigned one now
