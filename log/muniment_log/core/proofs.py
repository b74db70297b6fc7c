"""Proofs out of tiles (RFC 6962 section 2.1): plan, read once, assemble.

Costs one call to the tile source, whatever is asked for together; what is read is a handful of
tiles per proof, most of them shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.auditpaths import plan_inclusions
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.proofs import (
    Node,
    Plan,
    nodes_from_tiles,
    plan_consistency,
    plan_root,
)
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, check_bundle, tile_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.tiles import Tile
    from muniment_log.core.ports import TileSource


async def inclusion_proofs(
    source: TileSource, start: int, end: int, size: int
) -> list[tuple[bytes, ...]]:
    """The audit paths of the leaves [start, end) in the tree of `size`, in order.

    Raises:
        ValueError: not ``0 <= start <= end <= size``.
        LookupError: the tree of that size is not committed.
        StorageError: the storage fails.
    """
    plan = plan_inclusions(start, end, size)
    return plan.assemble(await _read(source, plan.nodes, plan.tiles(size), size))


async def consistency_proof(source: TileSource, old: int, new: int) -> tuple[bytes, ...]:
    """The proof that the tree of size `new` extends that of size `old`.

    Raises:
        ValueError: not ``0 <= old <= new``.
        LookupError: the tree of size `new` is not committed.
        StorageError: the storage fails.
    """
    return await _assemble(source, plan_consistency(old, new), new)


async def root_at(source: TileSource, size: int) -> bytes:
    """The root of the tree of `size`.

    Raises:
        LookupError: that tree is not committed.
        StorageError: the storage fails.
    """
    return (await _assemble(source, plan_root(size), size))[0]


async def leaf_hash_at(source: TileSource, index: int, size: int) -> bytes:
    """The leaf hash at `index` of the tree of `size`.

    Raises:
        ValueError: the index is not below the size.
        LookupError: the tree of that size is not committed.
        StorageError: the storage fails.
    """
    tile = tile_at(0, index // TILE_WIDTH, size)
    data = (await source.read([tile]))[tile]
    at = index % TILE_WIDTH * HASH_SIZE
    return data[at : at + HASH_SIZE]


async def entry_at(source: TileSource, index: int, size: int) -> bytes:
    """The leaf bytes at `index` of the tree of `size`.

    Raises:
        ValueError: the index is not below the size.
        LookupError: the tree of that size is not committed.
        StorageError: the storage fails.
    """
    bundle = tile_at(ENTRIES, index // TILE_WIDTH, size)
    data = (await source.read([bundle]))[bundle]
    return check_bundle(bundle, data)[index % TILE_WIDTH]


async def _assemble(source: TileSource, plan: Plan, size: int) -> tuple[bytes, ...]:
    return plan.assemble(await _read(source, plan.nodes, plan.tiles(size), size))


async def _read(
    source: TileSource, nodes: Sequence[Node], tiles: Sequence[Tile], size: int
) -> dict[Node, bytes]:
    return nodes_from_tiles(nodes, size, await source.read(tiles) if tiles else {})
