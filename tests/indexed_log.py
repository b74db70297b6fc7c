"""A log and its index log as files, made by hand: an honest index, or one that omits leaves.

log = IndexedLog(folder)
log.append(records)            # leaves, and what the log signs of them
log.index(hide={7})            # a leaf of the index, whose map does not know leaf 7
log.write()                    # tiles and checkpoints, below folder/ and folder/index/
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memtree import MemTree, list_value
from muniment.records.touched import touched
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.encoding import frame
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf, index_origin
from muniment.tlog.merkle import leaf_hashes, pair_hashes, root_of
from muniment.tlog.note import Ed25519Signer, Signer
from muniment.tlog.proofs import Node, plan_consistency
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, tile_at
from muniment.tlog.treereader import Fetch
from muniment.tlog.witnesswire import AddCheckpoint
from signing import log_signer


@dataclass
class Leaves:
    """One of the two logs: its leaves, and the key that signs them."""

    origin: str
    signer: Ed25519Signer
    leaves: list[bytes] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    """Sizes at which its tiles are served, beside the present one."""

    @property
    def head(self) -> Head:
        return Head(len(self.leaves), root_of(leaf_hashes(self.leaves)))

    @property
    def signed(self) -> SignedCheckpoint:
        return sign_checkpoint(Checkpoint(self.origin, *self.head), [self.signer], 0)

    @property
    def vkey(self) -> str:
        return str(self.signer.vkey)

    def request(self, old: int = 0) -> bytes:
        """What asks a witness to cosign the head."""
        proof: tuple[bytes, ...] = ()
        if old:
            plan = plan_consistency(old, len(self.leaves))
            proof = plan.assemble({node: self._node(node) for node in plan.nodes})
        return AddCheckpoint(old, proof, self.signed).encode()

    def _node(self, node: Node) -> bytes:
        start, end = node.index << node.level, (node.index + 1) << node.level
        return root_of(leaf_hashes(self.leaves[start:end]))

    def tiles(self) -> dict[Tile, bytes]:
        """All tiles and bundles, at their present width."""
        size, hashes = len(self.leaves), leaf_hashes(self.leaves)
        found: dict[Tile, bytes] = {}
        for start in range(0, size, TILE_WIDTH):
            tile = tile_at(ENTRIES, start // TILE_WIDTH, size)
            found[tile] = frame(self.leaves[start : tile.end])
        level = 0
        while hashes:
            for start in range(0, len(hashes), TILE_WIDTH):
                part = hashes[start : start + TILE_WIDTH]
                found[Tile(level, start // TILE_WIDTH, len(part))] = b"".join(part)
            for _ in range(8):
                hashes = pair_hashes(hashes[: len(hashes) // 2 * 2])
            level += 1
        return found

    def fetch(self) -> Fetch:
        """Reads the tiles as they are now, and as they were."""

        async def fetch(tiles: Sequence[Tile]) -> dict[Tile, bytes]:
            return {tile: self.tile(tile) for tile in tiles}

        return fetch

    def tile(self, tile: Tile) -> bytes:
        now = Leaves(
            self.origin, self.signer, self.leaves[: tile.end] if tile.level <= 0 else self.leaves
        )
        found = now.tiles()
        whole = next(data for each, data in found.items() if each[:2] == tile[:2])
        return whole if tile.level == ENTRIES else whole[: 32 * tile.width]

    def write(self, folder: Path, cosigners: Sequence[Signer], now: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        head = Checkpoint(self.origin, *self.head)
        note = sign_checkpoint(head, [self.signer, *cosigners], now)
        (folder / "checkpoint").write_bytes(note.encode())
        tiles: dict[Tile, bytes] = {}
        for size in {*self.sizes, len(self.leaves)}:
            tiles |= Leaves(self.origin, self.signer, self.leaves[:size]).tiles()
        for tile, data in tiles.items():
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class IndexedLog:
    """A log and its index log."""

    def __init__(self, folder: Path, origin: str, signer: Ed25519Signer | None = None) -> None:
        self.folder = folder
        signer = signer or log_signer(origin)
        self.log = Leaves(origin, signer)
        self.indexed = Leaves(index_origin(origin), signer.under(index_origin(origin)))

    def index(self, *, hide: Collection[int] = ()) -> IndexLeaf:
        """Appends a leaf to the index: the map over all leaves but those that are hidden."""
        lists: dict[bytes, list[int]] = {}
        for at, leaf in enumerate(self.log.leaves):
            for key in () if at in hide else touched(leaf, self.log.origin):
                lists.setdefault(key, []).append(at)
        root = MemTree((key, list_value(indices)) for key, indices in lists.items()).root
        leaf = IndexLeaf(self.log.origin, self.log.head, root)
        self.indexed.leaves.append(leaf.encode())
        self.log.sizes.add(leaf.head.size)
        return leaf

    def write(self, cosigners: Sequence[Signer] = (), now: int = 1) -> None:
        """Writes what both logs serve, with what some witnesses have cosigned."""
        self.log.write(self.folder, cosigners, now)
        self.indexed.write(self.folder / "index", cosigners, now)
