"""C2SP tlog-witness, "add-checkpoint": the one place where heads move, one group at a time.

Checking the old size and persisting the new checkpoint must be one atomic step. Here a single task
takes all requests that wait, judges them in order against heads that it alone moves (a request
sees the effect of the one before it), and commits those accepted in one transaction. What arrives
meanwhile is the next group: the more load, the more requests share one sync.

Nothing is answered before the commit, not even a refusal: a 409 tells a size, and must not tell
one that a crash could take back.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from muniment.local.logs import event
from muniment.local.sqlitefile import FatalDatabaseError
from muniment.tlog.heads import Head
from muniment.tlog.note import SignatureLine, Signer
from muniment_service.http import overloaded
from muniment_witness.judge.decide import Acceptance, Authentic, Refusal, advance
from muniment_witness.store.heads import CosignedHead, HeadStore

MAX_WAITING: Final = 1024
"""Requests that may wait for a commit; a second's worth. More are told to come back."""

MAX_GROUP: Final = 64
"""Requests in one transaction; bounds the time one commit takes (about 60 ms with ML-DSA-44)."""

_LOGGER: Final = logging.getLogger(__name__)

SuspensionCheck = Callable[[str], Refusal | None]
"""Gives the reason why nothing is signed for an origin at present; None without one."""


class _OwnCosignatures(NamedTuple):
    """Cosignatures that this witness made, and their time in Unix seconds."""

    lines: tuple[SignatureLine, ...]
    time: int


class _QueuedRequest(NamedTuple):
    request: Authentic
    own: _OwnCosignatures | None
    is_free: bool
    future: "asyncio.Future[CosignedHead | Refusal]"


class Cosigner:
    """Takes authentic requests in order, and cosigns those that may move their head.

    `run` must be running, in a task group that ends the process when it fails.
    """

    def __init__(
        self,
        store: HeadStore,
        signers: Sequence[Signer],
        clock: Callable[[], int],
        held: SuspensionCheck = lambda _: None,
    ) -> None:
        """Takes the store over: nobody else may commit to it.

        There is at least one signer; the clock gives Unix seconds. `held` says which origins are
        suspended, and why; it is asked for each request in its turn.
        """
        self._store = store
        self._held = held
        self._signers = tuple(signers)
        self._clock = clock
        self._waiting: deque[_QueuedRequest] = deque()
        self._wake = asyncio.Event()
        self._failed: FatalDatabaseError | None = None
        self._clock_alarm = False

    def obey(self, held: SuspensionCheck) -> None:
        """Follows other suspensions, from the next request on."""
        self._held = held

    async def add_checkpoint(self, request: Authentic) -> CosignedHead | Refusal:
        """Judges a request after those before it; returns when the outcome is durable.

        Raises:
            Problem: 503, when too many wait.
            FatalDatabaseError: If the outcome could not be made durable; the process is ending.
        """
        return await self._ask(request, None)

    async def add_while_suspended(self, request: Authentic) -> CosignedHead | Refusal:
        """Does as `add_checkpoint`, also while the origin is suspended, to end that."""
        return await self._ask(request, None, is_free=True)

    async def recover(
        self, request: Authentic, lines: tuple[SignatureLine, ...], time: int
    ) -> CosignedHead | Refusal:
        """Makes a head the latest one that this witness signed before its database was restored.

        That is how a restored database catches up: by the same rules and the same guard, also while
        the origin is suspended, and without a signature. The request has the proof from the latest
        recorded head; the caller has verified the cosignature lines, of `time` in Unix seconds.
        """
        return await self._ask(request, _OwnCosignatures(lines, time))

    async def _ask(
        self, request: Authentic, own: _OwnCosignatures | None, *, is_free: bool = False
    ) -> CosignedHead | Refusal:
        if self._failed is not None:
            raise self._failed
        if len(self._waiting) >= MAX_WAITING:
            raise overloaded("busy", "too many checkpoints are waiting; try again")
        future: asyncio.Future[CosignedHead | Refusal] = asyncio.get_running_loop().create_future()
        self._waiting.append(_QueuedRequest(request, own, is_free, future))
        self._wake.set()
        return await future

    @property
    def clock_is_behind(self) -> bool:
        """Whether the clock is behind the newest cosignature, so that nothing can be signed."""
        return self._clock() < max(self._store.signed, 1)

    async def run(self) -> None:
        """Works until cancelled.

        Raises FatalDatabaseError if a commit failed. All who wait have been told.
        """
        while True:
            await self._wake.wait()
            count = min(len(self._waiting), MAX_GROUP)
            group = [self._waiting.popleft() for _ in range(count)]
            if not self._waiting:
                self._wake.clear()
            try:
                await self._commit(group)
            except Exception as error:
                # Whatever it was: the process ends, and nobody may wait for it in vain.
                self._failed = FatalDatabaseError(f"not committed: {error}")
                for waiting in (*group, *self._waiting):
                    if not waiting.future.done():
                        waiting.future.set_exception(self._failed)
                self._waiting.clear()
                raise

    async def _commit(self, group: Sequence[_QueuedRequest]) -> None:
        now = self._clock()
        heads: dict[str, Head] = {}
        outcomes: list[Acceptance | Refusal] = []
        for waiting in group:
            origin = waiting.request.checkpoint.origin
            head = heads.get(origin) or self._store.head(origin)
            outcome = self._judge(head, waiting, now)
            if isinstance(outcome, Acceptance):
                heads[origin] = outcome.head
            outcomes.append(outcome)
        self._watch_clock(now)
        accepted = [outcome for outcome in outcomes if isinstance(outcome, Acceptance)]
        cosigned = iter(await self._store.commit(accepted, self._sign) if accepted else [])
        for waiting, outcome in zip(group, outcomes, strict=True):
            result = outcome if isinstance(outcome, Refusal) else next(cosigned)
            future = waiting.future
            if not future.done():  # else its client has gone; the head has moved all the same
                future.set_result(result)

    def _judge(self, head: Head, waiting: _QueuedRequest, now: int) -> Acceptance | Refusal:
        request, own = waiting.request, waiting.own
        origin = request.checkpoint.origin
        if own is None:
            held = None if waiting.is_free else self._held(origin)
            return held or advance(head, self._store.signed, request, now)
        latest = self._store.latest.get(origin)
        outcome = advance(head, latest.time if latest else 0, request, own.time)
        return outcome if isinstance(outcome, Refusal) else replace(outcome, lines=own.lines)

    def _sign(self, accepted: Acceptance) -> tuple[SignatureLine, ...]:
        if accepted.lines:
            return accepted.lines
        text = accepted.request.note.text
        return tuple(signer.sign(text, accepted.now) for signer in self._signers)

    def _watch_clock(self, now: int) -> None:
        behind = now < self._store.signed
        if behind and not self._clock_alarm:
            event(
                _LOGGER,
                logging.ERROR,
                "the clock is behind the newest cosignature; nothing is signed until it catches up",
                now=now,
                signed=self._store.signed,
            )
        self._clock_alarm = behind
