"""Notice a database that was rolled back (design section 4; C2SP tlog-witness, "Monitor …").

A database restored from an old copy looks sound in itself. Only somebody outside remembers more:
the witnesses. Before the log takes anything it asks each of them for the newest checkpoint that
they hold of it. One that the log's key signed, and that the tree on disk does not contain, means
that going on would fork the log.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from muniment.formats.checkpoint import parse_signed_checkpoint
from muniment.formats.encoding import MunimentError
from muniment.service.logging import event
from muniment_log.errors import RolledBackError, StorageError
from muniment_log.proofs import root_at
from muniment_log.witness import WitnessClient, WitnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.formats.checkpoint import SignedCheckpoint
    from muniment.formats.note import Verifier
    from muniment_log.storage.port import Head, TileSource

_LOGGER = logging.getLogger(__name__)


async def check_witnesses(
    witnesses: Sequence[WitnessClient],
    origin: str,
    keys: Sequence[Verifier],
    tiles: TileSource,
    head: Head,
    seconds: float,
) -> None:
    """Compares the tree with what the witnesses remember, and notes the sizes they tell.

    A witness that cannot be asked only causes a warning: it may be down, and later rounds with it
    would fail anyway.

    Args:
        witnesses: whom to ask, all at the same time.
        origin: the log's origin.
        keys: verifiers of the log's own keys; what they did not sign proves nothing.
        tiles: the tree on disk.
        head: its size and root.
        seconds: how long to wait for all of them.

    Raises:
        RolledBackError: a witness knows a head of this log that the tree does not contain.
    """

    async def ask(witness: WitnessClient) -> SignedCheckpoint | None:
        try:
            async with asyncio.timeout(seconds):
                return await witness.latest(origin, keys)
        except (WitnessError, TimeoutError) as error:
            event(
                _LOGGER,
                logging.WARNING,
                "a witness cannot be asked for its latest head",
                witness=witness.label,
                error=str(error) or "no answer in time",
            )
            return None

    answers = await asyncio.gather(*map(ask, witnesses))
    for witness, signed in zip(witnesses, answers, strict=True):
        if signed is None:
            continue
        known = signed.checkpoint
        if known.size > head.size:
            raise RolledBackError(
                f"the database was rolled back: it holds {head.size} leaves, but the witness "
                f"{witness.label} has a checkpoint of {known.size} that this log signed"
            )
        if await root_at(tiles, known.size) != known.root:
            raise RolledBackError(
                f"the database holds another history: at size {known.size} its root is not the "
                f"one that this log signed and the witness {witness.label} has seen"
            )
        witness.size = known.size


async def check_note(note: bytes, origin: str, tiles: TileSource, head: Head) -> None:
    """Compares a stored checkpoint with the tree: what was shown once must still be true.

    Raises:
        StorageError: the note is damaged, or the tree does not contain its head.
    """
    try:
        known = parse_signed_checkpoint(note).checkpoint
    except MunimentError as error:
        raise StorageError(f"a stored checkpoint is damaged: {error}") from error
    if known.origin != origin or known.size > head.size:
        raise StorageError(
            f"the database holds {head.size} leaves, but a signed checkpoint of {known.size}"
        )
    if await root_at(tiles, known.size) != known.root:
        raise StorageError(f"the tree is not the one whose head of size {known.size} was signed")
