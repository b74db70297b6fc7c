"""Holds what is pushed to the peers without waiting for their next round."""

import asyncio
from collections import deque
from typing import Final

from muniment_witness.gossip.peers import MAX_HEADS
from muniment_witness.store.observations import FiledEvidence

MAX_FILES: Final = 64
"""Evidence files that wait to be pushed; beyond it the oldest is left to anti-entropy."""


class Outbox:
    """The logs whose cosigned head moved, and new evidence, until they are pushed.

    A witness without peers keeps nothing here.
    """

    def __init__(self, *, has_peers: bool) -> None:
        self._has_peers = has_peers
        self._origins: dict[str, None] = {}
        self._files: deque[FiledEvidence] = deque(maxlen=MAX_FILES)
        self._wake = asyncio.Event()

    def add_head(self, origin: str) -> None:
        """Notes that the cosigned head of a log moved."""
        if self._has_peers:
            self._origins[origin] = None
            self._wake.set()

    def add_evidence(self, filed: FiledEvidence) -> None:
        """Adds evidence that was filed."""
        if self._has_peers:
            self._files.append(filed)
            self._wake.set()

    @property
    def has_evidence(self) -> bool:
        """Whether evidence waits, which is pushed at once."""
        return bool(self._files)

    async def wait(self) -> None:
        """Waits until there is something to push."""
        await self._wake.wait()

    def take(self) -> tuple[list[FiledEvidence], list[str]]:
        """Takes all evidence, and the origins of at most `MAX_HEADS` heads that moved."""
        self._wake.clear()
        files = [self._files.popleft() for _ in range(len(self._files))]
        origins = list(self._origins)[:MAX_HEADS]
        for origin in origins:
            del self._origins[origin]
        if self._origins:
            self._wake.set()
        return files, origins
