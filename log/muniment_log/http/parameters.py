"""Values of query parameters: numbers, and how long a request waits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from muniment.tlog.encoding import FormatError, parse_decimal
from muniment_service.http import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WAIT_SECONDS: Final = 60.0
"""How long a request may be held."""

_SECONDS: Final = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,6})?")


def number_of(parameters: Mapping[str, str], name: str) -> int:
    """A parameter's number; Problem 400 if it is missing or none."""
    if name not in parameters:
        raise Problem(400, "bad-query", f"{name}: missing")
    try:
        return parse_decimal(parameters[name], name)
    except FormatError as error:
        raise Problem(400, "bad-query", str(error)) from error


def seconds_of(timeout: str) -> float:
    """How long a request waits; Problem 400 if that is no number, or more than a request may."""
    if not _SECONDS.fullmatch(timeout) or float(timeout) > MAX_WAIT_SECONDS:
        raise Problem(400, "bad-query", f"timeout is 0 to {MAX_WAIT_SECONDS:g} seconds")
    return float(timeout)
