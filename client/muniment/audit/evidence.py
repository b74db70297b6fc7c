"""What an auditor has proven or keeps, by the rules of evidence files.

Nothing is called proven before `tlog.proven.verify_evidence` has verified it, with the same keys
that ``muniment evidence verify`` takes; and nothing that a file holds is compared with what a log
shows before it is known whose signature it bears.
"""

from collections.abc import Iterable

from muniment.audit.trust import Misbehaviour, TrustState
from muniment.errors import InputError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.evidence import (
    Evidence,
    Proven,
    empty_root,
    fork,
    key_name,
    log_verifiers,
    same_size,
    verify_evidence,
)
from muniment.tlog.note import VKey
from muniment.tlog.policy import Policy


def prove(misbehaviour: Misbehaviour, policy: Policy, old: Iterable[VKey] = ()) -> Proven:
    """Verifies a contradiction that was found, or that a state keeps, as evidence.

    `old` are keys that the log had before those of the policy. Raises VerificationError if it
    proves nothing: no key that is known for the log signed one of the checkpoints, or a proof does
    not hold; FormatError if it is no contradiction: a state file that was tampered with.
    """
    notes = [parse_signed_checkpoint(note) for note in misbehaviour.notes]
    origin = notes[0].checkpoint.origin if notes else ""
    verifiers = log_verifiers(policy, old, origin=origin)
    name = key_name(notes[0], verifiers) if notes else ""
    evidence: Evidence
    match misbehaviour.kind, notes:
        case "same-size", [one, other]:
            evidence = same_size(one, other, name)
        case "fork", [older, newer] if misbehaviour.implied_root is not None:
            evidence = fork(older, newer, misbehaviour.implied_root, misbehaviour.proof, name)
        case "empty-root", [only]:
            evidence = empty_root(only, name)
        case _:
            raise FormatError(f"{misbehaviour.kind}: the proof is not complete")
    return verify_evidence(evidence, verifiers, origin=origin)


def check_kept(trust: TrustState, policy: Policy, old: Iterable[VKey] = ()) -> None:
    """Verifies what a state keeps, before anything is compared with it.

    Raises InputError if no key that is known for the log signed it. It is then of the log's earlier
    keys, or of another log of the same name, which proves nothing against this one.
    """
    keys = tuple(old)
    try:
        policy.recognise(trust.checkpoint, old=keys)
    except VerificationError as error:
        raise InputError(f"the state's checkpoint is {_whose(error)}") from None
    if trust.misbehaviour is not None:
        try:
            prove(trust.misbehaviour, policy, keys)
        except (VerificationError, FormatError) as error:
            raise InputError(f"the state's proof is {_whose(error)}") from None


def _whose(error: Exception) -> str:
    return (
        f"by keys that the policy does not list, or does not hold: {error}. If they are keys that "
        "this log had before, name them with --old-vkey; if the log was set up anew, begin with a "
        "new state"
    )
