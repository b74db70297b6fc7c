"""Whether a worker still turns its event loop: it is asked now and then, and has only to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Pause = Callable[[float], Awaitable[object]]

BEAT_SECONDS: Final = 5.0
"""Between two questions whether a worker is there."""

HUNG_SECONDS: Final = 30.0
"""Without an answer to any of them a worker stands still, and is killed."""

_MOST_UNANSWERED: Final = round(HUNG_SECONDS / BEAT_SECONDS)


class Pulse:
    """Of one worker."""

    def __init__(self) -> None:
        self._is_answered = False

    def answered(self, _: object = None) -> None:
        """The worker has answered."""
        self._is_answered = True

    async def stops(self, ask: Callable[[], object], pause: Pause) -> None:
        """Waits until the worker has left all questions of `HUNG_SECONDS` unanswered.

        Questions are counted instead of seconds: when the machine or this process stood still, the
        worker has missed one of them at most, whose answer may be there and unread.
        """
        unanswered = 0
        while unanswered < _MOST_UNANSWERED:
            self._is_answered = False
            ask()
            await pause(BEAT_SECONDS)
            unanswered = 0 if self._is_answered else unanswered + 1
