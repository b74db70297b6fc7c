"""Clocks that only the test moves."""


class Clock:
    """Says what time it is: seconds, from wherever it begins."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class WallClock:
    """The same in whole seconds of Unix time."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now
