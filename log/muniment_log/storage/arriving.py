"""Which requests are at work with which addenda, and what becomes known of these meanwhile.

An addendum that was stored for a request is arriving until the request is logged or refused. One
that several requests have brought goes again only when the last of them was refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muniment_log.storage.addendarows import Changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_log.core.addenda import Sent
    from muniment_log.storage.addendarows import Place


@dataclass(slots=True, eq=False)
class _Group:
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
        self._users: Counter[bytes] = Counter()  # requests at work, by digest
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
        self._users.update(sent.digests)

    def stored(self, digests: Sequence[bytes], place: Place) -> None:
        """A transaction has stored addenda that were not there before."""
        if digests:
            noted = _Group(place.first, place.size, len(digests))
            self._groups.update(dict.fromkeys(digests, noted))

    def leave(self, sent: Sent) -> list[bytes]:
        """A request is done with its addenda; those that no other one is at work with."""
        self.size -= sent.size
        last: list[bytes] = []
        users = self._users
        for digest in sent.digests:
            if (others := users.pop(digest) - 1) > 0:
                users[digest] = others
            else:
                last.append(digest)
        return last

    def named(self, sent: Sent, first: int) -> bool:
        """A request is logged from a leaf index on; whether that has to be written at once."""
        self.leave(sent)
        is_before = False
        for digest in sent.digests:
            group = self._resolve(digest)
            if group is not None and first < group.size:
                group.size = self._changes.lowered[group.first] = first
                is_before = True
        return is_before

    def refused(self, sent: Sent) -> None:
        """Nothing of a request is logged: what only it has brought is to go."""
        for digest in self.leave(sent):
            if self._resolve(digest) is not None:
                self._changes.dropped.append(digest)

    def _resolve(self, digest: bytes) -> _Group | None:
        """It is known what became of an addendum; its group, if it was still arriving."""
        group = self._groups.pop(digest, None)
        if group is not None:
            group.left -= 1
            if not group.left:
                self._changes.arrived.append(group.first)
        return group
