"""Pushed heads of one log that wait to be compared, with a fair share for each sender.

Comparing may need the network, so pushed heads wait. Each sender has a queue of its own, and the
queues are served round robin: a sender of many heads waits behind itself. Each log has a
`PushQueue` of its own, so that a log that serves its tiles slowly delays no other.
"""

import asyncio
from collections import deque

from muniment_witness.judge.relation import SignedHead

MAX_WAITING = 16
"""Heads of one sender and log that wait at one time."""


class PushQueue:
    """A queue for each sender; senders are peers or all strangers, so their number is bounded."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[SignedHead]] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many heads wait."""
        return sum(map(len, self._queues.values()))

    def put(self, sender: str, candidate: SignedHead) -> bool:
        """Adds a head to its sender's queue; False when that is full."""
        queue = self._queues.setdefault(sender, deque())
        if len(queue) >= MAX_WAITING:
            return False
        queue.append(candidate)
        self._some.set()
        return True

    def pop(self) -> SignedHead | None:
        """Takes the next head, sender by sender; None when nothing waits."""
        if not self._queues:
            self._some.clear()
            return None
        sender, queue = next(iter(self._queues.items()))
        del self._queues[sender]
        candidate = queue.popleft()
        if queue:
            self._queues[sender] = queue  # behind the other senders
        return candidate

    async def get(self) -> SignedHead:
        """Takes the next head; waits for one."""
        while (candidate := self.pop()) is None:
            await self._some.wait()
        return candidate
