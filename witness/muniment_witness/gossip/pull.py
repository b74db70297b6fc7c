"""A witness does not wait to be asked; it reads the logs that it knows by itself.

For each log with a URL: fetch the checkpoint on a jittered period, compare it with the frontier by
tiles that the witness reads and verifies itself, and, where the operator wants it, cosign it by the
same judgement as add-checkpoint. What is cosigned shows at the monitoring endpoint at once.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.note import Verifier
from muniment_witness.config import LogOptions
from muniment_witness.gossip.advance import Mover
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.net import Transport, UnreachableError
from muniment_witness.gossip.sources import Sources
from muniment_witness.judge.comparison import Comparison
from muniment_witness.judge.decide import Log
from muniment_witness.judge.relation import Seen, authentic
from muniment_witness.judge.suspension import Holds
from muniment_witness.store.heads import Cosigned, Store

_LOGGER: Final = logging.getLogger(__name__)


HURRY_SECONDS: Final = 2.0
"""Longest pause while a log waits for what is asked: nothing is signed for it meanwhile."""


def jittered(period: float, *, hurry: bool = False) -> float:
    """A pause in seconds of at most a period; witnesses started together drift apart."""
    if hurry:
        period = min(period, HURRY_SECONDS)
    return period * random.uniform(0.6, 1.0)  # noqa: S311  # spreads load; no secret


@dataclass(slots=True)
class Pulled:
    """What is known of reading one log.

    Attributes:
        reached: When it last gave a checkpoint that its key signed, Unix seconds; 0 for never.
        error: Why the last attempt failed; empty when it did not.
        size: Size of the checkpoint that it last gave.
        finding: What came of comparing that; empty before the first.
        behind: Since when it has not shown `target`, Unix seconds; 0 when it shows all we know.
        target: A size that we knew of, larger than what it showed.
        etag: Entity tag of the checkpoint that was dealt with.
    """

    reached: int = 0
    error: str = ""
    size: int = 0
    finding: str = ""
    behind: int = 0
    target: int = 0
    etag: str = ""


class Puller:
    """Reads the logs that have a URL.

    Attributes:
        state: What is known, by origin; those logs alone that have a URL.
        moved: Called with the origin and the result when a pulled head was cosigned.
        shown: Called with the origin and each checkpoint that a log shows.
    """

    def __init__(
        self,
        logs: Mapping[str, Log],
        options: Mapping[str, LogOptions],
        own: Sequence[Verifier],
        store: Store,
        comparer: Comparer,
        mover: Mover,
        holds: Holds,
        sources: Sources,
        transport: Transport,
        clock: Callable[[], int],
    ) -> None:
        """Takes what it needs; `own` are this witness's keys, `clock` gives Unix seconds."""
        self._logs = logs
        self._options = options
        self._own = tuple(own)
        self._store = store
        self._comparer = comparer
        self._mover = mover
        self._holds = holds
        self._sources = sources
        self._transport = transport
        self._clock = clock
        self.state: Final = {
            origin: Pulled() for origin, each in options.items() if each.url is not None
        }
        self.moved: Callable[[str, Cosigned], object] = lambda _, __: None
        self.shown: Callable[[str, SignedCheckpoint], object] = lambda _, __: None

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
            await asyncio.sleep(jittered(period, hurry=origin in self._holds.lacking))
            await self.round(origin)

    async def look(self, origin: str) -> None:
        """At the start: reads the log's checkpoint to find own cosignatures on it.

        Where nothing was signed yet, as far as the database knows, what it shows is compared, too:
        the first cosignature must not contradict it.
        """
        state = self.state[origin]
        with Contained(origin) as outcome:
            seen, _ = await self._fetch(origin, "")
            if seen is not None and self._holds.is_first(origin, self._store.head(origin).size):
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

    async def _read(self, origin: str, state: Pulled) -> None:
        prefixes = self._sources.tiles(origin)
        if origin in self._holds.ahead:
            await self._mover.take_back(origin, prefixes)
        # While it is asked what was signed, its answer is compared again each time.
        known = "" if origin in self._holds.lacking else state.etag
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

    async def _fetch(self, origin: str, etag: str) -> tuple[Seen | None, str]:
        """Reads a log's checkpoint, and its entity tag; None when it has the given one still."""
        answer = await self._transport.get(f"{self._options[origin].url}/checkpoint", etag=etag)
        if answer.status == 304 and etag:
            return None, etag
        if answer.status != 200:
            if answer.status == 404:
                self._holds.heard(origin, "log")  # it has published nothing
            raise UnreachableError(f"checkpoint: status {answer.status}")
        signed = parse_signed_checkpoint(answer.body)
        seen = authentic(self._logs[origin], signed)
        self._mover.notice_own(seen, signed, self._own)
        self.shown(origin, signed)
        return seen, answer.etag

    async def _observe(self, origin: str, state: Pulled, seen: Seen) -> Comparison:
        state.reached = self._clock()
        state.size = seen.head.size
        finding = await self._comparer.observe(seen, "the log", self._sources.tiles(origin))
        state.finding = finding
        self._note_lag(origin, state)
        if finding is not Comparison.UNRESOLVED:
            self._holds.heard(origin, "log")
        return finding

    def _note_lag(self, origin: str, state: Pulled) -> None:
        frontier = self._comparer.frontier(origin)
        if frontier is None or state.size >= frontier.head.size:
            state.behind = 0
        elif not state.behind or state.size >= state.target:
            state.behind, state.target = self._clock(), frontier.head.size

    async def _cosign(self, origin: str, seen: Seen, prefixes: Sequence[str]) -> None:
        latest = self._store.latest.get(origin)
        if latest is not None and latest.head.size >= seen.head.size:
            return
        outcome = await self._mover.cosign(seen, prefixes)
        if isinstance(outcome, Cosigned):
            self.moved(origin, outcome)
            self._comparer.reconcile(origin)  # the watched head is the cosigned one now
