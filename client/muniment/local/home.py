"""The process and the event loop that an object belongs to: where else it is used, it says so.

A fork of a process has a copy of everything but the threads, so a loop in another thread is not
there. And what belongs to one loop is not safe in another, which would wait for ever.
"""

import asyncio
import os

from muniment.errors import GatewayClosed, WrongLoop


class Home:
    """Where something was opened; ``what`` names it in the errors."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes a loop of this process for the home."""
        self._process = os.getpid()
        self._loop = loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop; raises ``GatewayClosed`` before it is opened, and in a fork of the process."""
        self.check_process()
        if self._loop is None:
            raise GatewayClosed(f"{self._what} is not open")
        return self._loop

    @property
    def is_forked(self) -> bool:
        """Whether this process is a fork of the one where it was opened."""
        return self._process not in (0, os.getpid())

    def check_process(self) -> None:
        """Raises ``GatewayClosed`` in a fork of the process."""
        if self.is_forked:
            raise GatewayClosed(
                f"{self._what} was opened by process {self._process}, of which this one is a "
                "fork: open another one here, with a stream and a spool of its own"
            )

    def check(self) -> None:
        """Checks that this is the process and the loop; all is well before it is opened.

        Raises:
            GatewayClosed: In a fork of the process.
            WrongLoop: In another loop.
        """
        self.check_process()
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise WrongLoop(
                f"{self._what} was opened in another event loop, and works in that one alone: open "
                "one in each loop, or use muniment.blocking.Gateway, which any thread may use"
            )
