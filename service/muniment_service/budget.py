"""A token bucket: how much may happen in the long run, and how much at once."""

from collections.abc import Callable


class Bucket:
    """Tokens, refilled at a rate until there are as many as it holds; full at first."""

    __slots__ = ("_burst", "_left", "_rate", "_then", "_timer")

    def __init__(self, per_second: float, burst: float, timer: Callable[[], float]) -> None:
        """Makes a full bucket of `burst` tokens; `timer` is a monotonic clock, in seconds."""
        self._rate = per_second
        self._burst = burst
        self._timer = timer
        self._left = burst
        self._then = timer()

    def take(self, tokens: float = 1.0) -> bool:
        """Takes tokens when there are enough; whether there were."""
        self._refill()
        enough = self._left >= tokens
        if enough:
            self._left -= tokens
        return enough

    def spend(self, tokens: float) -> None:
        """Takes tokens, more than there are if need be; `wait` says when they are paid back.

        So whatever is larger than the bucket passes, too, and what comes next has to wait.
        """
        self._refill()
        self._left -= tokens

    def wait(self) -> float:
        """Seconds until what was spent is paid back; 0 when it is."""
        self._refill()
        return max(0.0, -self._left / self._rate)

    def _refill(self) -> None:
        now = self._timer()
        self._left = min(self._burst, self._left + (now - self._then) * self._rate)
        self._then = now
