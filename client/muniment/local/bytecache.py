"""A cache that holds so many bytes at most, and drops what was used longest ago."""

from collections import OrderedDict
from collections.abc import Sized
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V", bound=Sized)


class ByteCache(Generic[_K, _V]):
    """Values by their keys; the length of each is that of its bytes.

    Attributes:
        size: The bytes of all values.
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        """Makes an empty cache of at most `most` bytes."""
        self.size = 0
        self.most = most
        self._values: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        """A value, which counts as used now; None if it is not held."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: _K, value: _V) -> None:
        """Keeps a value, in the place of an earlier one."""
        earlier = self._values.pop(key, None)
        self.size += len(value) - (0 if earlier is None else len(earlier))
        self._values[key] = value
        while self.size > self.most:
            self.size -= len(self._values.popitem(last=False)[1])
