"""Permits that were used: each is good for one request, and one more for each answer it asked for.

A tool of revision 2026-07-28 of MCP may say, instead of a result, what it wants to know. Its client
repeats the request with the answers: that is the same run, which goes on by the same permit.
"""

from typing import Final

from muniment.errors import Denied
from muniment.permit import Permit

MOST_USED: Final = 100_000
"""Most runs remembered as used; while there are more whose permits hold, everything is denied."""

USED_SECONDS: Final = 86_400
"""How long a run is remembered whose permit states no end; no artifact of a gateway is longer."""


class Used:
    """The runs whose permits one process has used."""

    def __init__(self) -> None:
        """None yet."""
        self._until: dict[str, int] = {}
        self._asks: dict[str, str] = {}

    def use(self, execution: str, permit: Permit, now: int, state: str | None = None) -> None:
        """Notes a run as used, at a time in seconds; between here and the look nothing else runs.

        Raises Denied if it was used before, or no more can be remembered.

        Args:
            execution: The run.
            permit: Its permit.
            now: The time.
            state: Of a request that brings answers, the state that the tool gave with its
                questions, empty without one; None of any other request.
        """
        if state is not None and self._asks.get(execution) == state:
            del self._asks[execution]
            return
        if self._until.get(execution, now - 1) >= now:
            raise unauthorized(f"the permit of run {execution} was used already")
        if len(self._until) >= MOST_USED:
            self._until = {run: end for run, end in self._until.items() if end >= now}
            self._asks = {run: one for run, one in self._asks.items() if run in self._until}
            if len(self._until) >= MOST_USED:
                raise unauthorized("too many permits that hold were used")
        artifact = permit.decision.artifact if permit.decision is not None else None
        end = artifact.validity.not_after if artifact is not None else None
        self._until[execution] = now + USED_SECONDS if end is None else end

    def ask(self, execution: str, state: str) -> None:
        """Notes that a run has asked for answers, with this state: one request may bring them."""
        self._asks[execution] = state


def unauthorized(reason: str) -> Denied:
    """The denial of what has no permit that could be used."""
    return Denied(("authorization_discontinuity",), [reason])
