"""Fetching the status of a permit: the completeness proofs by which a runtime judges it.

What has to be proven is what the checks ask about; so the checks are run on what is known, and
what they lack is asked for, until they lack nothing: a round or two for each run of the chain. A
status that was given before needs one small request.
"""

from typing import Final

from muniment.complete.asking import Ask
from muniment.complete.facts import CompleteFacts
from muniment.complete.keys import Key
from muniment.complete.prooffile import CompleteProof, VerifiedComplete, verify_complete
from muniment.lineage.escape import terminal
from muniment.lineage.facts import PAGE
from muniment.permit.context import Context, Trust
from muniment.permit.knowledge import check_knowledge
from muniment.permit.permitfile import Permit
from muniment.records.kinds import Entity
from muniment.tlog.encoding import VerificationError

MAX_ROUNDS: Final = 200
"""Most requests for one status: a chain of a hundred runs."""


async def fetch_status(permit: Permit, ask: Ask, trust: Trust, *, now: int) -> Permit:
    """Gives a permit its status: all that the log has on its lineage, with the records.

    Each proof is verified before anything follows from it. What the status says, `verify_permit`
    judges: a permit that was revoked gets one, too.

    Args:
        permit: The permit, whose own proof must hold.
        ask: How to ask the log, see ``complete.asking``.
        trust: Whom to trust. Who names gateways must do so here, too: which records count, and so
            which must be there, depends on it.
        now: Unix seconds.

    Raises:
        VerificationError: If a proof does not verify, leaves out records that it names, or the
            lineage is too long.
        MunimentError: What `ask` raises.
    """
    asked = dict.fromkeys(_first_keys(permit))
    for _ in range(MAX_ROUNDS):
        proof = await ask([*asked], size=permit.index + 1, records=True, limit=PAGE)
        missing = _missing(permit, trust, now, proof)
        if not missing:
            return permit.with_status(proof)
        if missing.keys() <= asked.keys():
            raise VerificationError(
                f"completeness proof: records on {next(iter(missing)).text} are not with it"
            )
        asked |= missing
    raise VerificationError(f"a lineage that takes more than {MAX_ROUNDS} requests")


async def refresh_status(permit: Permit, ask: Ask, trust: Trust, *, now: int) -> Permit:
    """Gives a permit a newer status, in one request as a rule.

    The records that it has stay with it. Where the log has more on its lineage since, they are
    fetched anew. Takes and raises what `fetch_status` does; a permit without a status gets one.
    """
    if not permit.status:
        return await fetch_status(permit, ask, trust, now=now)
    first, newest = permit.status[0], permit.status[-1]
    size = max(permit.index + 1, newest.log.checkpoint.size)
    proof = await ask(newest.keys, size=size, records=False, limit=PAGE)
    if _missing(permit, trust, now, proof, _verified(first, trust)):
        return await fetch_status(permit, ask, trust, now=now)
    return permit.with_status(first, proof)


def _first_keys(permit: Permit) -> list[Key]:
    decision = permit.decision
    if decision is None:
        raise VerificationError("a permit that holds no decision has no status")
    if decision.execution is None:
        return [Key("decision", (decision.id,))]
    return [Key("execution", (decision.execution,))]


def _missing(
    permit: Permit, trust: Trust, now: int, proof: CompleteProof, *before: VerifiedComplete
) -> dict[Key, None]:
    """What the checks of a permit ask about and a proof does not tell."""
    verified = _verified(proof, trust)
    origin = permit.proof.checkpoint.checkpoint.origin
    if verified.log.origin != origin:
        raise VerificationError(
            f"completeness proof: of log {terminal(verified.log.origin)}, and the permit is of "
            f"{terminal(origin)}"
        )
    own = {permit.index: permit.entry}
    facts = CompleteFacts(verified, before=before, entries=own, now=now, explore=True)
    nowhere = Entity("", "")
    check_knowledge(permit, facts, Context(now=now, action="", resource=nowhere), trust)
    return facts.missing


def _verified(proof: CompleteProof, trust: Trust) -> VerifiedComplete:
    return verify_complete(proof, trust.policy, trust.index_policy)
