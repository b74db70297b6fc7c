"""C2SP tlog-mirror: which cosigners of a policy are mirrors, and what their cosignatures are worth.

A witness vouches that a log has one history. A mirror vouches for that, too, and that it holds
every leaf. In a policy (C2SP tlog-policy) both are witness lines; the mirrors are the members of
the group that has the name `mirrors`, and of the groups in it:

    witness m1 <vkey> https://mirror.example/
    witness m2 <vkey> https://other.example/
    group mirrors any m1 m2

The quorum need not use that group. Names have no meaning outside of a policy, so every other
parser takes such a file, and counts a mirror as the witness that it is.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import Final

from msgspec import Struct

from muniment.tlog import quorum
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import VerificationError
from muniment.tlog.policy import CosignedCheckpoint, Policy, show
from muniment.tlog.policyrules import PolicyWitness

MIRRORS: Final = "mirrors"
"""The name of the group, or of the one witness line, that a policy's mirrors are."""


class NotHeldError(VerificationError):
    """A checkpoint verifies, and not enough mirrors have cosigned it."""


def names_of_mirrors(policy: Policy) -> set[str]:
    """The names that stand for mirrors: of witness lines, and of the groups that they are in."""
    names = {MIRRORS}
    for group in reversed(policy.groups):  # members come before their group
        if group.name in names:
            names.update(group.members)
    return names


def mirrors_of(policy: Policy) -> tuple[PolicyWitness, ...]:
    """The witness lines that are mirrors, in the policy's order; none if it names no mirrors."""
    names = names_of_mirrors(policy)
    return tuple(witness for witness in policy.witnesses if witness.name in names)


def are_mirrored(policy: Policy, cosigners: Collection[str]) -> bool:
    """Whether these cosigners, by their names in the policy, are the mirrors that it asks for."""
    return MIRRORS in quorum.witnessed(policy, cosigners)


def needs_mirrors(policy: Policy) -> bool:
    """Whether there is no quorum without mirrors."""
    mirrors = mirrors_of(policy)
    return not policy.is_met([each.name for each in policy.witnesses if each not in mirrors])


def check_mirrored(cosigned: CosignedCheckpoint) -> None:
    """Checks that mirrors hold what a verified checkpoint commits to, as its policy asks for.

    Raises VerificationError, which names who is missing, if they have not cosigned it.
    """
    policy = cosigned.policy
    names = {name for name, _ in cosigned.cosigners}
    if are_mirrored(policy, names):
        return
    mirrors = [witness.name for witness in mirrors_of(policy)]
    if not mirrors:
        raise VerificationError(
            f"the policy names no mirrors: give it a group of the name {MIRRORS}"
        )
    lacking = ", ".join(show(name) for name in mirrors if name not in names)
    raise VerificationError(f"checkpoint: not held by enough mirrors: {lacking} did not cosign it")


def verify_mirrored(
    policy: Policy, signed: SignedCheckpoint, *, origin: str | None = None
) -> CosignedCheckpoint:
    """Verifies a checkpoint as `Policy.verify`, and that mirrors hold what it commits to.

    Of a policy over time one version has to find both: the next one may name other mirrors beside
    the same witnesses, and while both are in force those of either do.

    Raises:
        VerificationError: The checkpoint does not verify.
        NotHeldError: It does, and mirrors have not cosigned it, as `check_mirrored` says.
    """
    found = policy.verify(signed, origin=origin)
    try:
        check_mirrored(found)
    except VerificationError as error:
        for version in policy.versions():
            with suppress(VerificationError):
                judged = version.verify(signed, origin=origin)
                check_mirrored(judged)
                return judged
        raise NotHeldError(str(error)) from None
    return found


class MirrorAnalysis(Struct, frozen=True):
    """What the mirrors that a policy asks for protect from.

    Attributes:
        names: The witness lines that are mirrors.
        fewest: Mirrors that hold the leaves of a mirrored tree, at the least, if none lies. Leaves
            are lost, with those of the log, only when that many lose them or lied.
        absent: Mirrors, whichever they are, that can be away while a tree still gets mirrored.
        needed: Whether the quorum needs them, so that no head is published without.
    """

    names: tuple[str, ...]
    fewest: int
    absent: int
    needed: bool


def analyse_mirrors(policy: Policy) -> MirrorAnalysis | None:
    """What a policy's mirrors protect from; None if it names none."""
    mirrors = mirrors_of(policy)
    if not mirrors:
        return None
    alone = Policy(policy.logs, policy.witnesses, policy.groups, MIRRORS)
    found = quorum.analyse(alone)
    names = tuple(witness.name for witness in mirrors)
    return MirrorAnalysis(names, found.smallest, found.absent, needs_mirrors(policy))
