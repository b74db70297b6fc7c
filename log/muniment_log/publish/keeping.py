"""The newest checkpoint of cosigners that no head waits for, kept for the next start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.treereader import read_root
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.core.ports import TileSource

_LOGGER: Final = logging.getLogger(__name__)


class CosignedKeeper(Protocol):
    """Where such a checkpoint is kept; losing it costs nothing but time."""

    async def load(self) -> bytes | None:
        """What was kept; None when there is none."""
        ...

    async def keep(self, note: bytes) -> None:
        """Replaces what was kept before."""
        ...


async def _forget(_: bytes) -> None:
    """Nobody keeps it."""


class CosignedKeepers(NamedTuple):
    """Where it is kept of witnesses with a rate of their own, and of mirrors."""

    rated: CosignedKeeper
    mirrored: CosignedKeeper


class Keeping(NamedTuple):
    """What was kept before, None without any, and what keeps the next."""

    kept: SignedCheckpoint | None = None
    keep: Callable[[bytes], Awaitable[None]] = _forget


async def load_kept(keeper: CosignedKeeper, origin: str, tiles: TileSource, size: int) -> Keeping:
    """What a keeper has, if the tree contains it; of what cannot be used an event tells.

    `size` is that of the published tree: beyond it nothing is shown.
    """
    with Contained("kept cosignatures") as outcome:
        data = await keeper.load()
        if data is None:
            return Keeping(None, keeper.keep)
        kept = parse_signed_checkpoint(data)
        head = kept.checkpoint
        if head.origin != origin or head.size > size:
            raise StorageError("they are of another log, or of a tree that is not published")
        if await read_root(tiles, head.size) != head.root:
            raise StorageError("they are of another tree")
        return Keeping(kept, keeper.keep)
    event(_LOGGER, logging.WARNING, "kept cosignatures are not used", error=outcome.error)
    return Keeping(None, keeper.keep)
