"""Verifying a permit: pure, offline, and everything at once.

The checks, in their order, which is that of the denial codes:

1. authorization: the decision allows; artifact, scope, subject, run, validity, arguments,
   approval;
2. signatures: log, witnesses and inclusion; authorities; gateway; approver;
3. runtime identity; 4. policy; 5. environment;
6. governance mesh: labels, age of the checkpoint, the facts or the permit's status, and their age;
7. lineage; 8. revocation.

All of them always run. What cannot be verified is denied.
"""

from muniment.lineage.escape import terminal
from muniment.permit.approval import check_approval
from muniment.permit.context import Context, Trust
from muniment.permit.knowledge import check_knowledge, known_facts, withholding
from muniment.permit.permitfile import Permit, parse_permit
from muniment.permit.signatures import (
    check_authorities,
    check_checkpoint_age,
    check_gateway,
    check_proof,
)
from muniment.permit.statement import (
    check_arguments,
    check_authorization,
    check_environment,
    check_governance,
    check_identity,
    check_policy,
)
from muniment.permit.verdict import Finding, Verdict
from muniment.tlog.encoding import FormatError


def verify_permit(permit: Permit, context: Context, trust: Trust) -> Verdict:
    """Says whether a runtime may do what it wants to do.

    Returns permit or denial with every reason, however hostile the permit; the same for the same
    inputs.
    """
    findings: list[Finding] = []
    cosigned, unproven = check_proof(permit, context, trust)
    findings += unproven
    if cosigned is not None:
        findings += check_checkpoint_age(cosigned, context, trust)
    decision = permit.decision
    if decision is None:
        kind = type(permit.record).__name__.lower()
        findings.append(
            Finding(
                "authorization_discontinuity", "record", "a decision", f"a record of kind {kind}"
            )
        )
    else:
        artifact = decision.artifact
        findings += check_authorization(decision, context, trust)
        findings += check_arguments(permit, context, trust)
        findings += check_authorities(decision, trust)
        findings += check_gateway(decision, trust)
        findings += check_approval(decision, trust)
        findings += check_identity(artifact, context, trust)
        findings += check_policy(artifact, context, trust)
        findings += check_environment(artifact, context, trust)
        findings += check_governance(artifact, context, trust)
    facts, unverified = known_facts(permit, context, trust, is_proven=cosigned is not None)
    head, unknown = check_knowledge(permit, facts, context, trust)
    findings += [*unverified, *unknown]
    if cosigned is None:
        return Verdict.of(findings, head=head)
    return Verdict.of(
        findings,
        index=permit.index,
        head=head,
        ahead=cosigned.ahead(context.now),
        withholding=withholding(permit, facts if head is not None else None),
    )


def verify_permit_bytes(data: bytes, context: Context, trust: Trust) -> Verdict:
    """As `verify_permit`, for the bytes of a file; what is no permit is denied.

    Without a record that can be read nothing is authorised, and the one finding says why.
    """
    try:
        permit = parse_permit(data)
    except FormatError as error:
        return Verdict.of(
            [Finding("authorization_discontinuity", "permit", "a permit", terminal(str(error)))]
        )
    return verify_permit(permit, context, trust)
