"""Fetching the status of a permit: the completeness proofs by which a runtime judges it.

What has to be proven is what the checks ask about; so the checks are run on what is known, and
what they lack is asked for, until they lack nothing: a round or two for each run of the chain. A
status that was given before needs one small request.
"""

from collections.abc import Iterable

from muniment.complete.asking import Ask, asking, explore
from muniment.complete.facts import CompleteFacts
from muniment.complete.keys import Key
from muniment.complete.prooffile import CompleteProof, VerifiedComplete, verify_complete
from muniment.http.logclient import LogClient
from muniment.lineage.escape import terminal
from muniment.lineage.facts import PAGE
from muniment.permit.context import Context, Trust
from muniment.permit.knowledge import check_knowledge
from muniment.permit.permitfile import Permit
from muniment.records.kinds import Entity
from muniment.tlog.encoding import VerificationError


async def fetch_status(permit: Permit, log: LogClient | Ask, trust: Trust, *, now: int) -> Permit:
    """Gives a permit its status: all that the log has on its lineage, with the records.

    Each proof is verified before anything follows from it. What the status says, `verify_permit`
    judges: a permit that was revoked gets one, too.

    Args:
        permit: The permit, whose own proof must hold.
        log: The permit's log, or how to ask it.
        trust: Whom to trust. Who names gateways must do so here, too: which records count, and so
            which must be there, depends on it.
        now: Unix seconds.

    Raises:
        VerificationError: If a proof does not verify, leaves out records that it names, or the
            lineage is too long.
        Unreachable, Refused, BadAnswer: If the log gives no proof; see ``LogClient``. It refuses
            when it keeps no index log, or its index has not reached the permit.
    """
    decision = permit.decision
    if decision is None:
        raise VerificationError("a permit that holds no decision has no status")
    first = Key("decision", (decision.id,))
    if decision.execution is not None:
        first = Key("execution", (decision.execution,))
    proof, _ = await explore(
        [first],
        _ask(log),
        lambda facts: _look(permit, facts, trust, now),
        lambda proof: _verified(proof, permit, trust),
        size=permit.index + 1,
        now=now,
        entries={permit.index: permit.entry},
    )
    return permit.with_status(proof)


async def refresh_status(
    permit: Permit,
    log: LogClient | Ask,
    trust: Trust,
    *,
    now: int,
    only_revocations: bool = False,
) -> Permit:
    """Gives a permit a newer status, in one request as a rule.

    The records that it has stay with it. Where the log has more on its lineage since, they are
    fetched anew. Takes and raises what `fetch_status` does; a permit without a status gets one.

    With `only_revocations`, only what is revoked is asked for anew, which is the smaller part;
    the rest of the lineage stays as it was proven before. Then ``Trust.max_facts_age`` bounds the
    age of the lineage, and ``Trust.max_index_age`` that of what is revoked.
    """
    if not permit.status:
        return await fetch_status(permit, log, trust, now=now)
    first, *later = permit.status
    keys, kept = first.keys, [first]
    if only_revocations:
        keys = revocation_keys(first.keys)
        # What was proven anew of the whole lineage stays, too: it is younger than the first.
        kept += [one for one in later if set(one.keys) >= set(first.keys)][-1:]
    size = max(permit.index + 1, permit.status[-1].log.checkpoint.size)
    proof = await _ask(log)(keys, size=size, records=False, limit=PAGE)
    facts = CompleteFacts(
        *(_verified(one, permit, trust) for one in (*kept, proof)),
        entries={permit.index: permit.entry},
        now=now,
        explore=True,
    )
    _look(permit, facts, trust, now)
    if facts.missing:
        return await fetch_status(permit, log, trust, now=now)
    return permit.with_status(*kept, proof)


def revocation_keys(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Of what a status is about, all that tells of revocations: of each run, too."""
    found: dict[Key, None] = {}
    for one in keys:
        if one.kind == "revocations":
            found[one] = None
        elif one.kind == "execution":
            found[Key("revocations", ("execution", *one.parts))] = None
    return tuple(found)


def _ask(log: LogClient | Ask) -> Ask:
    return asking(log) if isinstance(log, LogClient) else log


def _look(permit: Permit, facts: CompleteFacts, trust: Trust, now: int) -> None:
    """Asks all that the checks of a permit ask; what they find is nobody's business yet."""
    nothing = Entity("", "")
    check_knowledge(permit, facts, Context(now=now, action="", resource=nothing), trust)


def _verified(proof: CompleteProof, permit: Permit, trust: Trust) -> VerifiedComplete:
    verified = verify_complete(proof, trust.policy, trust.index_policy)
    origin = permit.proof.checkpoint.checkpoint.origin
    if verified.log.origin != origin:
        raise VerificationError(
            f"completeness proof: of log {terminal(verified.log.origin)}, and the permit is of "
            f"{terminal(origin)}"
        )
    return verified
