"""The checks of signatures and proof: in a trusted log, and signed by whom it must be.

Log and witnesses: C2SP tlog-proof under the runtime's own policy. Authorities and gateway:
`records.authority`.
"""

from collections.abc import Iterator

from muniment.lineage.escape import terminal
from muniment.permit.context import CLOCK_SKEW, Context, Trust
from muniment.permit.permitfile import Permit
from muniment.permit.verdict import Finding
from muniment.records.authority import key_reference, verify_signatures
from muniment.records.kinds import Decision
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.policy import CosignedCheckpoint, show
from muniment.tlog.tlogproof import verify_tlog_proof


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
    signed: set[str] = set()
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
            signed.add(vkey.name)
    needed = trust.signatures_needed
    if len(signed) < needed:
        names = ", ".join(map(terminal, sorted(signed))) or "none"
        yield _invalid(f"signatures of {needed} known authorities", names)


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
