"""A witness's whole judgement of an add-checkpoint request, in one call."""

from msgspec import Struct

from muniment.tlog.heads import Head
from muniment.tlog.witnesswire import AddCheckpoint
from muniment_witness.judge.decide import (
    NEVER,
    Acceptance,
    KnownLog,
    Refusal,
    advance,
    authenticate,
)


class HeadState(Struct, frozen=True):
    """What a decision depends on, besides the request and the time.

    Attributes:
        log: The log of the request's origin; None when the origin is unknown.
        head: The latest cosigned head of that origin, `NEVER` without one.
        signed: Newest timestamp of any cosignature that this witness made, Unix seconds.
    """

    log: KnownLog | None
    head: Head = NEVER
    signed: int = 0


def decide(state: HeadState, request: AddCheckpoint, now: int) -> Acceptance | Refusal:
    """Judges a request by all of the rules; `now` is in Unix seconds."""
    authentic = authenticate(state.log, request)
    if isinstance(authentic, Refusal):
        return authentic
    return advance(state.head, state.signed, authentic, now)
