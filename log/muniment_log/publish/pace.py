"""When rounds of publication begin and end. Pure: the time comes in, and nothing waits here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from muniment_log.publish.rounds import Round


class PublisherLimits(Struct, frozen=True):
    """Deadlines of publishing.

    Attributes:
        pace_seconds: time between the beginnings of two rounds while nobody waits for one; signing
            every commit of a busy log would cost a third of its rate and help no one.
        round_seconds: after this, a round without a quorum gives way to a newer head.
        refresh_seconds: age of a round after which an idle log signs its head again and has it
            cosigned anew: fresh times tell a quiet log from a frozen view of it.
        backoff_first_seconds: pause after a witness's first failure; doubles from there.
        backoff_most_seconds: longest pause between two requests to a failing witness.
    """

    pace_seconds: float = 0.05
    round_seconds: float = 5.0
    refresh_seconds: float = 120.0
    backoff_first_seconds: float = 0.05
    backoff_most_seconds: float = 10.0


class Pace(Struct, frozen=True):
    """Computes how many seconds are left, at least 0, from `now` on the publisher's clock."""

    limits: PublisherLimits

    def until_next(self, last: Round | None, now: float, *, is_waited_for: bool) -> float:
        """Seconds until the round after `last` may begin."""
        if is_waited_for or last is None:
            return 0.0
        return max(0.0, last.started + self.limits.pace_seconds - now)

    def until_refresh(self, last: Round, now: float) -> float:
        """Seconds until the head of the last round is to be cosigned anew."""
        return max(0.0, last.started + self.limits.refresh_seconds - now)

    def until_late(self, current: Round, now: float) -> float:
        """Seconds until a round without a quorum gives way to a newer head."""
        return max(0.0, current.started + self.limits.round_seconds - now)
