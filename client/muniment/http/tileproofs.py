"""Proofs made from a log's tiles (C2SP tlog-tiles: fetch the tiles, compute any proof).

They need nothing of a log but static files, so they also work on a mirror. What comes out is as
unverified as the tiles are; verify it against a checkpoint.
"""

import asyncio
from collections.abc import Iterable

from muniment.http.logclient import LogClient
from muniment.tlog.proofs import (
    Node,
    nodes_from_tiles,
    plan_consistency,
    plan_inclusion,
    plan_root,
    tiles_of_nodes,
)


async def fetch_nodes(client: LogClient, nodes: Iterable[Node], size: int) -> dict[Node, bytes]:
    """Reads the tiles that hold some nodes, at the same time, and takes the nodes from them.

    Raises:
        Unreachable, Refused, BadAnswer: As ``LogClient.tile``.
    """
    wanted = tuple(nodes)
    tiles = tiles_of_nodes(wanted, size)
    contents = await asyncio.gather(*map(client.tile, tiles))
    return nodes_from_tiles(wanted, size, dict(zip(tiles, contents, strict=True)))


async def fetch_inclusion(
    client: LogClient, index: int, size: int
) -> tuple[bytes, tuple[bytes, ...]]:
    """Reads a leaf hash and makes its inclusion proof in a tree of ``size``.

    Raises:
        ValueError: If the tree has no such leaf.
        Unreachable, Refused, BadAnswer: As ``LogClient.tile``.
    """
    plan = plan_inclusion(index, size)
    leaf = Node(0, index)
    hashes = await fetch_nodes(client, dict.fromkeys((leaf, *plan.nodes)), size)
    return hashes[leaf], plan.assemble(hashes)


async def fetch_consistency(
    client: LogClient, old: int, new: int
) -> tuple[tuple[bytes, ...], bytes]:
    """Makes a consistency proof, and the root at the old size, both as the new tree has them.

    Raises:
        ValueError: If not ``0 <= old <= new``.
        Unreachable, Refused, BadAnswer: As ``LogClient.tile``.
    """
    proof, old_root = plan_consistency(old, new), plan_root(old)
    hashes = await fetch_nodes(client, dict.fromkeys((*proof.nodes, *old_root.nodes)), new)
    return proof.assemble(hashes), old_root.assemble(hashes)[0]
