"""How long integration is behind the order, as somebody who looks can tell.

Entries carry no times: an index on them would cost every order something. Whoever looks regularly
knows when it first saw an index given out, and so how long the oldest leaf that is not yet in the
tree has waited at least, or since it began to look.
"""

from __future__ import annotations

from collections import deque
from typing import Final

RESOLUTION_SECONDS: Final = 0.1
"""Looks closer to each other than this count as one."""

MAX_KEPT: Final = 2048
"""Looks remembered: a backlog of minutes at full resolution; then pairs of them become one."""


class Lag:
    """Remembers looks at the order, as far as they are not integrated."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # when, and up to which leaf

    def __len__(self) -> int:
        return len(self._seen)

    def look(self, now: float, ordered: int, integrated: int) -> float:
        """Takes a look, and says for how many seconds the oldest leaf outside the tree has waited.

        0 when everything is in the tree. Too much by the time between two looks, or by the
        resolution, and for a long backlog by more. `now` is of a clock that never goes back.
        """
        seen = self._seen
        while seen and seen[0][1] <= integrated:
            seen.popleft()
        if ordered > (seen[-1][1] if seen else integrated):
            if seen and now - seen[-1][0] < RESOLUTION_SECONDS:
                seen[-1] = seen[-1][0], ordered
            else:
                seen.append((now, ordered))
        if len(seen) > MAX_KEPT:
            looks = list(seen)
            # The earlier time with the later leaf: never less than is true.
            merged = [(a[0], b[1]) for a, b in zip(looks[::2], looks[1::2], strict=False)]
            self._seen = seen = deque([*merged, *looks[2 * len(merged) :]])
        return now - seen[0][0] if seen else 0.0
