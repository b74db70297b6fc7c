"""The follower beside the pages: keeps the replica up to date, and remembers how that goes."""

import time
from collections.abc import Callable
from pathlib import Path

from muniment.audit.trust import Misbehaviour, ProvenMisbehaviour
from muniment.errors import MunimentError
from muniment.index.follower import FollowRound
from muniment.index.replica import Watched, keep_following


class Following:
    """Follows a log until cancelled.

    Attributes:
        done: How far a round in progress is: leaves, and of how many.
        trouble: Why the last round failed; empty when it did not.
        reached: When a round last went well, Unix seconds; 0 for never.
        misbehaviour: What the log's own signatures prove, which ends the following.
    """

    def __init__(
        self,
        watched: Watched,
        path: Path,
        *,
        interval: float,
        told: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes what to follow into which replica; `told` is called after each round."""
        self._watched = watched
        self._path = path
        self._interval = interval
        self._told = told
        self._clock = clock
        self.done = (0, 0)
        self.trouble = ""
        self.reached = 0
        self.misbehaviour: Misbehaviour | None = None

    async def run(self) -> None:
        """Follows; ends by itself only when misbehaviour is proven.

        Raises what `keep_following` raises about the file.
        """
        try:
            await keep_following(
                self._watched,
                self._path,
                interval=self._interval,
                reached=self._reached,
                trouble=self._trouble,
                progress=self._progress,
            )
        except ProvenMisbehaviour as proof:
            self.misbehaviour = proof.misbehaviour
            self.trouble = f"PROVEN: {proof.misbehaviour.kind}: {proof.misbehaviour.sentence}."
            self._told()

    @property
    def has_begun(self) -> bool:
        """Whether a round is over or going on, so that the replica is there."""
        return bool(self.done[1] or self.reached or self.trouble)

    def _reached(self, _: FollowRound) -> None:
        self.trouble = ""
        self.reached = int(self._clock())
        self._told()

    def _trouble(self, error: MunimentError) -> None:
        self.trouble = " ".join(str(error).split())
        self._told()

    def _progress(self, done: int, total: int) -> None:
        self.done = (done, total)
