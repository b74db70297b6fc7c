"""The leaves of an index log, one after the other."""

from __future__ import annotations

from muniment.tlog.encoding import FormatError
from muniment.tlog.indexleaf import parse_index_leaf


class Ascending:
    """Judges leaves in order: all about one log, at ever larger sizes."""

    def __init__(self, origin: str) -> None:
        """Takes the origin of the log that they are about."""
        self._origin = origin
        self._size = 0

    def __call__(self, data: bytes) -> None:
        """Judges the next leaf; FormatError if it cannot be that."""
        leaf = parse_index_leaf(data)
        if leaf.origin != self._origin:
            raise FormatError(f"index leaf: about {leaf.origin}, not {self._origin}")
        if leaf.head.size <= self._size:
            raise FormatError(
                f"index leaf: about {leaf.head.size} leaves, after one about {self._size}"
            )
        self._size = leaf.head.size
