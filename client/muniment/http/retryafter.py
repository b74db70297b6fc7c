"""RFC 9110 section 10.2.3, "Retry-After": how long an answer asks its client to wait."""

from email.utils import parsedate_to_datetime


def retry_after(value: str, now: float, longest: float) -> float | None:
    """Seconds that a header asks for, not less than 0 and at most `longest`; None if it is none.

    `now` is Unix seconds: a header may name a moment instead.
    """
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), longest)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), longest)
