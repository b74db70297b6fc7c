"""Permits that were used: each is good for one request."""

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

    def use(self, execution: str, permit: Permit, now: int) -> None:
        """Notes a run as used, at a time in seconds; between here and the look nothing else runs.

        Raises Denied if it was used before, or no more can be remembered.
        """
        if self._until.get(execution, now - 1) >= now:
            raise unauthorized(f"the permit of run {execution} was used already")
        if len(self._until) >= MOST_USED:
            self._until = {run: end for run, end in self._until.items() if end >= now}
            if len(self._until) >= MOST_USED:
                raise unauthorized("too many permits that hold were used")
        artifact = permit.decision.artifact if permit.decision is not None else None
        end = artifact.validity.not_after if artifact is not None else None
        self._until[execution] = now + USED_SECONDS if end is None else end


def unauthorized(reason: str) -> Denied:
    """The denial of what has no permit that could be used."""
    return Denied(("authorization_discontinuity",), [reason])
