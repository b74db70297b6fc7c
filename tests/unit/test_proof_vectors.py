"""Proofs against the accumulated vectors of the draft, and the probes of peers."""

import base64
import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from muniment.tlog.encoding import VerificationError
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.proofs import (
    Node,
    Plan,
    is_subtree,
    plan_inclusion,
    plan_subtree,
    plan_subtree_root,
    verify_consistency,
    verify_inclusion,
    verify_subtree,
)

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"


# The accumulated vectors: a digest over the outputs for all inputs up to size 130.

ACCUMULATED = 130
VECTOR_ENTRIES = [bytes([index]) for index in range(ACCUMULATED)]
VECTOR_LEAVES = leaf_hashes(VECTOR_ENTRIES)


@pytest.fixture(scope="module")
def vector_nodes() -> dict[Node, bytes]:
    level, hashes = 0, VECTOR_LEAVES
    nodes = {}
    while hashes:
        nodes |= {Node(level, index): value for index, value in enumerate(hashes)}
        pairs = range(0, len(hashes) - 1, 2)
        level, hashes = level + 1, [root_of(hashes[at : at + 2]) for at in pairs]
    return nodes


def vector_subtrees(most: int = ACCUMULATED) -> list[tuple[int, int]]:
    ends = range(most + 1)
    return [(start, end) for end in ends for start in range(end + 1) if is_subtree(start, end)]


def line(what: str, hashes: Sequence[bytes]) -> bytes:
    return " ".join([what, *(value.hex() for value in hashes)]).encode() + b"\n"


def test_vector_of_subtree_hashes(vector_nodes: dict[Node, bytes]) -> None:
    """merkle-tree-certs appendix "Subtree Hashes"."""
    digest = hashlib.sha256()
    for start, end in vector_subtrees():
        [value] = plan_subtree_root(start, end).assemble(vector_nodes)
        assert value == root_of(VECTOR_LEAVES[start:end])
        digest.update(line(f"[{start}, {end})", [value]))
    want = "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"
    assert digest.hexdigest() == want


def test_vector_of_subtree_inclusion_proofs(vector_nodes: dict[Node, bytes]) -> None:
    """merkle-tree-certs appendix "Subtree Inclusion Proofs": index - start, in end - start."""
    digest = hashlib.sha256()
    for start, end in vector_subtrees():
        for index in range(start, end):
            plan = plan_inclusion(index - start, end - start)
            moved = tuple(
                tuple(Node(level, at + (start >> level)) for level, at in part)
                for part in plan.parts
            )
            proof = Plan(moved).assemble(vector_nodes)
            digest.update(line(f"{index} [{start}, {end})", proof))
    want = "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"
    assert digest.hexdigest() == want


def test_vector_of_subtree_consistency_proofs(vector_nodes: dict[Node, bytes]) -> None:
    """merkle-tree-certs appendix "Subtree Consistency Proofs"; each of them verifies."""
    digest = hashlib.sha256()
    hashes = {(start, end): root_of(VECTOR_LEAVES[start:end]) for start, end in vector_subtrees()}
    for size in range(ACCUMULATED + 1):
        for start, end in vector_subtrees(size):
            proof = plan_subtree(start, end, size).assemble(vector_nodes)
            verify_subtree(start, end, hashes[start, end], size, hashes[0, size], proof)
            digest.update(line(f"[{start}, {end}) {size}", proof))
    want = "10fa99b37bf9bf9ffa26b412fbd98bd75363256d0b75d61bc4538b9c9c5a0a74"
    assert digest.hexdigest() == want


# The probes of transparency-dev/merkle, one file each.


def probes(kind: str) -> list[Any]:
    paths = sorted((VECTORS / kind).rglob("*.json"))
    if not paths:
        reason = "the shared vectors are not beside this repository"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    names = [path.relative_to(VECTORS).with_suffix("").as_posix() for path in paths]
    return [pytest.param(path, id=name) for path, name in zip(paths, names, strict=True)]


def read_probe(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    probe = json.loads(path.read_text())
    return probe, [base64.b64decode(value) for value in probe["proof"] or []]


def refused(probe: dict[str, Any]) -> AbstractContextManager[object]:
    """Nothing, or the error that a probe asks for."""
    return pytest.raises(VerificationError) if probe["wantErr"] else nullcontext()


@pytest.mark.parametrize("path", probes("inclusion"))
def test_inclusion_probe(path: Path) -> None:
    probe, proof = read_probe(path)
    leaf, tree = (base64.b64decode(probe[name]) for name in ("leafHash", "root"))
    with refused(probe):
        verify_inclusion(leaf, probe["leafIdx"], probe["treeSize"], proof, tree)


@pytest.mark.parametrize("path", probes("consistency"))
def test_consistency_probe(path: Path) -> None:
    """The probes from size 0 all fail here for their roots, which are not hashes.

    Their authors call any proof from size 0 useless and refuse it. merkle-tree-certs accepts the
    empty proof for the empty subtree, which is what a witness that never saw a log needs.
    """
    probe, proof = read_probe(path)
    old, new = (base64.b64decode(probe[name]) for name in ("root1", "root2"))
    with refused(probe):
        verify_consistency(probe["size1"], old, probe["size2"], new, proof)
