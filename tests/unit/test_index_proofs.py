"""Nodes of proofs out of a replica's leaves."""

from collections import Counter

from muniment.index.proofs import nodes_of
from muniment.tlog.encoding import frame
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.proofs import plan_consistency, plan_inclusion, verify_inclusion

SIZE = 2 * 65_536 + 700
LEAVES = [b"%d" % index for index in range(SIZE + 90)]


class Source:
    def __init__(self) -> None:
        self.read = Counter[int]()

    def bundle(self, index: int) -> bytes:
        self.read[index] += 1
        return frame(LEAVES[index * 256 : (index + 1) * 256])


def test_nodes_are_those_of_the_tree_at_its_size() -> None:
    hashes = leaf_hashes(LEAVES[:SIZE])
    source = Source()
    for index in (0, 65_535, SIZE - 1):
        plan = plan_inclusion(index, SIZE)
        proof = plan.assemble(nodes_of(source, plan.nodes, SIZE))
        verify_inclusion(hashes[index], index, SIZE, proof, root_of(hashes))
    plan = plan_consistency(66_000, SIZE)
    for node, computed in nodes_of(source, plan.nodes, SIZE).items():
        first = node.index << node.level
        assert computed == root_of(hashes[first : first + (1 << node.level)])


def test_no_bundle_is_read_twice_for_one_proof() -> None:
    source = Source()
    nodes_of(source, plan_inclusion(70_000, SIZE).nodes, SIZE)
    assert max(source.read.values()) == 1
