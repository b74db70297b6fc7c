"""What a Muniment witness pushes to its peers at once: heads that moved, and evidence.

Anti-entropy makes good whatever is lost on the way.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.taskgroup import TaskGroup
from muniment_witness.config import Peer
from muniment_witness.gossip.outbox import Outbox
from muniment_witness.gossip.peers import (
    EVIDENCE_PATH,
    HEADS_PATH,
    PeerState,
    frame_heads,
)
from muniment_witness.gossip.shared import Shared
from muniment_witness.store.observations import FiledEvidence

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class Pusher:
    """Pushes what is in the outbox to the peers."""

    shared: Shared
    states: Mapping[str, PeerState]
    outbox: Outbox

    async def run(self) -> None:
        """Pushes until cancelled."""
        while True:
            await self.outbox.wait()
            if not self.outbox.has_evidence:
                # Heads of a busy log go together.
                await asyncio.sleep(min(self.shared.period / 10, 1.0))
            await self.push()

    async def push(self) -> None:
        """Sends what waits to every peer that takes it; failures are left to anti-entropy."""
        files, origins = self.outbox.take()
        notes = [
            latest.note for origin in origins if (latest := self.shared.store.latest.get(origin))
        ]
        async with TaskGroup() as group:
            for peer in self.shared.peers:
                if self.states[peer.name].gossips:
                    group.create_task(self._push(peer, files, notes))

    async def _push(
        self, peer: Peer, files: Sequence[FiledEvidence], notes: Sequence[bytes]
    ) -> None:
        with Contained(peer.name) as outcome:
            for filed in files:
                await self.shared.transport.post(peer.url + EVIDENCE_PATH, filed.file)
            if notes:
                await self.shared.transport.post(peer.url + HEADS_PATH, frame_heads(notes))
        if outcome.error:
            event(_LOGGER, logging.DEBUG, "a push was lost", peer=peer.name, error=outcome.error)
