"""Who takes part in the mesh, and by which policies, from what the log's leaves say. Pure.

`members_of` reads consecutive leaves, `join` puts what two ranges say together: pages read the
newest leaves first, and older ones bit by bit. What is told of a range holds for that range: a
policy is in force *at least* since its first leaf there, until an older one of the same gateway and
authority is found.

Everything is bounded: whoever may write to a log could otherwise fill the memory of who looks.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec

from muniment.records.artifact import PolicyRef
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision, Outcome, Record, Verification
from muniment.records.manifest import signed_by

MOST: Final = 500
"""Gateways, authorities and runtimes kept, the newest of each; and policies of one gateway."""

TURNS: Final = 8
"""Changes kept of one thing, the newest."""

CHANGE: Final = "muniment.change"
"""The action of a gateway's records about itself, see docs/gateway.md."""

T = TypeVar("T", bound="Seen")
K = TypeVar("K")


@dataclass(slots=True)
class Seen:
    """When somebody was seen: leaves and Unix milliseconds, by the clock of who logged it."""

    count: int
    first: int
    since: int
    last: int
    time: int

    def follow(self, newer: "Seen") -> None:
        """Takes what a newer range says."""
        self.count += newer.count
        self.last, self.time = newer.last, newer.time


class InForceFrom(NamedTuple):
    """Something in force from a leaf on; `is_told` says that the gateway has said so itself."""

    value: str
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    time: int
    is_told: bool


@dataclass(slots=True)
class Turns:
    """What was in force one after the other: the first, the newest TURNS, and how many."""

    oldest: InForceFrom
    kept: list[InForceFrom]
    count: int = 1

    @property
    def now(self) -> InForceFrom:
        """What is in force now."""
        return self.kept[-1]

    def follow(self, newer: Self) -> None:
        """Takes what a newer range says."""
        added, goes_on = newer.kept, self.now.value == newer.oldest.value
        if goes_on and added[0] == newer.oldest:
            added = added[1:]
        self.count += newer.count - goes_on
        self.kept = [*self.kept, *added][-TURNS:]


@dataclass(slots=True)
class ProducerSeen(Seen):
    """What one producer has logged.

    Attributes:
        longest: Its longest silence between two of its records, milliseconds.
        keys: By key, when it signed batches.
        policies: By (authority, policy id), the revisions and digests by which it decided.
        told: By subject (``mode``, ``key``, ``policy of …``), what it has said is in force.
        outcomes: How many of its records tell how a run ended, or what a verifier found.
    """

    longest: int = 0
    keys: dict[str, Seen] = field(default_factory=dict[str, Seen])
    policies: dict[tuple[str, str], Turns] = field(default_factory=dict[tuple[str, str], Turns])
    told: dict[str, Turns] = field(default_factory=dict[str, Turns])
    outcomes: int = 0

    def follow(self, newer: Seen) -> None:
        """Takes what a newer range says of the same producer."""
        if not isinstance(newer, ProducerSeen):
            raise TypeError("a gateway follows on a gateway")
        self.longest = max(self.longest, newer.longest, newer.since - self.time)
        super(ProducerSeen, self).follow(newer)
        _follow_all(self.keys, newer.keys)
        _follow_turns(self.policies, newer.policies)
        _follow_turns(self.told, newer.told)
        self.outcomes += newer.outcomes


@dataclass(slots=True)
class Members:
    """Who takes part, as far as the leaves [first, end) tell.

    Attributes:
        first, end: The range.
        gateways: By name: every producer.
        authorities: By key, when they signed decisions.
        runtimes: By identity (SPIFFE id, or thumbprint), when they were permitted something.
    """

    first: int
    end: int
    gateways: dict[str, ProducerSeen] = field(default_factory=dict[str, ProducerSeen])
    authorities: dict[str, Seen] = field(default_factory=dict[str, Seen])
    runtimes: dict[str, Seen] = field(default_factory=dict[str, Seen])


def members_of(leaves: Sequence[bytes], first: int) -> Members:
    """Reads consecutive leaves, `first` being the first; some 10 µs each.

    A record that `parse_record` would refuse says nothing.
    """
    members = Members(first, first + len(leaves))
    for index, (leaf, record) in enumerate(zip(leaves, parse_leaves(leaves), strict=True), first):
        if record is not None:
            _take(members, record, index)
        elif (signed := signed_by(leaf, index)) is not None:
            key = signed[1].key
            gateway = members.gateways.get(key.partition("+")[0])
            # Of a manifest whose records lie in an older range, that tells by its next one.
            if gateway is not None:
                _see(gateway.keys, key, index, gateway.time)
    return members


def join(older: Members, newer: Members) -> Members:
    """What two ranges say together; ValueError if the newer one does not follow the older one.

    Both may be changed, and are not to be used after that.
    """
    if older.end != newer.first:
        raise ValueError(f"leaf {newer.first} does not follow on leaf {older.end - 1}")
    _follow_all(older.gateways, newer.gateways)
    _follow_all(older.authorities, newer.authorities)
    _follow_all(older.runtimes, newer.runtimes)
    older.end = newer.end
    return older


def drifting(
    gateways: Iterable[tuple[str, ProducerSeen]],
) -> dict[tuple[str, str], dict[str, list[str]]]:
    """The policies that gateways decide by in different revisions now.

    Returns:
        By (authority, policy id): for each revision and digest in force, the gateways.
    """
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, gateway in gateways:
        for key, turns in gateway.policies.items():
            found.setdefault(key, {}).setdefault(turns.now.value, []).append(name)
    return {key: revisions for key, revisions in found.items() if len(revisions) > 1}


def _take(members: Members, record: Record, index: int) -> None:
    time = record.time
    gateway = members.gateways.get(record.producer)
    if gateway is None:
        gateway = ProducerSeen(1, index, time, index, time)
        members.gateways[record.producer] = gateway
        _bound(members.gateways)
    else:
        gateway.longest = max(gateway.longest, time - gateway.time)
        gateway.count += 1
        gateway.last, gateway.time = index, time
    match record:
        case Decision():
            _take_decision(members, gateway, record, index)
        case Outcome() | Verification():
            gateway.outcomes += 1
        case _:
            pass


def _take_decision(members: Members, gateway: ProducerSeen, record: Decision, index: int) -> None:
    for signature in record.signatures or ():
        _see(members.authorities, signature.key, index, record.time)
    artifact = record.artifact
    if artifact is not None:
        _turn(
            gateway.policies,
            (artifact.attribution.authority, artifact.policy.id),
            InForceFrom(_revision(artifact.policy), index, record.time, is_told=False),
        )
        binding = artifact.binding
        if binding is not None and record.allowed:
            _see(
                members.runtimes, binding.spiffe_id or binding.thumbprint or "", index, record.time
            )
    if record.action == CHANGE and record.subject == ("gateway", record.producer):
        _take_change(gateway, record, index)


def _take_change(gateway: ProducerSeen, record: Decision, index: int) -> None:
    context: Any = record.request.get("context")
    subject, now = (context.get("subject"), context.get("now")) if context else (None, None)
    if isinstance(subject, str) and isinstance(now, str):
        try:
            policy = msgspec.json.decode(now, type=PolicyRef)
        except msgspec.DecodeError:
            words = now
        else:
            words = f"{policy.id} {_revision(policy)}"
        _turn(gateway.told, subject, InForceFrom(words, index, record.time, is_told=True))


def _revision(policy: PolicyRef) -> str:
    return f"revision {json.dumps(policy.revision, ensure_ascii=False)}, {policy.digest}"


def _turn(turns: dict[K, Turns], key: K, new: InForceFrom) -> None:
    _follow_turns(turns, {key: Turns(new, [new])})


def _follow_turns(older: dict[K, Turns], newer: dict[K, Turns]) -> None:
    for key, turns in newer.items():
        if key in older:
            older[key].follow(turns)
        elif len(older) < MOST:
            older[key] = turns


def _see(seen: dict[str, Seen], key: str, index: int, time: int) -> None:
    new = Seen(1, index, time, index, time)
    if key in seen:
        seen[key].follow(new)
    else:
        seen[key] = new
        _bound(seen)


def _follow_all(older: dict[str, T], newer: dict[str, T]) -> None:
    for key, seen in newer.items():
        if key in older:
            older[key].follow(seen)
        else:
            older[key] = seen
    _bound(older)


def _bound(seen: dict[str, T]) -> None:
    """Lets those go that were not seen for longest; twice as many may come before it works."""
    if len(seen) > 2 * MOST:
        for key, _ in sorted(seen.items(), key=lambda one: one[1].last)[:-MOST]:
            del seen[key]
