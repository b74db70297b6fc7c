"""Which alarms a situation calls for; no state, no I/O.

| kind | raised when |
| --- | --- |
| `evidence` | there is evidence against the log's key that nobody has acknowledged |
| `unresolved` | a head that the log signed could not be compared within the deadline |
| `restored` | this witness has cosigned, or may have, more than its database knows of |
| `old-head` | the newest head is older than its limit although the log answers |
| `log-behind` | the log shows a smaller tree than it had shown before, for too long |
| `peer-ahead` | a peer has cosigned a larger tree than this witness, for too long |
| `not-compared` | a peer answers, and its head of a log could not be compared for too long |
| `future` | a peer's cosignature is from the future: one of the clocks is wrong |
| `clock` | this witness's clock is behind its own cosignatures; it signs nothing |
| `list` | a list of logs says something else of a log than this witness knows, or cannot be read |
| `unreachable` | a log, peer or bastion has not answered within the deadline |
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, get_args

from msgspec import Struct, field

from muniment_witness.bastion.link import BastionState
from muniment_witness.config import LogOptions
from muniment_witness.cosign.suspension import WHAT
from muniment_witness.gossip.lists import ListState
from muniment_witness.gossip.logstate import LogState
from muniment_witness.gossip.peers import PeerHead, PeerState
from muniment_witness.witnessfile import Gossip

Kind = Literal[
    "evidence",
    "unresolved",
    "restored",
    "old-head",
    "log-behind",
    "peer-ahead",
    "not-compared",
    "future",
    "clock",
    "list",
    "unreachable",
]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class WitnessAlarm(NamedTuple):
    """One alarm.

    Its subject is the log or peer that it is about, or both; this witness's name for its clock.
    """

    kind: Kind
    subject: str
    detail: str


class Situation(Struct, frozen=True):
    """What alarms depend on. All times are Unix seconds, 0 for never.

    Attributes:
        evidence: Unacknowledged evidence: origin, hash (hexadecimal) and kind.
        unresolved: Unresolved heads: origin, source, and since when.
        restored: Origins that are suspended because a record was lost.
        unknown: Origins of which the database may lack what was signed, and why.
        heads: When the newest head of each log was cosigned or found.
    """

    now: int
    started: int
    name: str
    limits: Gossip
    options: Mapping[str, LogOptions]
    evidence: Sequence[tuple[str, str, str]] = ()
    unresolved: Sequence[tuple[str, str, int]] = ()
    restored: Sequence[str] = ()
    unknown: Sequence[tuple[str, str]] = ()
    heads: Mapping[str, int] = field(default_factory=dict)
    pulled: Mapping[str, LogState] = field(default_factory=dict)
    peers: Mapping[str, PeerState] = field(default_factory=dict)
    clock_is_behind: bool = False
    lists: Mapping[str, ListState] = field(default_factory=dict)
    bastions: Mapping[str, BastionState] = field(default_factory=dict)


def alarms(at: Situation) -> list[WitnessAlarm]:
    """Finds the alarms of a situation, the gravest kinds first."""
    found = [
        WitnessAlarm("evidence", origin, f"evidence {name}: its key signed {WHAT[kind]}")
        for origin, name, kind in at.evidence
    ]
    found += [
        WitnessAlarm(
            "unresolved", origin, f"a head shown by {source} could not be compared since {since}"
        )
        for origin, source, since in at.unresolved
        if at.now - since > at.limits.deadline_seconds
    ]
    found += [
        WitnessAlarm("restored", origin, "own cosignatures are known beyond the database")
        for origin in at.restored
    ]
    found += [WitnessAlarm("restored", origin, detail) for origin, detail in at.unknown]
    if at.clock_is_behind:
        found.append(WitnessAlarm("clock", at.name, "the clock is behind own cosignatures"))
    found += _of_logs(at)
    found += _of_peers(at)
    found += _of_lists(at)
    found += [
        WitnessAlarm("unreachable", prefix, f"the bastion: {state.error}")
        for prefix, state in at.bastions.items()
        if state.error and at.now - max(state.reached, at.started) > at.limits.deadline_seconds
    ]
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(found, key=lambda alarm: order[alarm.kind])


def _of_logs(at: Situation) -> list[WitnessAlarm]:
    found: list[WitnessAlarm] = []
    for origin, pulled in at.pulled.items():
        silent = at.now - max(pulled.reached, at.started)
        if pulled.error and silent > at.limits.deadline_seconds:
            found.append(WitnessAlarm("unreachable", origin, f"the log: {pulled.error}"))
            continue
        head = at.heads.get(origin)
        age = at.now - head if head else 0
        if not pulled.error and pulled.reached and age > at.options[origin].max_age:
            found.append(WitnessAlarm("old-head", origin, f"the newest head is {age} seconds old"))
        if pulled.behind and at.now - pulled.behind > at.limits.lag_seconds:
            found.append(
                WitnessAlarm(
                    "log-behind", origin, f"it shows size {pulled.size} since {pulled.behind}"
                )
            )
    return found


def _of_peers(at: Situation) -> list[WitnessAlarm]:
    found: list[WitnessAlarm] = []
    for name, peer in at.peers.items():
        is_silent = at.now - max(peer.reached, at.started) > at.limits.deadline_seconds
        if peer.error and is_silent:
            found.append(WitnessAlarm("unreachable", name, f"the peer: {peer.error}"))
        shows_none = all(head.size < 0 for head in peer.heads.values())
        for origin, head in peer.heads.items():
            subject = f"{name} {origin}"
            if why := "" if is_silent else _not_compared(head, shows_none=shows_none):
                since = max(head.compared, at.started)
                if at.now - since > at.limits.deadline_seconds:
                    detail = f"its head could not be compared since {since}: {why}"
                    found.append(WitnessAlarm("not-compared", subject, detail))
            if head.ahead and at.now - head.ahead > at.limits.lag_seconds:
                detail = f"it has cosigned size {head.size}, we have not since {head.ahead}"
                found.append(WitnessAlarm("peer-ahead", subject, detail))
            if head.time - at.now > at.limits.skew_seconds:
                detail = f"its cosignature is {head.time - at.now} seconds in the future"
                found.append(WitnessAlarm("future", subject, detail))
    return found


def _of_lists(at: Situation) -> list[WitnessAlarm]:
    found: list[WitnessAlarm] = []
    for url, state in at.lists.items():
        found += [
            WitnessAlarm("list", f"{url} {origin}", detail)
            for origin, detail in state.differs.items()
        ]
        # A list that changes rarely may be away for longer than a log or peer.
        if state.error and at.now - max(state.reached, at.started) > 86_400:
            found.append(WitnessAlarm("list", url, f"it cannot be read: {state.error}"))
    return found


def _not_compared(head: PeerHead, *, shows_none: bool) -> str:
    """Says why the head of a peer that answers was not compared; empty when that is no fault.

    A peer need not cosign every log. One that shows no head of any, or none of a log that shows its
    cosignature, has no monitoring endpoint here, and a split view between it and us stays unseen.
    """
    if head.error:
        return head.error
    if head.size >= 0:
        return ""
    if head.cosigns:
        return "it cosigns the log, but shows no head of it (has it a monitoring endpoint?)"
    return "it shows no head of any log (has it a monitoring endpoint?)" if shows_none else ""
