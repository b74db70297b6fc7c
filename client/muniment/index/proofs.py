"""Hash tiles from a replica's own leaves (C2SP tlog-tiles, RFC 6962): no log is asked for them.

A replica compared the root of all its leaves with the checkpoint when it took them; a proof that is
made of its tiles is still to be verified, as the file may have been damaged since. The siblings of
a path cover the whole tree, so a proof costs little more than one pass over the replica: about a
second for a million leaves.
"""

from collections.abc import Iterable, Mapping

from muniment.errors import InputError
from muniment.index.bundles import Bundles
from muniment.index.reader import IndexReader
from muniment.lineage.bundle import Bundle, build_bundle
from muniment.lineage.model import Trace
from muniment.lineage.multiproof import plan_multiproof
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import HASH_SIZE, leaf_hashes, root_of, split_hashes
from muniment.tlog.proofs import Node, nodes_from_tiles, tiles_of_nodes
from muniment.tlog.tiles import TILE_WIDTH, Tile


def prove_trace(
    reader: IndexReader, found: Trace, extra: Iterable[int] = (), addenda: Iterable[bytes] = ()
) -> Bundle:
    """The bundle of a trace, with all nodes computed from the replica's own leaves.

    `extra` are leaves beside those of the trace, `addenda` disclose what its records withhold.
    Raises InputError if the trace has no records; what `build_bundle` raises.
    """
    checkpoint = reader.state().checkpoint
    if checkpoint is None or not found.records:
        raise InputError("nothing is known of this run, so there is nothing to prove")
    size = checkpoint.checkpoint.size
    entries = dict(reader.leaves(sorted({*found.records, *found.manifests, *extra})))
    hashes = nodes_of(reader, plan_multiproof(entries, size), size)
    return build_bundle(found.execution, checkpoint, entries, hashes, [*addenda])


def nodes_of(source: Bundles, nodes: Iterable[Node], size: int) -> dict[Node, bytes]:
    """The hashes of nodes of the replica's tree of `size`; DatabaseError if a leaf is missing."""
    wanted = tuple(nodes)
    tiles: dict[Tile, bytes] = {}
    for tile in sorted(tiles_of_nodes(wanted, size)):  # the lowest first: no leaf is hashed twice
        tiles[tile] = _tile(source, tile, tiles)
    return nodes_from_tiles(wanted, size, tiles)


def _tile(source: Bundles, tile: Tile, known: Mapping[Tile, bytes]) -> bytes:
    if (data := known.get(tile)) is not None:
        return data
    if tile.level == 0:
        entries = unframe(source.bundle(tile.index))
        return b"".join(leaf_hashes(entries))[: tile.width * HASH_SIZE]
    first = tile.index * TILE_WIDTH
    below = [Tile(tile.level - 1, index, TILE_WIDTH) for index in range(first, first + tile.width)]
    return b"".join([root_of(split_hashes(_tile(source, one, known))) for one in below])
