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

from collections.abc import Iterator

from muniment.lineage.escape import terminal
from muniment.permit.approval import check_approval
from muniment.permit.context import CLOCK_SKEW, Context, Trust
from muniment.permit.knowledge import check_knowledge, known_facts, withholding
from muniment.permit.permitfile import Permit, parse_permit
from muniment.permit.signers import count_signers, marks_of
from muniment.permit.statement import (
    check_arguments,
    check_authorization,
    check_environment,
    check_governance,
    check_identity,
    check_policy,
)
from muniment.permit.verdict import Finding, Verdict
from muniment.records.authority import key_reference, verify_signatures
from muniment.records.kinds import Decision
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.policy import CosignedCheckpoint, show
from muniment.tlog.tlogproof import verify_tlog_proof


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
        findings += check_approval(decision, trust, permit.whole or decision)
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


def check_proof(
    permit: Permit, context: Context, trust: Trust
) -> tuple[CosignedCheckpoint | None, list[Finding]]:
    """Checks that the record is in a trusted log, under a checkpoint that a quorum cosigned.

    Of a policy over time counts what is in force now.
    """
    try:
        return verify_tlog_proof(permit.proof, permit.entry, trust.policy.at(context.now)), []
    except (VerificationError, FormatError) as error:
        expected = "the record under a checkpoint that the policy accepts"
        return None, [Finding("invalid_signature", "proof", expected, terminal(str(error)))]


def check_authorities(decision: Decision, trust: Trust) -> Iterator[Finding]:
    """Checks that the authorities have signed, and nobody else."""
    known = {key_reference(vkey): vkey for vkey in trust.authorities}
    signed: list[str] = []
    for one in decision.signatures or ():
        vkey = known.get(one.key)
        if vkey is None:
            if not trust.allow_unknown_signatures:
                yield _invalid("signatures by known authorities", f"one by {terminal(one.key)}")
            continue
        try:
            verify_signatures(decision, [vkey])
        except (VerificationError, FormatError) as error:
            yield _invalid("signatures that verify", terminal(str(error)))
        else:
            signed.append(one.key)
    needed = trust.signatures_needed
    if count_signers([marks_of(known[key]) for key in signed], trust.authorities) < needed:
        names = {known[key].name for key in signed}
        found = ", ".join(map(terminal, sorted(names))) or "none"
        if len(names) >= needed:
            found += ", two of them by one and the same"
        yield _invalid(f"signatures of {needed} known authorities", found)


def check_gateway(decision: Decision, trust: Trust) -> Iterator[Finding]:
    """Checks that it was logged by a gateway whose decisions count."""
    if trust.gateways is not None and all(
        vkey.name != decision.producer for vkey in trust.gateways
    ):
        names = ", ".join(sorted({terminal(vkey.name) for vkey in trust.gateways})) or "nobody"
        yield Finding(
            "invalid_signature", "gateway", f"a decision by {names}", terminal(decision.producer)
        )


def check_checkpoint_age(
    cosigned: CosignedCheckpoint, context: Context, trust: Trust
) -> Iterator[Finding]:
    """Is the checkpoint young enough, and not from the future? A quorum must say so."""
    if cosigned.time() > context.now + CLOCK_SKEW and not cosigned.time(context.now):
        ahead = cosigned.ahead(context.now)
        found = ", ".join(f"{terminal(show(name))} states {time}" for name, time in ahead)
        yield _discontinuity("checkpoint age", f"a quorum's time up to {context.now}", found)
        return
    oldest = trust.max_checkpoint_age
    time = cosigned.time(context.now)
    if oldest is not None and time < context.now - oldest:
        found = f"{context.now - time} s" if time else "no quorum states a time"
        yield _discontinuity("checkpoint age", f"at most {oldest} s", found)


def _invalid(expected: str, found: str) -> Finding:
    return Finding("invalid_signature", "signatures", expected, found)


def _discontinuity(check: str, expected: str, found: str) -> Finding:
    return Finding("governance_mesh_discontinuity", check, expected, found)
