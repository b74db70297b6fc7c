"""The scenario of proofs: served, and verified by whoever relies on them."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmark.options import Options
from benchmark.receipts import check_receipts
from benchmark.rig import BenchError, Rig
from benchmark.stats import rounds
from muniment.permit import Context, Permit, Trust, verify_permit_bytes
from muniment.records.kinds import Entity
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.policy import Policy, parse_policy
from muniment.tlog.proofs import verify_inclusion
from muniment.tlog.tlogproof import TlogProof, parse_tlog_proof, verify_tlog_proof


def proofs(options: Options) -> dict[str, Any]:
    """Inclusion proofs and tiles served to eight connections; proofs verified in process."""
    count = 50_000 if options.quick else 200_000
    with Rig(witnesses=True) as rig:
        job = rig.worker("ingest", seed=options.seed, count=count, batch=1000, window=4)
        job.go()
        check_receipts(rig, job.result()["checks"])
        requests = 2_000 if options.quick else 10_000
        step = 7919  # a prime: neighbouring requests lie in different tiles
        inclusion = [f"/v1/proofs/inclusion?index={n * step % count}" for n in range(requests)]
        tiles = [f"/tile/0/{n * step % (count // 256):03d}" for n in range(requests)]
        rates = {"inclusion": inclusion, "tiles": tiles}
        found: dict[str, Any] = {}
        for name, paths in rates.items():
            _gets(rig, paths[: len(paths) // 10])
            served = rounds([_gets(rig, paths) for _ in range(3)])
            found[f"{name}_per_s"] = served["rate_per_s"]
            found[f"{name}_spread"] = served["spread"]
        at = next(n for n in range(100) if b'"decision":true' in rig.get(f"/v1/entries/{n}"))
        proof = parse_tlog_proof(rig.get(f"/v1/proofs/inclusion?index={at}"))
        entry = rig.get(f"/v1/entries/{at}")
        policy = parse_policy((rig.place / "trust.policy").read_bytes())
        found["verify_ms"] = _median_ms(lambda: verify_tlog_proof(proof, entry, policy))
        found["permit_verify_ms"] = _permit(entry, proof, policy)
        tree = proof.checkpoint.checkpoint
        began = time.perf_counter()
        for _ in range(2000):
            verify_inclusion(leaf_hash(entry), at, tree.size, proof.proof, tree.root)
        found["verify_inclusion_per_s"] = round(2000 / (time.perf_counter() - began))
        return found


def _permit(entry: bytes, proof: TlogProof, policy: Policy) -> float:
    """A permit, from its bytes to the verdict; of a decision that has no artifact to judge."""
    data = Permit.of(entry, proof).encode()
    decision = json.loads(entry)
    request, resource = decision["request"], decision["request"]["resource"]
    context = Context(
        now=int(time.time()),
        action=request["action"]["name"],
        resource=Entity(resource["type"], resource["id"]),
        execution=decision.get("execution"),
    )
    trust = Trust(
        policy=policy,
        require_artifact=False,
        require_execution=False,
        require_binding=False,
        require_policy=False,
        require_facts=False,
    )
    verdict = verify_permit_bytes(data, context, trust)
    if verdict.findings:
        raise BenchError(f"the permit does not verify: {verdict.findings}")
    return _median_ms(lambda: verify_permit_bytes(data, context, trust))


def _median_ms(work: Callable[[], object]) -> float:
    """Milliseconds of one call, the median of many after a few that do not count."""
    times = []
    for _ in range(320):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times[20:]) * 1e3, 3)


def _gets(rig: Rig, paths: list[str]) -> float:
    job = rig.worker("gets", paths=paths, connections=8)
    job.go()
    result = job.result()
    return float(result["count"] / result["seconds"])
