"""Checks what the log acknowledged: no figure counts for records that are not there."""

import time

from benchmark.rig import BenchError, Rig
from muniment.tlog.proofs import verify_inclusion
from muniment.tlog.tlogproof import parse_tlog_proof


def check_receipts(rig: Rig, checks: list[tuple[int, str]]) -> None:
    """Each of these leaves is provably where its receipt says."""
    for index, digest in checks:
        deadline = time.monotonic() + 10
        while True:
            size = int(rig.get("/checkpoint").split(b"\n")[1])
            if index < size:
                break
            if time.monotonic() > deadline:
                raise BenchError(f"leaf {index} is not published: the size is {size}")
            time.sleep(0.05)
        proof = parse_tlog_proof(rig.get(f"/v1/proofs/inclusion?index={index}"))
        tree = proof.checkpoint.checkpoint
        verify_inclusion(bytes.fromhex(digest), index, tree.size, proof.proof, tree.root)
