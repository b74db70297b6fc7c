"""Completeness proofs of the tests' small log: the map in memory, and an index log beside it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from governed import WITNESSES, World
from memtree import MemTree
from muniment.complete.keys import Key
from muniment.complete.listing import MAX_LISTED, KeyList
from muniment.complete.prooffile import CompleteProof, make_complete
from muniment.lineage.multiproof import plan_multiproof
from muniment.records.touched import touched
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf, index_origin
from muniment.tlog.proofs import Node
from rfc6962 import MTH, PATH
from signing import NOW, log_signer, witness


@dataclass
class Indexed:
    """The index of a world's first leaves: its map, and an index log with a few leaves."""

    world: World
    size: int
    before: tuple[bytes, ...] = ()
    tree: MemTree = field(default_factory=MemTree)
    lists: dict[bytes, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World, size: int | None = None, *, hide: Iterable[int] = ()) -> "Indexed":
        """Indexes a world; `hide` are leaves that a lying map leaves out."""
        made = cls(world, len(world.records) if size is None else size)
        left_out = set(hide)
        for index, leaf in enumerate(world.entries()[: made.size]):
            for key in () if index in left_out else touched(leaf, world.origin):
                made.lists.setdefault(key, []).append(index)
        made.remake()
        made.before = tuple(b"an earlier leaf %d" % number for number in range(6))
        return made

    def remake(self) -> None:
        """Makes the map of the lists as they are, for who has changed them."""
        self.tree = MemTree()
        for key, indices in self.lists.items():
            value = KeyList.of(indices).value()
            if value is not None:
                self.tree.set(key, value)

    def prove(
        self,
        keys: Iterable[Key],
        *,
        records: bool = False,
        limit: int = MAX_LISTED,
        now: int = NOW,
        index_now: int = NOW,
    ) -> CompleteProof:
        """The proof of some keys, as the log would give it."""
        wanted = list(dict.fromkeys(keys))
        lists = {key: KeyList.of(self.lists.get(key.digest, []), limit) for key in wanted}
        entries = self.world.entries()[: self.size]
        log = self._signed(Checkpoint(self.world.origin, self.size, MTH(entries)), now)
        root = self.tree.root
        leaf = IndexLeaf(self.world.origin, Head(self.size, MTH(entries)), root)
        leaves = [*self.before, leaf.encode()]
        origin = index_origin(self.world.origin)
        index = self._signed(Checkpoint(origin, len(leaves), MTH(leaves)), index_now)
        chosen = {one for listing in lists.values() for one in listing.indices} if records else ()
        return make_complete(
            log,
            index,
            root,
            lists,
            self.tree.prove_many([key.digest for key in wanted])[1],
            PATH(len(leaves) - 1, leaves),
            entries={one: entries[one] for one in chosen},
            hashes=_hashes(chosen, entries) if chosen else {},
        )

    def _signed(self, checkpoint: Checkpoint, now: int) -> SignedCheckpoint:
        cosigners = [witness(name) for name in WITNESSES]
        signer = log_signer(self.world.origin).under(checkpoint.origin)
        return sign_checkpoint(checkpoint, [signer, *cosigners], now)


def _hashes(chosen: Iterable[int], entries: list[bytes]) -> dict[Node, bytes]:
    return {
        node: MTH(entries[node.index << node.level : (node.index + 1) << node.level])
        for node in plan_multiproof(chosen, len(entries))
    }
