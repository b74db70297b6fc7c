"""Design section 5: a witness does not wait to be asked; it reads the logs that it knows by itself.

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

from muniment.formats.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.formats.encoding import MunimentError
from muniment.formats.note import Verifier
from muniment.service.database import FatalDatabaseError
from muniment.service.logging import event
from muniment_witness.comparer import Comparer, Finding
from muniment_witness.config import LogOptions
from muniment_witness.decide import Log
from muniment_witness.holds import Holds
from muniment_witness.mover import Mover
from muniment_witness.net import Transport, UnreachableError
from muniment_witness.seen import Seen, authentic
from muniment_witness.sources import Sources
from muniment_witness.store import Cosigned, Store

_LOGGER: Final = logging.getLogger(__name__)


def jittered(period: float) -> float:
    """A pause in seconds of at most a period; witnesses started together drift apart."""
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
            await asyncio.sleep(jittered(self._options[origin].period))
            await self.round(origin)

    async def look(self, origin: str) -> None:
        """At the start: reads the log's checkpoint only to find own cosignatures on it."""
        try:
            answer = await self._transport.get(f"{self._options[origin].url}/checkpoint")
            if answer.status == 200:
                self._authentic(origin, parse_signed_checkpoint(answer.body))
            self._heard(origin, answer.status)
        except MunimentError as error:
            self.state[origin].error = str(error)

    async def round(self, origin: str) -> None:
        """Reads one log once.

        Raises:
            FatalDatabaseError: If something could not be made durable; the process must end.
        """
        state = self.state[origin]
        try:
            await self._read(origin, state)
        except FatalDatabaseError:
            raise
        except MunimentError as error:
            if not state.error:
                event(
                    _LOGGER, logging.WARNING, "cannot check a log", origin=origin, error=str(error)
                )
            state.error = str(error)
        else:
            state.error = ""

    async def _read(self, origin: str, state: Pulled) -> None:
        prefixes = self._sources.tiles(origin)
        if origin in self._holds.ahead:
            await self._mover.take_back(origin, prefixes)
        answer = await self._transport.get(
            f"{self._options[origin].url}/checkpoint", etag=state.etag
        )
        if answer.status == 304 and state.etag:
            state.reached = self._clock()
            self._note_lag(origin, state)
            return
        if answer.status != 200:
            self._heard(origin, answer.status)
            raise UnreachableError(f"checkpoint: status {answer.status}")
        seen = self._authentic(origin, parse_signed_checkpoint(answer.body))
        self._heard(origin, answer.status)
        state.reached = self._clock()
        state.size = seen.head.size
        state.etag = ""
        finding = await self._comparer.observe(seen, "the log", prefixes)
        state.finding = finding
        self._note_lag(origin, state)
        if finding is Finding.UNRESOLVED:
            return
        if self._options[origin].cosign and finding in {Finding.SAME, Finding.EXTENDS}:
            await self._cosign(origin, seen, prefixes)
        state.etag = answer.etag

    def _note_lag(self, origin: str, state: Pulled) -> None:
        frontier = self._comparer.frontier(origin)
        if frontier is None or state.size >= frontier.head.size:
            state.behind = 0
        elif not state.behind or state.size >= state.target:
            state.behind, state.target = self._clock(), frontier.head.size

    def _heard(self, origin: str, status: int) -> None:
        if status in {200, 404}:
            self._holds.heard(origin, "log")

    def _authentic(self, origin: str, signed: SignedCheckpoint) -> Seen:
        seen = authentic(self._logs[origin], signed)
        self._mover.notice_own(seen, signed, self._own)
        return seen

    async def _cosign(self, origin: str, seen: Seen, prefixes: Sequence[str]) -> None:
        latest = self._store.latest.get(origin)
        if latest is not None and latest.head.size >= seen.head.size:
            return
        outcome = await self._mover.cosign(seen, prefixes)
        if isinstance(outcome, Cosigned):
            self.moved(origin, outcome)
            self._comparer.frontier(origin)  # the watched head is the cosigned one now
