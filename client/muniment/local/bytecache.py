"""A cache of bytes that holds so many at most, and drops what was used longest ago."""

from collections import OrderedDict
from typing import Generic, TypeVar

_K = TypeVar("_K")


class ByteCache(Generic[_K]):
    """Values by their keys.

    Attributes:
        size: The bytes of all values.
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        """Makes an empty cache of at most `most` bytes."""
        self.size = 0
        self.most = most
        self._values: OrderedDict[_K, bytes] = OrderedDict()

    def get(self, key: _K) -> bytes | None:
        """A value, which counts as used now; None if it is not held."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: _K, value: bytes) -> None:
        """Keeps a value, in the place of an earlier one."""
        self.size += len(value) - len(self._values.pop(key, b""))
        self._values[key] = value
        while self.size > self.most:
            self.size -= len(self._values.popitem(last=False)[1])
