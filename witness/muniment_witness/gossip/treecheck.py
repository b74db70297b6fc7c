"""C2SP tlog-tiles, "Merkle Tree": what the tiles of one tree say about an older one, purely.

A *view* is the tree behind one signed checkpoint. `tiles_for` says which tiles show how an older
size relates to it; `prefix_of` verifies them, every hash, against the view's root, and computes
what the view has at the older size: the root and the consistency proof. So tiles either belong to
the view, and then the answer is a proof, or they do not, and then they say nothing about the log.

Why that verifies every hash: the tiles on the right edge hold exactly the perfect subtrees that
make up the tree, so the root computed from them commits to all of their hashes; every other tile
is full, and its own root is one hash of the tile above it.
"""

from collections.abc import Mapping

from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import Head, Prefix
from muniment.tlog.merkle import root_of
from muniment.tlog.proofs import (
    nodes_from_tiles,
    plan_consistency,
    plan_root,
    tiles_of_nodes,
)
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, check_tile, tile_at


def tiles_for(old: int, new: int) -> tuple[Tile, ...]:
    """The tiles that `prefix_of` needs: at most 8 levels, three tiles or so in each.

    Raises:
        ValueError: If not ``0 <= old <= new``.
    """
    plan = plan_consistency(old, new)
    nodes = dict.fromkeys((*plan_root(new).nodes, *plan.nodes, *plan_root(old).nodes))
    tiles = dict.fromkeys(tiles_of_nodes(nodes, new))
    for tile in tuple(tiles):
        while not tile.is_partial:
            tile = tile_at(tile.level + 1, tile.index >> TILE_HEIGHT, new)
            tiles.setdefault(tile)
    return tuple(tiles)


def prefix_of(view: Head, old: int, tiles: Mapping[Tile, bytes]) -> Prefix:
    """Verifies the tiles of a view and says what it has at an older size.

    Args:
        view: Size and root of the view.
        old: The older size.
        tiles: Contents of `tiles_for(old, view.size)`, at least; more is ignored.

    Raises:
        VerificationError: If they are not the tiles of that view.
        FormatError: If a tile has the wrong length.
        ValueError: If a tile is missing, or `old` is more than the view's size.
    """
    needed = tiles_for(old, view.size)
    hashes = {tile: check_tile(tile, tiles[tile]) for tile in needed}
    edge = plan_root(view.size)
    if edge.assemble(nodes_from_tiles(edge.nodes, view.size, tiles)) != (view.root,):
        raise VerificationError("the tiles are not those of the checkpoint: another root")
    for tile in needed:
        if tile.is_partial:
            continue  # on the right edge: just verified
        above = hashes[tile_at(tile.level + 1, tile.index >> TILE_HEIGHT, view.size)]
        if root_of(hashes[tile]) != above[tile.index % TILE_WIDTH]:
            raise VerificationError(f"the tiles do not fit together at {tile.path}")
    plan, older = plan_consistency(old, view.size), plan_root(old)
    nodes = nodes_from_tiles(dict.fromkeys((*plan.nodes, *older.nodes)), view.size, tiles)
    return Prefix(older.assemble(nodes)[0], plan.assemble(nodes))
