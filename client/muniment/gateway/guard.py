"""The last gate before a run: verify its permit on facts that are held here.

A guard reads a verified replica (``muniment follow``), so lineage and revocations are those of the
log itself and not what the log answers. A permit is judged only once the replica has reached it:
the guard waits for that, not for ever, and denies when it does not come about.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from muniment.errors import Denied
from muniment.gateway.authorization import denial_of_verdict
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.permit import Context, Permit, Trust, Verdict, verify_permit
from muniment.tlog.encoding import MunimentError

CATCH_UP: Final = 10.0
"""Seconds that a replica may take to reach a permit: followers look for news every second."""

LOOKING: Final = 30.0
"""Seconds that one look at a replica may take; a trace reads many records."""

_IN_LOOP: Final = (
    "check_blocking was called in a running event loop, which it would stop: await check() there, "
    "or call it in another thread (asyncio.to_thread)"
)

_LOOK: Final = 0.02
"""Seconds between two looks at a replica that has not reached a permit."""


class Guard:
    """Verifies permits for one runtime.

    When ``trust`` names no gateways, those count that the replica keeps (``muniment follow
    --gateway``). Without a replica a permit is judged without facts on lineage and revocations,
    which ``trust`` has to allow. ``catch_up`` is how many seconds it may take to reach a permit, by
    a ``clock`` that never goes back.
    """

    def __init__(
        self,
        trust: Trust,
        replica: Path | str | None = None,
        *,
        catch_up: float = CATCH_UP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trust = trust
        self.replica = None if replica is None else Path(replica)
        self._catch_up = catch_up
        self._clock = clock
        self._is_accepted = False  # the replica, by the policy: once, as only its follower writes

    async def verdict(self, permit: Permit, context: Context) -> Verdict:
        """Judges a permit; takes the facts of ``context`` from the replica."""
        if self.replica is None:
            return verify_permit(permit, context, self.trust)
        deadline = self._clock() + self._catch_up
        while True:
            late = self._clock() >= deadline
            # Reading a file is blocking work, and a trace reads many records.
            work = asyncio.to_thread(self._judge, permit, context, self.replica, late=late)
            looking = asyncio.create_task(work)
            try:
                await asyncio.wait({looking}, timeout=LOOKING)
            finally:
                looking.cancel()  # it is over, or nobody waits for it
            if not looking.done() or looking.cancelled():
                raise self._no_answer(permit)
            found = looking.result()
            if found is not None:
                return found
            await asyncio.sleep(_LOOK)

    async def check(self, permit: Permit, context: Context) -> Verdict:
        """Judges a permit; returns the verdict when it permits, and raises ``Denied`` otherwise."""
        verdict = await self.verdict(permit, context)
        if not verdict.permitted:
            raise denial_of_verdict(verdict)
        return verdict

    def check_blocking(self, permit: Permit, context: Context) -> Verdict:
        """As ``check``, for callers without an event loop: a running one, it denies at once."""
        if _is_in_loop():
            raise Denied(("authorization_discontinuity",), [_IN_LOOP], index=permit.index)
        answers: SimpleQueue[Verdict | BaseException] = SimpleQueue()

        def judge() -> None:
            try:
                answers.put(asyncio.run(self.check(permit, context)))
            except BaseException as error:  # noqa: BLE001 - raised by who waits
                answers.put(error)

        # In a thread that may be left alone: closing a loop waits for what its threads do.
        threading.Thread(target=judge, name="muniment-guard", daemon=True).start()
        try:
            found = answers.get(timeout=self._catch_up + 2 * LOOKING)
        except Empty:
            raise self._no_answer(permit) from None
        if isinstance(found, BaseException):
            raise found
        return found

    def _no_answer(self, permit: Permit) -> Denied:
        return Denied(
            ("governance_mesh_discontinuity",),
            [f"{self.replica}: the replica could not be read within {LOOKING:g} s"],
            index=permit.index,
        )

    def _judge(
        self, permit: Permit, context: Context, replica: Path, *, late: bool
    ) -> Verdict | None:
        """The verdict; None when the replica has not reached the permit and there is time left."""
        try:
            with IndexReader(replica) as reader:
                head = reader.head()
                if not late and (head is None or head.size <= permit.index):
                    return None
                facts = ReplicaFacts(reader)
                if not self._is_accepted:
                    facts.accept(self.trust.policy)
                    self._is_accepted = True
                trust = self.trust
                if trust.gateways is None:
                    trust = replace(trust, gateways=facts.gateways)
                return verify_permit(permit, replace(context, facts=facts), trust)
        except MunimentError as error:
            if not late:
                return None
            raise Denied(
                ("governance_mesh_discontinuity",), [str(error)], index=permit.index
            ) from error


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
