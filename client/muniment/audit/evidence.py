"""Design section 3.3: the evidence file for what an auditor's trust state machine has proven."""

from muniment.audit.trust import Misbehaviour
from muniment.formats.checkpoint import parse_signed_checkpoint
from muniment.formats.encoding import FormatError, VerificationError
from muniment.formats.evidence import (
    Evidence,
    empty_root,
    fork,
    log_verifiers,
    same_size,
    verify_evidence,
)
from muniment.formats.policy import Policy


def evidence_of(misbehaviour: Misbehaviour, policy: Policy) -> Evidence:
    """The evidence file's value for a proof that an audit has found or kept in its state.

    Args:
        misbehaviour: The proof.
        policy: The policy in force; signature lines that are not of its keys are left out. When it
            no longer lists the keys that signed (the log's key was rotated since), all lines of the
            log are kept, for verifiers that still hold them.

    Raises:
        FormatError: If the proof is none: a state file that was tampered with.
    """
    notes = [parse_signed_checkpoint(note) for note in misbehaviour.notes]
    evidence: Evidence
    match misbehaviour.kind, notes:
        case "same-size", [one, other]:
            evidence = same_size(one, other)
        case "fork", [older, newer] if misbehaviour.implied_root is not None:
            evidence = fork(older, newer, misbehaviour.implied_root, misbehaviour.proof)
        case "empty-root", [only]:
            evidence = empty_root(only)
        case _:
            raise FormatError(f"{misbehaviour.kind}: the proof is not complete")
    try:
        return verify_evidence(evidence, log_verifiers(policy)).evidence
    except VerificationError:
        return evidence
