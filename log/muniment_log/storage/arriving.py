"""Which requests are at work with which addenda, and what becomes known of these meanwhile.

An addendum that was stored for a request is arriving until the request is logged or refused. One
that several requests have brought goes again only when the last of them was refused.
"""

from __future__ import annotations

from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING

from msgspec import Struct

from muniment_log.storage.addendarows import Changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_log.core.addenda import Sent
    from muniment_log.storage.addendarows import Place


class _Group(Struct, eq=False):
    """What one transaction has stored, as long as it is noted as arriving.

    Attributes:
        first: its row in `arriving`.
        size: where the records that name it stand, or behind.
        left: addenda of it of whose requests it is not known whether they are logged.
    """

    first: int
    size: int
    left: int


class Arriving:
    """The requests at work in one process.

    Attributes:
        size: bytes of addenda that came with them.
    """

    def __init__(self) -> None:
        self.size = 0
        self._used: set[bytes] = set()  # digests that requests are at work with
        self._more: Counter[bytes] = Counter()  # how many more than one of these there are
        self._groups: dict[bytes, _Group] = {}
        self._changes = Changes()

    def __contains__(self, digest: bytes) -> bool:
        """Whether it is not known yet what becomes of an addendum that was stored."""
        return digest in self._groups

    @property
    def has_changes(self) -> bool:
        """Whether something is to be written."""
        return bool(self._changes)

    def take_changes(self) -> Changes:
        """What is to be written now, once."""
        changes, self._changes = self._changes, Changes()
        return changes

    def enter(self, sent: Sent) -> None:
        """A request begins."""
        self.size += sent.size
        self._more.update(self._used.intersection(sent.digests))
        self._used.update(sent.digests)

    def stored(self, digests: Sequence[bytes], place: Place) -> None:
        """A transaction has stored addenda that were not there before."""
        if digests:
            noted = _Group(place.first, place.size, len(digests))
            self._groups.update(dict.fromkeys(digests, noted))

    def leave(self, sent: Sent) -> Sequence[bytes]:
        """A request is done with its addenda; those that no other one is at work with."""
        self.size -= sent.size
        last = sent.digests
        if more := self._more:
            last = [digest for digest in last if digest not in more]
            more -= Counter(more.keys() & sent.digests)
        self._used.difference_update(last)
        return last

    def named(self, sent: Sent, first: int) -> bool:
        """A request is logged from a leaf index on; whether that has to be written at once."""
        self.leave(sent)
        is_before = False
        for group in self._resolve(sent.digests):
            if first < group.size:
                group.size = self._changes.lowered[group.first] = first
                is_before = True
        return is_before

    def refused(self, sent: Sent) -> None:
        """Nothing of a request is logged: what only it has brought is to go."""
        stored = [digest for digest in self.leave(sent) if digest in self._groups]
        self._resolve(stored)
        self._changes.dropped += stored

    def _resolve(self, digests: Sequence[bytes]) -> list[_Group]:
        """It is known what became of addenda; the groups of those that were still arriving."""
        found = Counter(map(self._groups.pop, digests, repeat(None)))
        groups: list[_Group] = []
        for group, number in found.items():
            if group is not None:
                group.left -= number
                if not group.left:
                    self._changes.arrived.append(group.first)
                groups.append(group)
        return groups
