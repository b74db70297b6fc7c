"""A circuit breaker: while the log is known to be away, calls are denied at once.

A call that the log did not answer in time opens it. For a pause, which doubles from ``FIRST_PAUSE``
to ``LONGEST_PAUSE`` seconds, nobody asks the log; then one call does, as a probe, while the others
are still denied. Its answer closes the breaker, as any answer of the log does: also that to a batch
which the gateway goes on sending after its caller has left.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
"""Seconds without a question to a log that is away: doubled from the first to the longest."""

PROBE_TIMEOUT: Final = 10.0
"""Seconds after which a probe that nobody has heard of any more does not count."""

ENOUGH: Final = 0.5
"""Seconds that a log has to have had before it counts as away."""


class Breaker:
    """Whether the log is known to be away; any thread may use it.

    ``clock`` gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reason = ""
        self._since = 0.0
        self._quiet_until = 0.0
        self._pause = 0.0
        self._is_probing = False

    @property
    def is_away(self) -> bool:
        """Whether the log is known to be away."""
        return bool(self._pause)

    def refusal(self) -> str | None:
        """Why a call is denied at once; None if it may ask the log, as a probe perhaps."""
        if not self._pause:
            return None
        with self._lock:
            if not self._pause:
                return None
            now = self._clock()
            if now >= self._quiet_until:
                self._quiet_until, self._is_probing = (
                    now + PROBE_TIMEOUT,
                    True,
                )  # this call is the probe
                return None
            away = now - self._since
        return f"the log has been away for {away:.1f} s: {self._reason}"

    def failed(self, reason: str) -> None:
        """Notes that the log did not answer a call in time, and what was seen of it."""
        with self._lock:
            now = self._clock()
            if not self._pause:
                self._since = now
            self._reason = reason
            self._pause = min(2 * self._pause, LONGEST_PAUSE) or FIRST_PAUSE
            self._quiet_until, self._is_probing = now + self._pause, False

    def released(self) -> None:
        """Notes that a call is over: if the probe has told nothing, the next call is one."""
        if self._is_probing:
            with self._lock:
                if self._is_probing:
                    self._quiet_until, self._is_probing = self._clock(), False

    def answered(self) -> None:
        """Notes that the log has answered."""
        if self._pause:
            with self._lock:
                self._pause, self._is_probing = 0.0, False
