"""What the connections of one HTTP server share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.service.limits import Budget, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment.service.connection import Connection
    from muniment.service.http import Responder


class Hub:
    """What the connections of one server share.

    Attributes:
        app: What answers.
        limits: The server's limits.
        budget: Bytes of bodies held, over all connections.
        loop: The event loop.
        connections: Those that are open, or whose last request is still being answered.
        draining: Whether the server is stopping, so that no connection is kept alive.
        emptied: Set when the last connection of a server that stops has gone.
        admits: Says whether a new connection may stay.
        date: The time for responses, as HTTP writes it; at most a second old.
    """

    def __init__(
        self,
        app: Responder,
        limits: Limits,
        date: str,
        admits: Callable[[asyncio.BaseTransport], bool] = lambda _: True,
    ) -> None:
        """Starts without connections."""
        self.app = app
        self.limits = limits
        self.budget = Budget(limits.inflight_bytes)
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.draining = False
        self.emptied = asyncio.Event()
        self.admits: Final = admits
        self.date = date

    def after(self, seconds: float) -> float:
        """The time in so many seconds, by the loop's clock."""
        return self.loop.time() + seconds

    def gone(self, connection: Connection) -> None:
        """Nothing of a connection is left."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self.emptied.set()
