"""The checks of the approval that a decision rests on: by whom, of what, when, and in the log."""

from collections.abc import Iterator

from muniment.lineage.escape import terminal
from muniment.lineage.facts import Facts
from muniment.permit.context import CLOCK_SKEW, Trust
from muniment.permit.signers import count_signers, marks_of
from muniment.permit.verdict import Finding
from muniment.records.approval import SignedApproval, call_digest, is_own, verify_approval
from muniment.records.authority import key_reference
from muniment.records.kinds import Decision
from muniment.tlog.encoding import FormatError, VerificationError


def check_approval(decision: Decision, trust: Trust, whole: Decision) -> Iterator[Finding]:
    """Checks that people who may have approved this very call, by the decision alone.

    `whole` is the decision with what is disclosed of it: who asks may be withheld in the log.
    """
    approvals = approvals_of(decision)
    if not approvals:
        if trust.require_approval:
            yield _discontinuity("an approval by a known approver", "none")
        return
    for approval in approvals:
        yield from _check_one(approval, decision, trust, whole)
    # Who signs says what they are called: other words of one person's key are no other person.
    keys = {key_reference(vkey): marks_of(vkey) for vkey in trust.approvers}
    signed = [
        {("called", one.approver), *keys.get(one.key, {one.key.partition("+")[0]})}
        for one in approvals
    ]
    people = count_signers(signed, trust.approvers)
    if people < trust.approvals:
        yield _discontinuity(f"approvals by {trust.approvals} people", f"by {people}")


def _check_one(
    approval: SignedApproval, decision: Decision, trust: Trust, whole: Decision
) -> Iterator[Finding]:
    yield from _check_signature(approval, trust)
    if approval.gateway != decision.producer:
        yield _discontinuity(
            f"an approval for {terminal(decision.producer)}",
            f"one for {terminal(approval.gateway)}",
        )
    if call_digest(decision.request, decision.addenda) != approval.call:
        yield _discontinuity("an approval of this call", "one of another call")
    # The gateway may have been behind the person's clock when it took the word.
    if not approval.at - CLOCK_SKEW <= decision.time // 1000 < approval.not_after:
        yield _discontinuity(
            f"a decision in [{approval.at}, {approval.not_after})",
            f"one at {decision.time // 1000}",
        )
    if is_own(approval, whole.request) and not trust.allow_self_approval:
        yield _discontinuity(
            "an approval by somebody else than who asks", f"one by {terminal(approval.approver)}"
        )


def check_approval_record(decision: Decision, index: int, facts: Facts) -> Iterator[Finding]:
    """Checks that the log had the approvals before the decision at a leaf."""
    approvals = approvals_of(decision)
    if not approvals:
        return
    pages = facts.approvals([one.id for one in approvals])
    for approval, page in zip(approvals, pages, strict=True):
        known = [at for at, record in page.entries if record.approval == approval]
        if not any(at < index for at in known):
            found = f"it at leaf {known[0]}" if known else "no record of it"
            yield _discontinuity(f"approval {approval.id} before leaf {index}", found)


def approvals_of(decision: Decision) -> tuple[SignedApproval, ...]:
    """The approvals that a decision rests on."""
    return () if decision.artifact is None else decision.artifact.approvals


def _check_signature(approval: SignedApproval, trust: Trust) -> Iterator[Finding]:
    known = {key_reference(vkey) for vkey in trust.approvers}
    if approval.key not in known:
        if trust.approvers or not trust.allow_unknown_approvals:
            yield _invalid("an approval by a known approver", f"one by {terminal(approval.key)}")
        return
    try:
        verify_approval(approval, trust.approvers)
    except (VerificationError, FormatError) as error:
        yield _invalid("an approver's signature that verifies", terminal(str(error)))


def _invalid(expected: str, found: str) -> Finding:
    return Finding("invalid_signature", "approval", expected, found)


def _discontinuity(expected: str, found: str) -> Finding:
    return Finding("authorization_discontinuity", "approval", expected, found)
