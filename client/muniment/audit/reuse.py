"""Whether an id that came again stands for other content: the leaves are read once more for that.

An audit keeps some bits of each record, not the record, and they are of all of it. A record
without a `time` gets one when it is logged; sent twice, it is logged with two times under one id.
That is a repetition, and nobody's lie. Ids that come again are rare, so reading their leaves once
more costs less than another hash of every record would.

An audit also tells producers apart by 16 bits, and ids by 64. What is read again tells whether it
is one producer's id: of 300 producers that all count from 1, two have the same bits as a rule.
"""

from collections.abc import Collection
from hashlib import sha256
from itertools import islice
from typing import Final, TypeAlias

from muniment.audit.events import identity_in
from muniment.audit.relations import Reuse, Warned
from muniment.audit.relationstore import Judgement
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.records.content import content_of
from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, check_bundle, tile_at

AT_ONCE: Final = 256
"""Ids looked at together; their leaves are in memory meanwhile, two for each."""

WINDOW: Final = 16
"""Entry bundles fetched at the same time."""

MIN_BUNDLES: Final = 1_000
"""Entry bundles that may be read again however small the log is; else as many as it has twice."""

_Others: TypeAlias = dict[tuple[int, bytes], tuple[int, bytes]]
"""Leaf index and hash of the content of the first leaf with an id of its own, which an audit cannot
tell from that of the earlier leaf `before`; by that leaf, and a hash of kind, id and producer."""


async def excuse(client: LogClient, found: Judgement, head: Head) -> None:
    """Takes out of `found` the reused ids whose records differ in nothing but their time.

    A warning is added when there are so many that not all could be looked at. Leaves other than
    those of the audited tree, whose head is given, excuse nobody. Raises Unreachable, Refused or
    FormatError if the log does not serve its bundles any more.
    """
    budget = max(MIN_BUNDLES, 2 * -(-head.size // TILE_WIDTH))
    waiting = sorted(found.reuses)
    others: _Others = {}
    kept: list[Reuse] = []
    for start in range(0, len(waiting), AT_ONCE):
        part = waiting[start : start + AT_ONCE]
        wanted = {index for one in part for index in (one.index, one.before)}
        budget -= len({index // TILE_WIDTH for index in wanted})
        if budget < 0:
            left = len(waiting) - start
            sentence = f"from entry {part[0].index} on {left} ids come again: too many to compare"
            found.warn(Warned("unread-id-reuse", part[0].index, sentence))
            break
        try:
            leaves = await read_leaves(client, wanted, head)
        except VerificationError:
            kept += waiting[start:]
            break
        kept += [said for one in part if (said := _unexcused(one, leaves, others)) is not None]
    found.reuses = kept


def _unexcused(one: Reuse, leaves: dict[int, bytes], others: _Others) -> Reuse | None:
    """What is left to say of an id that came again, once its leaves have been read."""
    later, first = leaves[one.index], leaves[one.before]
    try:
        content = sha256(content_of(later)).digest()
        identity = identity_in(later)
        if identity == identity_in(first):
            return None if content == sha256(content_of(first)).digest() else one
    except ValueError:  # no records
        return one
    name = sha256(repr(identity).encode()).digest()
    index, known = others.setdefault((one.before, name), (one.index, content))
    return None if known == content else one._replace(before=index)


async def read_leaves(client: LogClient, wanted: Collection[int], head: Head) -> dict[int, bytes]:
    """Reads leaves by their indices again, authenticated by the head of the audited tree.

    Raises VerificationError if the log shows others; Unreachable, Refused or FormatError as
    `LogClient.tile`.
    """
    tiles = log_tiles(client, head)
    numbers = iter(sorted({index // TILE_WIDTH for index in wanted}))
    leaves: dict[int, bytes] = {}
    while part := [tile_at(ENTRIES, number, head.size) for number in islice(numbers, WINDOW)]:
        contents = await tiles.read(part)
        for tile in part:
            held = enumerate(check_bundle(tile, contents[tile]), tile.start)
            leaves.update((index, leaf) for index, leaf in held if index in wanted)
    return leaves
