"""RFC 6962 section 2.1.1: the audit paths of many leaves as one proof, shared nodes once.

Planner and verifier share the hashing of nodes and nothing else. Both see the tree as its perfect
subtrees, one for each bit of its size: a node that is needed is the sibling of something known
inside one of these, or the root of one without any known leaf.
"""

from collections.abc import Iterable, Mapping

from muniment.tlog.encoding import VerificationError
from muniment.tlog.merkle import join_peaks, node_hash
from muniment.tlog.proofs import Node


def plan_multiproof(indices: Iterable[int], size: int) -> tuple[Node, ...]:
    """Plans the proof of some leaves: the nodes that they do not give, by level, then index.

    Takes O(leaves x depth of the tree). Raises ValueError if an index is not in a tree of `size`.
    """
    known = set(indices)
    if known and not (min(known) >= 0 and max(known) < size):
        raise ValueError(f"a leaf is not in a tree of size {size}")
    needed: list[Node] = []
    for level in range(size.bit_length()):
        count = size >> level
        if count & 1:
            # The last node of this level is a perfect subtree of the tree: no sibling, no parent.
            peak = count - 1
            if peak not in known:
                needed.append(Node(level, peak))
            known.discard(peak)
        needed += [Node(level, one ^ 1) for one in known if one ^ 1 not in known]
        known = {one >> 1 for one in known}
    return tuple(sorted(needed))


def root_from_multiproof(
    leaves: Mapping[int, bytes], size: int, proof: Mapping[Node, bytes]
) -> bytes:
    """Returns the root of the one tree of which a proof of many leaves would be true.

    Leaves are by index; all hashes have 32 bytes. All nodes of the proof must be needed and none
    may be missing, so that nothing in a proof is without effect. Raises VerificationError if no
    tree of this size, at least 1, has such leaves or such a proof.
    """
    if size < 1 or any(not 0 <= index < size for index in leaves):
        raise VerificationError(f"multiproof: a leaf is not in a tree of size {size}")
    row = dict(leaves)
    peaks: list[bytes] = []
    used = 0
    for level in range(size.bit_length()):
        end = size >> level
        above: dict[int, bytes] = {}
        if end & 1:
            value = row.pop(end - 1, None)
            if value is None:
                value = _given(proof, level, end - 1)
                used += 1
            peaks.append(value)
        for index, value in row.items():
            if index & 1:
                if index - 1 not in row:
                    above[index >> 1] = node_hash(_given(proof, level, index - 1), value)
                    used += 1
                continue
            right = row.get(index + 1)
            if right is None:
                right = _given(proof, level, index + 1)
                used += 1
            above[index >> 1] = node_hash(value, right)
        row = above
    if used != len(proof):
        raise VerificationError(f"multiproof: {len(proof) - used} hashes that nothing needs")
    return join_peaks(peaks[::-1])


def _given(proof: Mapping[Node, bytes], level: int, index: int) -> bytes:
    value = proof.get(Node(level, index))
    if value is None:
        raise VerificationError(f"multiproof: the node at level {level}, index {index} is missing")
    return value
