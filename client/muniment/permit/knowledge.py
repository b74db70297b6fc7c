"""The checks against what is known of the log: freshness, lineage, revocation.

They rest on facts that the runtime holds itself, or on the permit's status: completeness proofs,
verified by the runtime's own policy. Facts that cannot be read, are too old, or do not hold the
very decision that the permit shows, are as good as none.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from muniment.complete.facts import CompleteFacts
from muniment.complete.prooffile import verify_complete
from muniment.lineage.escape import terminal
from muniment.lineage.facts import Facts, FactsHead, Found, Ref, is_same, ref_of
from muniment.lineage.issuers import Gateways, counts
from muniment.lineage.model import REVOKED, BreakKind, Trace
from muniment.lineage.reader import BudgetedReader
from muniment.lineage.revoked import revocations_of
from muniment.lineage.trace import trace
from muniment.lineage.withholding import Withholding, withholding_of
from muniment.permit.approval import check_approval_record
from muniment.permit.context import CLOCK_SKEW, MAX_LINEAGE, Context, Trust
from muniment.permit.permitfile import Permit
from muniment.permit.verdict import Finding
from muniment.records.kinds import Decision, Edge
from muniment.tlog.encoding import MunimentError

_JUDGED_APART: Final[frozenset[BreakKind]] = frozenset({"unknown_run", "unauthorized_run"})
"""Breaks that say of the run itself what is judged on its own decision: that the facts hold it, and
that it allows."""


def known_facts(
    permit: Permit, context: Context, trust: Trust, *, is_proven: bool
) -> tuple[Facts | None, list[Finding]]:
    """The facts that a permit is judged by: those of the context, else what its status tells.

    `is_proven` says whether the permit's own record was verified to be in the log.
    """
    if context.facts is not None or not permit.status:
        return context.facts, []
    try:
        policy, index = trust.policy.at(context.now), trust.index_policy
        in_force = None if index is None else index.at(context.now)
        proofs = [verify_complete(one, policy, in_force) for one in permit.status]
        own = {permit.index: permit.entry} if is_proven else {}
        return CompleteFacts(*proofs, entries=own, now=context.now), []
    except MunimentError as error:
        return None, [_mesh("status", "completeness proofs that verify", terminal(str(error)))]


def check_knowledge(
    permit: Permit, facts: Facts | None, context: Context, trust: Trust
) -> tuple[FactsHead | None, list[Finding]]:
    """Runs all checks that need facts; says at which state of the log."""
    if facts is None:
        if not trust.require_facts:
            return None, []
        return None, [_mesh("facts", "facts on lineage and revocation", "none")]
    findings: list[Finding] = []
    head: FactsHead | None = None
    try:
        head = facts.head
        findings += _check_head(head, permit, context, trust)
        if isinstance(facts, CompleteFacts) and trust.max_index_age is not None:
            findings += _check_age("index age", facts.revoked_as_of, context, trust.max_index_age)
        # Facts on another log say nothing on this decision.
        if permit.decision is not None and head.origin == permit.proof.checkpoint.checkpoint.origin:
            if head.size > permit.index:
                findings += _check_presence(permit, permit.decision, facts)
                findings += check_approval_record(permit.decision, permit.index, facts)
            found = Found(permit.index, permit.decision)
            findings += _check_lineage(permit.decision, facts, context, trust)
            findings += _check_revocation(found, facts, context, trust)
    except MunimentError as error:
        findings.append(_mesh("facts", "facts that can be read", terminal(str(error))))
    return head, findings


def withholding(permit: Permit, facts: Facts | None) -> Withholding | None:
    """What the record withholds, and what of that the facts say to be erased; None if nothing.

    Facts that cannot be read are a finding of their own; what is erased decides nothing.
    """
    disclosed = permit.disclosed
    try:
        return withholding_of(permit.record, disclosed, facts)
    except MunimentError:
        return withholding_of(permit.record, disclosed, None)


def _check_head(
    head: FactsHead, permit: Permit, context: Context, trust: Trust
) -> Iterator[Finding]:
    origin = permit.proof.checkpoint.checkpoint.origin
    if head.origin != origin:
        yield _mesh("facts origin", f"facts on log {terminal(origin)}", terminal(head.origin))
    if head.size <= permit.index:
        yield _mesh("facts size", f"more than {permit.index} leaves", str(head.size))
    if head.time > context.now + CLOCK_SKEW:
        yield _mesh("facts age", f"a time up to {context.now}", str(head.time))
    if trust.max_facts_age is not None:
        yield from _check_age("facts age", head, context, trust.max_facts_age)


def _check_age(check: str, head: FactsHead, context: Context, oldest: int) -> Iterator[Finding]:
    if head.time < context.now - oldest:
        yield _mesh(check, f"at most {oldest} s", f"{context.now - head.time} s")


def _check_presence(permit: Permit, decision: Decision, facts: Facts) -> Iterator[Finding]:
    """The facts must hold the decision where the proof says: both speak of one history."""
    [page] = facts.decisions([decision.id], after=permit.index - 1, limit=1)
    if not any(
        index == permit.index and is_same(record, decision) for index, record in page.entries
    ):
        yield _mesh("facts", f"decision {decision.id} at leaf {permit.index}", "another history")


def _check_lineage(
    decision: Decision, facts: Facts, context: Context, trust: Trust
) -> Iterator[Finding]:
    if decision.execution is None:
        return
    if not Gateways(trust.gateways).decides(decision.producer):
        return  # denied for its gateway: there is nobody by whose word its lineage could be judged
    lineage = trace(
        decision.execution,
        facts,
        context.now,
        gateways=trust.gateways,
        limit=MAX_LINEAGE,
        tolerance=trust.clock_tolerance,
        leeway=trust.not_before_leeway,
    )
    own = Ref("run", decision.execution)
    for one in lineage.breaks:
        if one.kind in REVOKED:
            yield Finding("revoked_authorization", "revocation", one.expected, one.found)
        elif one.kind not in _JUDGED_APART or one.subject != own:
            yield _fragmentation(f"lineage ({one.kind})", one.expected, one.found)
    for hop in lineage.external:
        if hop.target.origin not in trust.external_logs:
            where = f"{hop.target.type} {hop.target.id} in log {terminal(hop.target.origin or '')}"
            yield _fragmentation("lineage (external)", "a lineage in trusted logs", where)
    yield from _check_parent(lineage, context)
    if not trust.allow_unlogged_delegation:
        yield from _check_chain(decision, facts, Gateways(trust.gateways))


def _check_parent(lineage: Trace, context: Context) -> Iterator[Finding]:
    parent = context.parent
    if parent is None:
        return
    logged = [
        hop.target for hop in lineage.hops if hop.depth == 0 and hop.relation == "triggered_by"
    ]
    if Ref("run", parent) not in logged:
        names = ", ".join(terminal(ref.id) for ref in logged) or "none"
        yield _fragmentation("parent", f"triggered by run {terminal(parent)}", names)


def _check_chain(decision: Decision, facts: Facts, gateways: Gateways) -> Iterator[Finding]:
    """Each link of the delegation chain that the artifact states must be logged as an edge.

    It counts by the decision's own producer, or by a gateway that is named.
    """
    chain = [] if decision.artifact is None else list(decision.artifact.attribution.chain())
    pairs = list(pairwise(chain))
    if not pairs:
        return
    origin = facts.head.origin
    issuers = gateways.issuers([decision.producer])
    delegators: dict[Ref, set[str]] = {}
    for actor, delegator in pairs:
        delegators.setdefault(Ref("agent", actor.sub), set()).add(delegator.sub)

    def delegating(edges: Iterable[Found[Edge]]) -> set[str]:
        return {
            ref_of(edge.to, origin).id
            for _, edge in edges
            if edge.relation == "delegated_by" and counts(edge.producer, issuers)
        }

    def is_enough(agent: Ref, page: Iterable[Found[Edge]]) -> bool:
        return delegators[agent] <= delegating(page)

    reader = BudgetedReader(MAX_LINEAGE)
    agents = list(delegators)
    answers = reader.until(facts.edges_from, agents, is_enough)
    logged = {agent: delegating(edges) for agent, (edges, _) in zip(agents, answers, strict=True)}
    for actor, delegator in pairs:
        if delegator.sub not in logged[Ref("agent", actor.sub)]:
            yield _fragmentation(
                "delegation chain",
                f"an edge from agent {actor.sub} to agent {delegator.sub}",
                "none",
            )


def _check_revocation(
    found: Found[Decision], facts: Facts, context: Context, trust: Trust
) -> Iterator[Finding]:
    """The decision's own revocations, looked up apart from any lineage.

    A permit is for a run that is to begin now: that the log tells of its end saves nobody.
    """
    reader = BudgetedReader(MAX_LINEAGE)
    decision = found.record
    runs = [] if decision.execution is None else [decision.execution]
    gateways = Gateways(trust.gateways)
    issuers = gateways.issuers([decision.producer])
    known = revocations_of(reader, facts, [found], runs, now=context.now, gateways=gateways)
    breaks = known.of_decision(found, issuers)
    for run in runs:
        breaks += known.of_run(run, issuers)
    for one in breaks:
        yield Finding("revoked_authorization", "revocation", one.expected, one.found)
    if reader.is_cut:
        yield _mesh("facts", f"at most {MAX_LINEAGE} records on one decision", "more")


def _mesh(check: str, expected: str, found: str) -> Finding:
    return Finding("governance_mesh_discontinuity", check, expected, found)


def _fragmentation(check: str, expected: str, found: str) -> Finding:
    return Finding("lineage_fragmentation", check, expected, found)
