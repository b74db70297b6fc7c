"""Appending leaves that are no batches of a gateway: each is a leaf as it stands, without manifest.

For a log of the log's own making, such as its index log: nobody sends it anything twice, so nothing
is recognised, and who appends knows from the tree what is there already.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from muniment.tlog.encoding import frame
from muniment.tlog.merkle import leaf_hash
from muniment_log.core.integrate import integrate
from muniment_log.core.ordering import Commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.heads import Head
    from muniment_log.core.integrate import RightEdge
    from muniment_log.core.ordering import Listener, Store

_LENGTH_SIZE = 2  # before each entry of a bundle


class _Leaves(NamedTuple):
    """See `integrate.Framed`."""

    body: bytes
    offsets: Sequence[int]
    leaf_hashes: Sequence[bytes]


class LeafOrder:
    """Appends to one store; the only one that writes leaves to it."""

    def __init__(self, store: Store, edge: RightEdge, listener: Listener) -> None:
        """Starts from the right edge that the store holds."""
        self._store = store
        self._edge = edge
        self._listener = listener

    @property
    def head(self) -> Head:
        """The integrated head: durable, not necessarily signed."""
        return self._edge.head

    async def append(self, leaves: Sequence[bytes]) -> None:
        """Makes leaves the next ones of the tree, and tells the listener.

        Raises StorageError if it is not known whether they are durable: the store is to be opened
        again.
        """
        sizes = [_LENGTH_SIZE + len(leaf) for leaf in leaves]
        offsets = list(accumulate(sizes[:-1], initial=0))
        framed = _Leaves(frame(leaves), offsets, [leaf_hash(leaf) for leaf in leaves])
        change = integrate(self._edge, [framed])
        sign, head = self._listener.signer(), change.edge.head
        commit = Commit(change, {}, [], None if sign is None else lambda: sign(head))
        # C1 and C2 as of any log: before, nothing of it is there; afterwards it is in the tree.
        note = await self._store.commit(commit)
        self._edge = change.edge
        self._listener.committed(change, note)
