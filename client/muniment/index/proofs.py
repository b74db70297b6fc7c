"""Proof nodes from a replica's own leaves (RFC 6962): no log is asked for them.

A node is the root of the leaves below it. A replica compared the root of all its leaves with the
checkpoint when it took them; the proof that is made of the nodes is still to be verified, as the
file may have been damaged since. Nodes of one proof hardly overlap, so the cost is at most one pass
over the replica: about a second for a million leaves, much less for recent ones.
"""

from collections.abc import Iterable

from muniment.index.reader import IndexReader
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import leaf_hashes, node_hash, root_of
from muniment.tlog.proofs import Node
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH


def nodes_of(reader: IndexReader, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """Computes the hashes of perfect subtrees; raises `DatabaseError` if a leaf is missing."""
    tiles: dict[int, list[bytes]] = {}
    return {node: _node(reader, node, tiles) for node in nodes}


def _node(reader: IndexReader, node: Node, tiles: dict[int, list[bytes]]) -> bytes:
    if node.level > TILE_HEIGHT:
        left = Node(node.level - 1, 2 * node.index)
        right = left._replace(index=left.index + 1)
        return node_hash(_node(reader, left, tiles), _node(reader, right, tiles))
    number = (node.index << node.level) // TILE_WIDTH
    if node.level == TILE_HEIGHT:
        return root_of(leaf_hashes(unframe(reader.bundle(number))))
    if number not in tiles:
        # Several nodes of a proof lie in one bundle; above that level none does.
        tiles[number] = leaf_hashes(unframe(reader.bundle(number)))
    start = (node.index << node.level) % TILE_WIDTH
    return root_of(tiles[number][start : start + (1 << node.level)])
