"""Keys that are not in their sorted table yet: they wait in memory, in parts by their first bits.

Keys that come in no order would cost each a page to write. Here the newest wait; what is too much
goes to the table a part at a time, in order. Which ids the table has for certain is a mark in the
file: a start reads the keys behind it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PARTS: Final = 16
_SHIFT: Final = 4  # of the byte, for the part


class Move(NamedTuple):
    """Keys that are due.

    Attributes:
        keys: the keys, in order.
        ids: in step with them.
        parts: how many parts they are.
        mark: all ids up to this one are in the table then.
    """

    keys: list[bytes]
    ids: list[int]
    parts: int
    mark: int


class Newest:
    """The newest keys of one file, with their ids, which grow.

    It is told what a transaction does at its end, when nothing of it can fail but its commit, and
    then the process ends. `get` may be asked by any thread.
    """

    def __init__(self, mark: int, byte: int) -> None:
        """Nothing is behind the mark; a byte of the keys, of any distribution, parts them."""
        self._byte = byte
        self._ids: dict[bytes, int] = {}
        self._moved: dict[bytes, int] = {}  # to the table, perhaps not committed yet
        self._parts: list[list[bytes]] = [[] for _ in range(_PARTS)]
        self._marks = [mark] * _PARTS  # up to which id each part is in the table
        self._turn = 0
        self._last = mark

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def last(self) -> int:
        """The greatest id that is known of."""
        return self._last

    @property
    def mark(self) -> int:
        """All ids up to this one are in the table."""
        return min(self._marks)

    def get(self, key: bytes) -> int | None:
        """The id of a key, if it is among the newest: who reads may not see it in the table."""
        found = self._ids.get(key)
        return self._moved.get(key) if found is None else found

    def find(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The ids of those of the keys that wait here; for who writes the table."""
        return {key: self._ids[key] for key in self._ids.keys() & keys}

    def due(self, coming: int, most: int) -> Move | None:
        """What has to go to the table for so many to come, when at most `most` may wait.

        Keys that are gone wait, too, until their part is due: few may be left of many that came.
        """
        left = sum(map(len, self._parts)) + coming
        keys: list[bytes] = []
        parts = 0
        marks = [*self._marks]
        while left > most and parts < _PARTS:
            turn = (self._turn + parts) % _PARTS
            some = [key for key in self._parts[turn] if key in self._ids]
            keys += some
            left -= len(self._parts[turn])
            marks[turn] = self._last
            parts += 1
        if not parts:
            return None
        keys = sorted({*keys})
        return Move(keys, [self._ids[key] for key in keys], parts, min(marks))

    def committed(self) -> None:
        """The transaction before is committed, and so what it has moved to the table."""
        self._moved = {}

    def moved(self, move: Move) -> None:
        """What was due is in the table."""
        self._moved = {**self._moved, **dict(zip(move.keys, move.ids, strict=True))}
        for key in move.keys:
            del self._ids[key]
        for _ in range(move.parts):
            self._parts[self._turn] = []
            self._marks[self._turn] = self._last
            self._turn = (self._turn + 1) % _PARTS

    def add(self, keys: Iterable[tuple[bytes, int]]) -> None:
        """New keys have come, each with a greater id."""
        ids, parts, byte = self._ids, self._parts, self._byte
        for key, id_ in keys:
            ids[key] = self._last = id_
            parts[key[byte] >> _SHIFT].append(key)

    def drop(self, keys: Iterable[bytes]) -> None:
        """Keys are gone."""
        for key in keys:
            self._ids.pop(key, None)


def places(keys: Sequence[bytes]) -> tuple[bytes, str]:
    """Keys as two values, for `json_each`: all of them, and an array with as many items."""
    return b"".join(keys), f"[{','.join('0' * len(keys))}]"


def numbers(ids: Iterable[int]) -> str:
    """Ids as one value, for `json_each`."""
    return msgspec.json.encode([*ids]).decode()
