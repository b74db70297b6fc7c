"""Pauses between attempts: longer each time, and jittered, so that callers do not come together."""

import random
from typing import Final


def seconds_to_wait(pause: float, asked: float = 0.0) -> float:
    """How long to wait before another attempt: jittered, and never less than was asked for.

    It is ``pause`` seconds at the most, unless the other side ``asked`` for more (``Retry-After``).
    """
    jitter = random.random()  # noqa: S311 - spreads load; no secret
    # What was asked for is stretched: those whom a full log sends away must not come back as one.
    return max(pause * (0.5 + jitter / 2), asked * (1 + jitter / 2))


class Backoff:
    """The pauses of one series of attempts; the next is ``pause`` seconds at the most."""

    def __init__(self, first: float, longest: float = float("inf"), *, factor: float = 2.0) -> None:
        """Begins at `first` seconds; each pause is `factor` times the last, up to `longest`."""
        self.pause = first
        self._first: Final = first
        self._longest: Final = longest
        self._factor: Final = factor

    def next(self, asked: float = 0.0) -> float:
        """Seconds to wait now, see `seconds_to_wait`; the next pause is longer."""
        wait = seconds_to_wait(self.pause, asked)
        self.pause = min(self._factor * self.pause, self._longest)
        return wait

    def reset(self) -> None:
        """Begins again, after an attempt that went well."""
        self.pause = self._first
