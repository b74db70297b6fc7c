"""Inclusion proofs from a replica, by the roots of bundles that the pages' own file keeps.

A proof is verified against the replica's checkpoint before anybody sees it: neither file is
believed.
"""

from typing import Final

from muniment.explore.table import TableReader
from muniment.index.proofs import nodes_of
from muniment.index.reader import IndexReader
from muniment.lineage.facts import FactsError
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import VerificationError
from muniment.tlog.merkle import EMPTY_ROOT, leaf_hash, leaf_hashes, root_of
from muniment.tlog.proofs import (
    Node,
    plan_inclusion,
    plan_root,
    root_from_inclusion,
    verify_inclusion,
)
from muniment.tlog.tiles import TILE_WIDTH
from muniment.tlog.tlogproof import TlogProof

_BUNDLE: Final = TILE_WIDTH.bit_length() - 1  # the level of a full bundle's root


def prove(
    reader: IndexReader, table: TableReader, index: int, checkpoint: SignedCheckpoint
) -> TlogProof:
    """The proof that a leaf is in the tree of a checkpoint which the replica has reached.

    Costs some milliseconds; a second for a million leaves, where the table is behind, or wrong.

    Raises FactsError if the replica's leaves are not those of the checkpoint.
    """
    head = checkpoint.checkpoint
    plan = plan_inclusion(index, head.size)
    leaf = leaf_hash(reader.leaves([index])[index])
    quick = {node: _hash(reader, table, node) for node in plan.nodes}
    known = {node: value for node, value in quick.items() if value is not None}
    if len(known) == len(quick):
        proof = plan.assemble(known)
        if root_from_inclusion(leaf, index, head.size, proof) == head.root:
            return TlogProof(index, proof, checkpoint)
    proof = plan.assemble(nodes_of(reader, plan.nodes, head.size))
    try:
        verify_inclusion(leaf, index, head.size, proof, head.root)
    except VerificationError as error:
        raise FactsError(f"{reader.path}: damaged: {error}") from error
    return TlogProof(index, proof, checkpoint)


def root_at(reader: IndexReader, table: TableReader, size: int) -> bytes | None:
    """The root of the first leaves; None if the table lacks the roots of some of their bundles.

    By the table, which the replica's root was compared with when it was made.
    """
    if not size:
        return EMPTY_ROOT
    plan = plan_root(size)
    found = {node: _hash(reader, table, node) for node in plan.nodes}
    known = {node: value for node, value in found.items() if value is not None}
    return plan.assemble(known)[0] if len(known) == len(found) else None


def _hash(reader: IndexReader, table: TableReader, node: Node) -> bytes | None:
    """The hash of a node; None if the table lacks a bundle's root for it."""
    if node.level < _BUNDLE:
        first = node.index << node.level
        leaves = reader.leaves(range(first, first + (1 << node.level)))
        return root_of(leaf_hashes(leaves.values()))
    width = 1 << (node.level - _BUNDLE)
    roots = table.roots(node.index * width, (node.index + 1) * width)
    return root_of(roots) if len(roots) == width else None
