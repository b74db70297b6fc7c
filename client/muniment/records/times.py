"""Points in time: what can be one, in seconds or in milliseconds.

Whoever mixes seconds up with milliseconds names a time tens of thousands of years ahead, or one in
January 1970: an authorization that never ends, or a revocation that never begins. So a time that is
said anew lies between 2000 and 2100. What a log holds already stays readable, whatever it says.
"""

from typing import Final

from muniment.tlog.encoding import FormatError

EARLIEST: Final = 946_684_800
"""2000-01-01T00:00:00Z, Unix seconds: the first time that a new statement may name."""

LATEST: Final = 4_102_444_800
"""2100-01-01T00:00:00Z, Unix seconds: the first time after those."""

MAX_DURATION: Final = LATEST - EARLIEST
"""Seconds: the longest duration that is one; what is longer is a time, or milliseconds."""

MAX_ALLOWANCE: Final = 86_400
"""Seconds by which clocks may be thought to differ, at the most: what is more is no seconds."""


def is_second(value: int) -> bool:
    """Whether a number of Unix seconds is in [2000, 2100)."""
    return EARLIEST <= value < LATEST


def is_millisecond(value: int) -> bool:
    """Whether a number of Unix milliseconds is in [2000, 2100)."""
    return EARLIEST * 1000 <= value < LATEST * 1000


def seconds_problem(value: int) -> str | None:
    """What is wrong with a number of Unix seconds, as the end of a sentence; None if nothing is."""
    if is_second(value):
        return None
    if is_millisecond(value):
        return f"expected Unix seconds, {value} can only be milliseconds"
    return f"expected Unix seconds between 2000 and 2100, got {value}"


def milliseconds_problem(value: int) -> str | None:
    """What is wrong with a number of Unix milliseconds; None if nothing is."""
    if is_millisecond(value):
        return None
    if is_second(value):
        return f"expected Unix milliseconds, {value} can only be seconds"
    return f"expected Unix milliseconds between 2000 and 2100, got {value}"


def check_seconds(value: int, member: str) -> None:
    """Checks that a new time is between 2000 and 2100; FormatError names the member."""
    if (problem := seconds_problem(value)) is not None:
        raise FormatError(f"{member}: {problem}")
