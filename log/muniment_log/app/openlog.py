"""Opens a log for writing, embedded or in a cluster: one order of steps, whatever it is stored on.

Compare what is stored with itself, then with what others hold of it; only then sign. A log that
contradicts its own signed checkpoints, its bucket or its witnesses is not opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from msgspec import Struct

from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment_log.app.storage import H, LogStorage
from muniment_log.core.heads import HeadSigner
from muniment_log.publish.keeping import Keeping, load_kept
from muniment_log.publish.publisher import Publisher
from muniment_log.publish.rollback import (
    COPY,
    EMPTY,
    Doubts,
    PastCheck,
    check_note,
)
from muniment_log.storage.embedded import RECENT_BYTES, EmbeddedTiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment.tlog.heads import Head
    from muniment_log.config import LogConfig
    from muniment_log.core.integrate import Integration
    from muniment_log.inforce import Witnesses
    from muniment_log.metrics import TreeMetrics
    from muniment_log.publish.keeping import CosignedKeepers


def _size_of(note: bytes | None) -> int:
    return 0 if note is None else parse_signed_checkpoint(note).checkpoint.size


class CommitListener:
    """Tells the tile source and the publisher of every commit, in this order."""

    def __init__(self, tiles: EmbeddedTiles, publisher: Publisher, metrics: TreeMetrics) -> None:
        self._tiles = tiles
        self._publisher = publisher
        self._metrics = metrics

    def signer(self) -> Callable[[Head], bytes] | None:
        """See `core.ordering.Listener`."""
        return self._publisher.signer()

    def committed(self, change: Integration, signed: bytes | None) -> None:
        """See `core.ordering.Listener`. Whoever learns of a head can read its tiles."""
        self._tiles.advance(change)
        self._publisher.committed(change.edge.head, signed)
        self._metrics.integrated(change.edge.head.size)


class OpenLog(Struct, Generic[H], frozen=True):
    """A log that may be written."""

    tiles: EmbeddedTiles
    heads: H
    publisher: Publisher
    listener: CommitListener
    doubts: Doubts


async def open_log(
    config: LogConfig,
    storage: LogStorage[H],
    witnesses: Witnesses,
    *,
    metrics: TreeMetrics,
    is_committing: Callable[[], bool],
    now: Callable[[], int],
    keepers: CosignedKeepers | None = None,
) -> OpenLog[H]:
    """Compares a log with all that is known of it, and puts its writing parts together.

    `is_committing` tells whether a commit is under way or follows at once; `now` gives Unix
    seconds. `keepers` keep what those cosign that no head waits for; without keepers none of these
    is asked.

    Raises:
        RolledBackError: the storage, the bucket and the witnesses contradict each other.
        StorageError: what is stored is damaged.
        UnavailableError: the storage cannot be reached.
    """
    file, stored, asked = config.file, storage.stored, witnesses.asked
    tiles = EmbeddedTiles(
        storage.full,
        storage.edge,
        stored.published,
        damaged=metrics.damaged_tile,
        recent=RECENT_BYTES if asked.mirrors else 0,
        pruned=storage.min_index,
    )
    for note in (stored.signed, stored.published):
        if note is not None:
            await check_note(note, file.origin, tiles, stored.head)
    keys = config.verifiers
    await storage.compare(keys, tiles)
    past = PastCheck(
        origin=file.origin,
        keys=keys,
        tiles=tiles,
        head=lambda: tiles.edge.head,
        still_leads=storage.still_leads,
    )
    doubts = Doubts(
        check=past,
        cosigners=asked,
        silent=await past.at_start(asked.all, file.limits.start_seconds),
        seconds=file.limits.start_seconds,
        unproven=EMPTY if stored.head.size == 0 else COPY if storage.is_copy else "",
    )
    await storage.make_ready()
    heads = storage.heads(tiles)
    signer = HeadSigner(file.origin, config.signers, now, stored.signed)
    signed = stored.signed
    if signed is not None and signer.last == stored.head and not signer.has_signed(signed):
        # A key is new: an idle log shows its signature at once, too.
        signed = await heads.put_signed(lambda: signer.sign(stored.head))
    rated = mirrored = Keeping()
    if keepers is not None:
        published = _size_of(stored.published)
        rated = await load_kept(keepers.rated, file.origin, tiles, published)
        mirrored = await load_kept(keepers.mirrored, file.origin, tiles, published)
    publisher = Publisher(
        signer=signer,
        store=heads,
        tiles=tiles,
        cosigners=asked.quorum if keepers is None else asked,
        metrics=metrics,
        limits=file.limits.publisher,
        doubts=doubts,
        head=stored.head,
        signed=signed,
        published=stored.published,
        is_committing=is_committing,
        rated_kept=rated,
        mirrors_kept=mirrored,
    )
    metrics.integrated(stored.head.size)
    return OpenLog(tiles, heads, publisher, CommitListener(tiles, publisher, metrics), doubts)
