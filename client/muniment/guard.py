"""The last gate before a run (design section 6): verify its permit on facts that are held here.

A guard reads a verified replica (``muniment follow``), so lineage and revocations are those of the
log itself and not what the log answers. A permit is judged only once the replica has reached it:
the guard waits for that, not for ever, and denies when it does not come about.
"""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from muniment.authorization import denial_of_verdict
from muniment.errors import Denied
from muniment.formats.encoding import MunimentError
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.permit import Context, Permit, Trust, Verdict, verify_permit

CATCH_UP: Final = 10.0
"""Seconds that a replica may take to reach a permit: followers look for news every second."""

_LOOK: Final = 0.02
"""Seconds between two looks at a replica that has not reached a permit."""


class Guard:
    """Verifies permits for one runtime.

    Args:
        trust: Whom to trust and what to insist on. When it names no gateways, those count that the
            replica keeps (``muniment follow --gateway``).
        replica: The verified replica; None to judge without facts on lineage and revocations, which
            ``trust`` has to allow.
        catch_up: Seconds that the replica may take to reach a permit.
    """

    def __init__(
        self, trust: Trust, replica: Path | str | None = None, *, catch_up: float = CATCH_UP
    ) -> None:
        self.trust = trust
        self.replica = None if replica is None else Path(replica)
        self._catch_up = catch_up

    async def verdict(self, permit: Permit, context: Context) -> Verdict:
        """Judges a permit; takes the facts of ``context`` from the replica.

        Args:
            permit: The permit.
            context: What the runtime knows and wants; its ``facts`` are replaced.
        """
        if self.replica is None:
            return verify_permit(permit, context, self.trust)
        deadline = time.monotonic() + self._catch_up
        while True:
            late = time.monotonic() >= deadline
            # Reading a file is blocking work, and a trace reads many records.
            found = await asyncio.to_thread(self._judge, permit, context, self.replica, late=late)
            if found is not None:
                return found
            await asyncio.sleep(_LOOK)

    async def check(self, permit: Permit, context: Context) -> Verdict:
        """Judges a permit; returns the verdict when it permits.

        Raises:
            Denied: In every other case.
        """
        verdict = await self.verdict(permit, context)
        if not verdict.permitted:
            raise denial_of_verdict(verdict)
        return verdict

    def check_blocking(self, permit: Permit, context: Context) -> Verdict:
        """As ``check``, for callers without an event loop.

        Raises:
            Denied: Unless the verdict permits.
        """
        return asyncio.run(self.check(permit, context))

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
