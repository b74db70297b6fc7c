"""C2SP tlog-policy ("Defining the quorum", "Defining a witness group"): what a quorum is worth.

Each name is a member of one group at most, so a quorum is a tree, the parts of a group have no
key in common, and every figure below is a sum over the cheapest members. Groups name only what
precedes them: one pass over the groups in their order sees all members first.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:  # policy imports this module
    from muniment.formats.policy import Policy

NONE = "none"
"""The predefined name of the quorum that needs no witness."""


def witnessed(policy: "Policy", cosigners: Collection[str]) -> set[str]:
    """The names of the policy, witnesses and groups, that have witnessed what these cosigned.

    Args:
        policy: The policy.
        cosigners: Names; those that are not witnesses of the policy do not count.
    """
    found = {witness.name for witness in policy.witnesses if witness.name in cosigners}
    for group in policy.groups:
        if sum(member in found for member in group.members) >= group.threshold:
            found.add(group.name)
    return found


def shortage(
    policy: "Policy", cosigners: Collection[str]
) -> list[tuple[str, int, tuple[str, ...]]]:
    """What is missing for the quorum, from its top downwards; empty when it is met.

    Returns:
        (name, how many more it needs, the members that would count); a witness needs one, itself.
    """
    if policy.quorum == NONE:
        return []
    found = witnessed(policy, cosigners)
    groups = {group.name: group for group in policy.groups}
    missing: list[tuple[str, int, tuple[str, ...]]] = []
    queue = [policy.quorum] if policy.quorum not in found else []
    for name in queue:
        if (group := groups.get(name)) is None:
            if name == policy.quorum:
                missing.append((name, 1, (name,)))
            continue
        lacking = tuple(member for member in group.members if member not in found)
        missing.append((name, group.threshold - len(group.members) + len(lacking), lacking))
        queue.extend(lacking)
    return missing


@dataclass(frozen=True, slots=True)
class Analysis:
    """What faults a policy's quorum tolerates.

    The keys of a group whose members all have the same key name are one witness with several keys:
    they see one history, and fail together. Otherwise each key counts as a witness of its own.

    Attributes:
        witnesses: The witness lines that can count for the quorum, in the order of the policy.
        unused: The witnesses and groups that cannot.
        scattered: Key names that count as several witnesses, because their keys are not members of
            one group of their own: the figures below are then too good.
        smallest: Fewest cosignatures that meet the quorum. That many byzantine witnesses can
            endorse any tree alone; with fewer, each quorum has an honest witness, and a split
            view can at least be detected when witnesses compare what they saw.
        byzantine: Most byzantine witnesses, whichever they are, with which a split view stays
            impossible: the smallest overlap of any two quorums, minus one. With one more, the
            overlap can cosign two histories. -1 when two quorums have no witness in common, and
            for the quorum ``none``.
        absent: Most witnesses, whichever they are, that can be away while a quorum remains.
    """

    witnesses: tuple[str, ...]
    unused: tuple[str, ...]
    scattered: tuple[str, ...]
    smallest: int
    byzantine: int
    absent: int


class _Cost(NamedTuple):
    """Fewest witnesses that do something to a name."""

    meet: int  # cosign, so that it has witnessed
    overlap: int  # are in both of two sets that each make it witness
    block: int  # stay away, so that it cannot witness


_ONE: Final = _Cost(1, 1, 1)


def _only_owner(members: Collection[str], owners: Mapping[str, str]) -> str | None:
    """The key name that all members belong to; None when they differ or one is no witness's."""
    found = {owners.get(member) for member in members}
    return found.pop() if len(found) == 1 else None


def analyse(policy: "Policy") -> Analysis:
    """Computes what a policy's quorum tolerates, in O(n log n) time.

    To have a group of n members witness twice with k members each, 2k - n members at least serve
    both times, any of them, and the others need no common witness. To block it, n - k + 1 members
    must be blocked.
    """
    names = tuple(w.name for w in policy.witnesses) + tuple(g.name for g in policy.groups)
    if policy.quorum == NONE:
        return Analysis((), names, (), smallest=0, byzantine=-1, absent=len(policy.witnesses))
    owners = {witness.name: witness.vkey.name for witness in policy.witnesses}
    costs = {witness.name: _ONE for witness in policy.witnesses}
    for group in policy.groups:
        owner = _only_owner(group.members, owners)
        if owner is not None:
            owners[group.name], costs[group.name] = owner, _ONE
            continue
        n, k = len(group.members), group.threshold
        members = [costs[member] for member in group.members]
        costs[group.name] = _Cost(
            sum(sorted(cost.meet for cost in members)[:k]),
            sum(sorted(cost.overlap for cost in members)[: max(0, 2 * k - n)]),
            sum(sorted(cost.block for cost in members)[: n - k + 1]),
        )
    used = {policy.quorum}
    for group in reversed(policy.groups):
        if group.name in used:
            used.update(group.members)
    # What counts as one witness: the topmost name in use that a key name owns alone.
    inner = {m for group in policy.groups if group.name in owners for m in group.members}
    counted = [owner for name, owner in owners.items() if name in used and name not in inner]
    total = costs[policy.quorum]
    return Analysis(
        tuple(witness.name for witness in policy.witnesses if witness.name in used),
        tuple(name for name in names if name not in used),
        tuple(sorted(owner for owner, count in Counter(counted).items() if count > 1)),
        smallest=total.meet,
        byzantine=total.overlap - 1,
        absent=total.block - 1,
    )
