"""Design section 5, budgets: pushed heads of one log that wait to be compared, a fair share each.

Comparing may need the network, so what is pushed waits. Each sender has a line of its own, and the
lines take turns: one that sends much waits behind itself. Each log has an `Arrivals` of its own, so
that one that gives its tiles slowly delays nothing of the others.
"""

import asyncio
from collections import deque

from muniment_witness.judge.relation import Seen

MAX_WAITING = 16
"""Heads of one sender and log that wait at one time."""


class Arrivals:
    """One line for each sender; senders are peers, so their number is bounded."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._lines: dict[str, deque[Seen]] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many heads wait."""
        return sum(map(len, self._lines.values()))

    def put(self, sender: str, seen: Seen) -> bool:
        """Adds a head to a sender's line; False when that is full."""
        line = self._lines.setdefault(sender, deque())
        if len(line) >= MAX_WAITING:
            return False
        line.append(seen)
        self._some.set()
        return True

    def pop(self) -> Seen | None:
        """The head whose turn it is; None when nothing waits."""
        if not self._lines:
            self._some.clear()
            return None
        sender, line = next(iter(self._lines.items()))
        del self._lines[sender]
        seen = line.popleft()
        if line:
            self._lines[sender] = line  # behind the other senders
        return seen

    async def get(self) -> Seen:
        """Waits for a head."""
        while (seen := self.pop()) is None:
            await self._some.wait()
        return seen
