"""The time by which rounds are paced; tests pass a clock of their own."""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """What `Clock.call_later` returns."""

    def cancel(self) -> None:
        """Does not call any more."""
        ...


class Clock:
    """A monotonic clock and its timers. A subclass replaces `time` and `call_later` together."""

    def time(self) -> float:
        """Seconds since some point in the past."""
        return perf_counter()

    def unix(self) -> float:
        """Unix seconds, as the system has them; they may go back."""
        return time()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls back on the running event loop, once."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        """Waits for a time."""
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Waits for an event, for a time at the most; returns whether it was set in time.

        None waits for ever.
        """
        if seconds is None:
            return await event.wait()
        try:
            async with asyncio.timeout(None) as limit:
                timer = self.call_later(seconds, lambda: limit.reschedule(0.0))
                try:
                    return await event.wait()
                finally:
                    timer.cancel()
        except TimeoutError:
            return False
