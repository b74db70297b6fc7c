"""C2SP tlog-policy ("Defining the quorum", "Defining a witness group"): what a quorum is worth.

Each name is a member of one group at most, so a quorum is a tree, the parts of a group have no
key in common, and every figure below is a sum over the cheapest members. Groups name only what
precedes them: one pass over the groups in their order sees all members first.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:  # policy imports this module
    from muniment.tlog.policy import Policy

NONE = "none"
"""The predefined name of the quorum that needs no witness."""

CLOCK_SKEW: Final = 60
"""Seconds by which another clock may be ahead of ours; more means that one of them is wrong."""


def witnessed(policy: "Policy", cosigners: Collection[str]) -> set[str]:
    """The witnesses and groups that have witnessed what these cosigned, others left out."""
    found = {witness.name for witness in policy.witnesses if witness.name in cosigners}
    for group in policy.groups:
        if sum(member in found for member in group.members) >= group.threshold:
            found.add(group.name)
    return found


def ahead(stated: Iterable[tuple[str, int]], now: int) -> tuple[tuple[str, int], ...]:
    """Of (witness, Unix seconds) those whose time is in the future, by more than CLOCK_SKEW."""
    return tuple((name, time) for name, time in stated if time > now + CLOCK_SKEW)


def time_of(policy: "Policy", stated: Iterable[tuple[str, int]], now: int | None = None) -> int:
    """The time of a head: the latest one up to which cosignatures still make the quorum.

    A group of threshold k has the k-th best time of its members, so a clock that is wrong moves the
    time of a head no further than a witness that is away would. Times that are more than CLOCK_SKEW
    seconds after `now` do not count (without a clock, None, every time does); when the others alone
    make no quorum, those who state them keep their seats in it, and the time is that of the others.
    Times of 0 make no statement. For the quorum ``none``, which any cosignature exceeds, it is the
    newest time. Returns Unix seconds; 0 when no quorum states a time.
    """
    lines = tuple(stated)
    if now is None:
        return _best(policy, lines)
    late = ahead(lines, now)
    time = _best(policy, [line for line in lines if line not in late])
    if late and not time:
        time = _best(policy, lines)
    return time if time <= now + CLOCK_SKEW else 0


def _best(policy: "Policy", stated: Iterable[tuple[str, int]]) -> int:
    known = {witness.name: 0 for witness in policy.witnesses}
    for name, time in stated:
        known[name] = max(time, known[name])
    if policy.quorum == NONE:
        return max(known.values(), default=0)
    for group in policy.groups:
        times = sorted((known[member] for member in group.members), reverse=True)
        known[group.name] = times[group.threshold - 1]
    return known[policy.quorum]


def shortage(
    policy: "Policy", cosigners: Collection[str]
) -> list[tuple[str, int, tuple[str, ...]]]:
    """What is missing for the quorum, from its top downwards; empty when it is met.

    Each with its name, how many more it needs (a witness one, itself), and the members that would
    count.
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


class Analysis(Struct, frozen=True):
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
