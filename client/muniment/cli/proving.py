"""Making proofs from a log's tiles: the checkpoint that one is to lead to, and the way there."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple

from muniment.errors import BadAnswer, FormatError, InputError
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.proofs import verify_inclusion
from muniment.tlog.tlogproof import TlogProof
from muniment.tlog.treereader import read_inclusion

FRESH_PAUSES: Final = (0.5, 1.0, 1.5, 2.0, 2.5, 2.5)
"""Seconds between two looks whether the witnesses with a rate of their own have cosigned a tree
that is large enough: one that is asked once a second has, long before the last."""


async def newest_checkpoint(client: LogClient, size: int = 0) -> SignedCheckpoint:
    """The checkpoint that a log shows, unverified.

    Whoever answers may be a copy that is behind: it is asked again for a while when the tree has
    fewer than `size` leaves, and what it shows at last is returned.
    """
    for pause in (*client.pauses, None):
        newest = _parse(await client.checkpoint())
        if pause is None or newest.checkpoint.size >= size:
            return newest
        await asyncio.sleep(pause)
    raise AssertionError("the loop returns")


async def cosigned_checkpoint(client: LogClient, size: int) -> SignedCheckpoint:
    """The newest checkpoint with as many cosignatures as the log has, unverified.

    Of a tree of at least `size` leaves, which is waited for; after that, and of a log that asks no
    witness within a rate and has no mirrors, it is the one of `newest_checkpoint`.
    """
    for attempt in count():
        newest = await newest_checkpoint(client, size)
        notes = (await client.cosigned_checkpoint(), await client.newest_mirrored())
        kept = [_parse(data) for data in notes if data is not None]
        if attempt == len(FRESH_PAUSES) or all(one.checkpoint.size >= size for one in kept):
            return _widest(newest, kept, size)
        await asyncio.sleep(FRESH_PAUSES[attempt])
    raise AssertionError("the loop returns")


def _widest(
    newest: SignedCheckpoint, kept: Sequence[SignedCheckpoint], size: int
) -> SignedCheckpoint:
    """The one with the most signatures, of trees that are large enough; of several the newest."""
    joined = {newest.checkpoint: newest}
    for one in kept:
        if one.checkpoint in joined:
            before = joined[one.checkpoint]
            joined[one.checkpoint] = before.with_signatures(one.note.signatures)
        elif one.checkpoint.size >= size:
            joined[one.checkpoint] = one
    return max(joined.values(), key=lambda one: (len(one.note.signatures), one.checkpoint.size))


async def mirrored_checkpoint(client: LogClient, size: int) -> SignedCheckpoint:
    """The newest checkpoint that mirrors hold, of a tree of at least `size` leaves, unverified.

    It is waited for as long as for one that rated witnesses cosign. Raises Refused if there is
    none; InputError if a copy of the log shows a smaller one.
    """
    found = _parse(await client.mirrored_checkpoint(size, sum(FRESH_PAUSES)))
    if found.checkpoint.size < size:
        raise InputError(
            f"the mirrors of this log hold {found.checkpoint.size} leaves, not yet {size}"
        )
    return found


def _parse(data: bytes) -> SignedCheckpoint:
    try:
        return parse_signed_checkpoint(data)
    except FormatError as error:
        raise BadAnswer(f"checkpoint: {error}") from None


class MadeProof(NamedTuple):
    """A proof that leads from a leaf hash to its checkpoint's root."""

    proof: TlogProof
    leaf_hash: bytes


async def prove_leaf(client: LogClient, checkpoint: SignedCheckpoint, index: int) -> MadeProof:
    """Makes the proof of a leaf in the tree of a checkpoint from tiles, and checks it."""
    head = checkpoint.checkpoint
    try:
        hashed, nodes = await read_inclusion(log_tiles(client, head.head), index, head.size)
    except FormatError as error:
        raise BadAnswer(str(error)) from None
    verify_inclusion(hashed, index, head.size, nodes, head.root)
    return MadeProof(TlogProof(index, nodes, checkpoint), hashed)
