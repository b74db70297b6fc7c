"""Pauses between two looks at a log or a peer."""

import random
from typing import Final

HURRY_SECONDS: Final = 2.0
"""Longest pause while a log waits for what is asked: nothing is signed for it meanwhile."""


def jittered(period: float, *, hurry: bool = False) -> float:
    """A pause in seconds of at most a period; witnesses started together drift apart."""
    if hurry:
        period = min(period, HURRY_SECONDS)
    return period * random.uniform(0.6, 1.0)  # noqa: S311  # spreads load; no secret
