"""Times as people write them, on command lines: ISO 8601, or Unix seconds."""

import math
import re
from datetime import UTC, datetime
from typing import Final

from muniment.records.times import seconds_problem
from muniment.tlog.encoding import FormatError

_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_PRINTED: Final = re.compile(r" UTC\Z")  # as our own commands print times


def parse_time(text: str) -> int:
    """Reads Unix seconds between 2000 and 2100: as a number, or ISO 8601 with an offset.

    Fractions of a second are dropped. Raises FormatError if the text is no such time.
    """
    text = text.strip()
    if _DIGITS.fullmatch(text):
        seconds = int(text)
    else:
        try:
            when = datetime.fromisoformat(_PRINTED.sub("+00:00", text))
        except ValueError:
            raise FormatError(
                f"{text[:64]!a} is no time: write 2027-01-31T00:00:00Z, or Unix seconds"
            ) from None
        if when.tzinfo is None:
            raise FormatError(f"{text} is without an offset: write 2027-01-31T00:00:00Z")
        seconds = math.floor((when - _EPOCH).total_seconds())
    if (problem := seconds_problem(seconds)) is not None:
        raise FormatError(problem)
    return seconds
