"""Values of query parameters: numbers, and how long a request waits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from muniment.tlog.encoding import FormatError, parse_decimal
from muniment_service.http import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_D = TypeVar("_D")

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


def number_or(parameters: Mapping[str, str], name: str, default: _D) -> int | _D:
    """A parameter's number, or the default if it is missing; Problem 400 if it is none."""
    return number_of(parameters, name) if name in parameters else default


def count_of(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A parameter's number from 1 to `most`, as `number_or`; Problem 400 if it is another."""
    count = number_or(parameters, name, default)
    if not 1 <= count <= most:
        raise Problem(400, "bad-query", f"{name}: expected 1 to {most}")
    return count


def seconds_of(timeout: str) -> float:
    """How long a request waits; Problem 400 if that is no number, or more than a request may."""
    if not _SECONDS.fullmatch(timeout) or float(timeout) > MAX_WAIT_SECONDS:
        raise Problem(400, "bad-query", f"timeout is 0 to {MAX_WAIT_SECONDS:g} seconds")
    return float(timeout)
