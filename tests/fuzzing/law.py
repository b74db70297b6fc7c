"""What every fuzz target is made of: its name, and the law "a value that is written back, or the
one declared error"."""

from collections.abc import Callable
from typing import Final, TypeVar

from muniment.tlog.encoding import FormatError

_T = TypeVar("_T")

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {}
"""Every target by its name. One returns, whatever bytes it is given, or has found a defect."""


def target(name: str) -> Callable[[Target], Target]:
    """Registers a target."""

    def register(function: Target) -> Target:
        assert name not in TARGETS
        TARGETS[name] = function
        return function

    return register


def parsed(
    parse: Callable[[bytes], _T], write: Callable[[_T], bytes] | None, data: bytes
) -> _T | None:
    """Parses; None for the declared error. What was accepted must be written back as it came."""
    try:
        value = parse(data)
    except FormatError:
        return None
    if write is not None:
        assert write(value) == data
    return value


def text_of(data: bytes) -> str:
    """Any bytes as a text; those that are not UTF-8 as lone surrogates, as sockets bring them."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The inverse of `text_of`."""
    return text.encode("utf-8", "surrogateescape")
