"""Long work on the event loop, a step at a time, in turn.

Checking a batch takes a tenth of a second, and seconds when it was made for that. Such work is
written as a generator that yields after some milliseconds. Whatever the number of requests at
work, one step is made in one pass of the loop: a lone decision, a read and a look at `/healthz`
wait for one step and not for a batch, and those at work take turns, so that none waits for another
one's end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

_T = TypeVar("_T")


class StepScheduler:
    """Cooperative scheduler: runs one step of one generator in each pass of the event loop."""

    def __init__(self) -> None:
        """Nobody is at work."""
        self._turn = asyncio.Lock()  # who asks first is served first

    async def run(self, steps: Generator[None, None, _T]) -> _T:
        """Makes all steps, and returns what the generator does.

        The first step waits for nobody: most work has no other. Raises what the generator raises.
        """
        try:
            next(steps)
            while True:
                async with self._turn:
                    await asyncio.sleep(0)
                    next(steps)
        except StopIteration as end:
            value: _T = end.value
            return value
        finally:
            steps.close()
