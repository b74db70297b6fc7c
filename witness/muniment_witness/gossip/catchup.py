"""Catching up step by step with the accepted heads of a peer.

Tiles are the quick way to relate two heads, but a log may not give any, and a peer holds few. A
peer's history is a chain of the requests that it accepted: each has a head that the log signed and
the proof from the head before. Whoever stands at one of these sizes can climb from there, believing
nothing but signatures and proofs.
"""

from collections.abc import Sequence
from typing import Final

from muniment.tlog.claims import Evidence
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.evidence import contradiction_of
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.witnesswire import MAX_REQUEST_SIZE, origin_hash, parse_add_checkpoint
from muniment_witness.gossip.net import Transport, UnreachableError
from muniment_witness.gossip.tiles import UnresolvedError
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import SignedHead, authentic

MAX_STEPS: Final = 64
"""Steps taken at one time; the frontier has moved then, and the next attempt goes on from there."""


async def climb(
    transport: Transport,
    log: KnownLog,
    start: SignedHead,
    target: SignedHead,
    prefixes: Sequence[str],
) -> Evidence | None:
    """Climbs from one head of a log to a larger one, by the histories of peers.

    Of `prefixes`, as of tiles, those that are a peer's are asked. Raises UnresolvedError if no
    peer's history leads there.

    Returns:
        None when the target's tree begins with the start's; evidence when the chain that begins
        with the start has another root at the target's size.
    """
    reasons = ["no peer to ask for its history"]
    for prefix in prefixes:
        if not prefix.endswith(origin_hash(log.origin)):
            continue
        try:
            return await _climb(transport, log, start, target, prefix)
        except (UnreachableError, FormatError, VerificationError) as error:
            reasons.append(str(error))
    raise UnresolvedError(reasons[-1])


async def _climb(
    transport: Transport, log: KnownLog, start: SignedHead, target: SignedHead, prefix: str
) -> Evidence | None:
    at = start
    for _ in range(MAX_STEPS):
        answer = await transport.get(f"{prefix}/history/{at.size}", most=MAX_REQUEST_SIZE)
        if answer.status != 200:
            raise UnreachableError(f"history of size {at.size}: status {answer.status}")
        step = parse_add_checkpoint(answer.body)
        above = authentic(log, step.checkpoint)
        if step.old_size != at.size or not at.size < above.size:
            raise VerificationError("history: a step that does not lead up")
        verify_consistency(*at.head, *above.head, step.proof)
        at = above
        if at.size >= target.size:
            break
    if at.size != target.size:
        raise UnreachableError("the history does not lead to that size")
    return contradiction_of(at.signed, target.signed, None, target.key_name)
