"""The embedded order: integrates a group and commits all of it at once.

One transaction writes bundles, tiles, streams and the tree, so what has an index is in the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.core.integrate import integrate
from muniment_log.core.ordering import Accepted, Commit, Kept, KnownError, RecalledError, kept_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from muniment.tlog.heads import Head
    from muniment_log.core.integrate import RightEdge
    from muniment_log.core.ordering import Listener, Ordering, Store
    from muniment_log.core.ports import StreamKey, StreamState
    from muniment_log.core.recall import Recall


class EmbeddedOrder:
    """The `Order` on the embedded store; the only one that writes to it."""

    def __init__(self, store: Store, edge: RightEdge, listener: Listener, kept: int) -> None:
        """Starts from the right edge that the store holds; see `recall.KEPT`."""
        self._store = store
        self._edge = edge
        self._listener = listener
        self._kept = kept
        # Of streams the store answers the same calls in the same way.
        self.stream, self.accepted, self.recall = store.stream, store.accepted, store.recall
        self.keep_refused = store.keep_refused

    @property
    def head(self) -> Head:
        """The integrated head: durable, not necessarily signed."""
        return self._edge.head

    async def order(self, orderings: Sequence[Ordering]) -> int:
        """Integrates and commits batches, and tells the listener; see `Order.order`."""
        change = integrate(self._edge, [ordering.batch for ordering in orderings])
        streams: dict[StreamKey, StreamState] = {}
        accepted: list[Accepted] = []
        first = at = change.before.size
        for ordering in orderings:
            manifest = ordering.batch.manifest
            streams[ordering.key] = ordering.after
            if ordering.digest is not None:
                accepted.append(
                    Accepted(ordering.key, manifest.first, manifest.count, ordering.digest, at)
                )
            at += manifest.count + 1
        sign = self._listener.signer()
        head = change.edge.head
        # C1: a crash before this transaction is durable. Nothing of the group is on disk, and
        # nobody has a receipt: a retry logs it.
        commit = Commit(
            change,
            streams,
            accepted,
            None if sign is None else lambda: sign(head),
            kept_of(orderings, first, self._kept),
        )
        try:
            note = await self._store.commit(commit)
        except KnownError:
            raise RecalledError(await self._known(orderings)) from None
        # C2: a crash after it, before the receipts are given. The group is in the tree at its
        # indices, and a retry gets its first receipt again.
        self._edge = change.edge
        self._listener.committed(change, note)
        return first

    async def _known(self, orderings: Sequence[Ordering]) -> dict[StreamKey, frozenset[bytes]]:
        """What is there already of what recognises batches."""
        known: dict[StreamKey, frozenset[bytes]] = {}
        for key, _, _, recalls, _ in orderings:
            found = await self._store.recall(key, [recall.name for recall in recalls])
            if found:
                known[key] = known.get(key, frozenset()) | found.keys()
        return known

    async def streams(self, keys: Sequence[StreamKey]) -> Mapping[StreamKey, StreamState]:
        """Where streams continue."""
        return {key: await self._store.stream(key) for key in keys}

    async def remember(self, key: StreamKey, recalls: Sequence[Recall]) -> None:
        """Keeps recalls of records that have their indices already."""
        place = (await self._store.stream(key)).next
        await self._store.remember(Kept(key, place, max(0, place - self._kept), recalls))
