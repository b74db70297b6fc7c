"""What a monitor tells: comparisons, alarms, and one report a round. Never more than was compared.

A monitor cannot say that there is no split view: it knows what was shown to itself, by those that
it asked, when it asked them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final

from muniment.monitor.heads import EARLIER, LOG, ShownHead
from muniment.tlog.encoding import format_base64, printable
from muniment.tlog.evidence import Proven, explain

CAVEAT: Final = "What others were shown, at other times, this does not say."


class AlarmWeight(IntEnum):
    """What an alarm is worth, in ascending order."""

    UNREACHABLE = 1
    """Somebody did not answer."""

    UNVERIFIED = 2
    """Something does not verify, is late or is missing. It may be an accident, or a third party."""

    PROVEN = 3
    """The log's own signatures prove it."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong with a party: LOG, a witness's URL, or two of them compared.

    `kind` is a stable slug, `sentence` what was expected and what was found.
    """

    kind: str
    party: str
    sentence: str
    weight: AlarmWeight
    evidence: Proven | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same alarm in the next round."""
        if self.evidence is not None:
            return (self.kind, self.evidence.evidence.contradiction.hex())
        return (self.kind, self.party)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two parties whose heads were found to be of one history, each with the size of its tree."""

    older: tuple[str, int]
    newer: tuple[str, int]


@dataclass(frozen=True, slots=True)
class MonitorRound:
    """One round.

    Attributes:
        origin: The log's origin.
        time: When, Unix seconds.
        parties: Everybody who was asked.
        heads: What they showed, where it verified.
        compared: The comparisons that hold.
        agreeing: Parties, the log aside, whose heads are of one history with the log's, by these
            comparisons or a chain of them.
        alarms: All that is wrong now.
        raised: The alarms that are new.
        cleared: The keys of alarms of earlier rounds that are over.
        evidence_files: Where the evidence is that was written, by its hash.
    """

    origin: str
    time: int
    parties: tuple[str, ...]
    heads: Mapping[str, ShownHead]
    compared: tuple[Compared, ...]
    agreeing: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    raised: tuple[Alarm, ...] = ()
    cleared: tuple[tuple[str, str], ...] = ()
    evidence_files: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def weight(self) -> AlarmWeight | None:
        """The weight of the gravest alarm; None without alarms."""
        return max((alarm.weight for alarm in self.alarms), default=None)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """The witnesses that were asked."""
        return tuple(party for party in self.parties if party not in {LOG, EARLIER})

    def lines(self) -> list[str]:
        """The report in words."""
        lines = [f"{say(self.time)}: the log {printable(self.origin)}"]
        for party in self.parties:
            head = self.heads.get(party)
            what = "nothing that verifies" if head is None else _describe(head)
            lines.append(f"  {party} shows {what}")
        with_log = [party for party in self.witnesses if party in self.agreeing]
        others = [party for party in self.witnesses if party not in self.agreeing]
        if with_log:
            lines.append(f"Compared, one history with the log's head: {', '.join(with_log)}.")
        if EARLIER in self.agreeing:
            lines.append("The log's head continues the one that it showed to this monitor before.")
        if others:
            lines.append(f"Not so, or not compared: {', '.join(others)}.")
        lines.append(CAVEAT)
        for alarm in self.alarms:
            lines.append(f"{alarm.weight.name}: {alarm.kind}: {alarm.party}: {alarm.sentence}")
            if alarm.evidence is not None:
                lines += [f"  {line}" for line in explain(alarm.evidence)]
                name = alarm.evidence.evidence.hash.hex()
                if name in self.evidence_files:
                    lines.append(f"  Evidence: {self.evidence_files[name]}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; member names are part of the interface."""
        return {
            "origin": self.origin,
            "time": self.time,
            "heads": [
                {"party": party, "head": _head(self.heads[party]) if party in self.heads else None}
                for party in self.parties
            ],
            "compared": [
                {
                    "older": {"party": pair.older[0], "size": pair.older[1]},
                    "newer": {"party": pair.newer[0], "size": pair.newer[1]},
                }
                for pair in self.compared
            ],
            "agreeing": list(self.agreeing),
            "not_compared": [party for party in self.witnesses if party not in self.agreeing],
            "alarms": [self.alarm_json(alarm) for alarm in self.alarms],
            "caveat": CAVEAT,
        }

    def alarm_json(self, alarm: Alarm) -> dict[str, Any]:
        """An alarm as JSON values, as the webhook gets it."""
        value: dict[str, Any] = {
            "origin": self.origin,
            "time": self.time,
            "kind": alarm.kind,
            "party": alarm.party,
            "sentence": alarm.sentence,
            "weight": alarm.weight.name.lower(),
        }
        if alarm.evidence is not None:
            evidence = alarm.evidence.evidence
            value["evidence"] = evidence.hash.hex()
            value["explanation"] = explain(alarm.evidence)
            value["evidence_file"] = self.evidence_files.get(evidence.hash.hex())
        return value


def _describe(head: ShownHead) -> str:
    cosigners = ", ".join(
        f"{printable(name)} ({say(time) if time else 'no time'})" for name, time in head.cosigners
    )
    leaves = "leaf" if head.size == 1 else "leaves"
    return f"{head.size} {leaves}, cosigned by {cosigners or 'nobody whom the policy knows'}"


def _head(head: ShownHead) -> dict[str, Any]:
    return {
        "size": head.size,
        "root": format_base64(head.root),
        "cosigners": [{"witness": printable(name), "time": time} for name, time in head.cosigners],
        "quorum": head.has_quorum,
    }


def say(seconds: int) -> str:
    """A Unix time in words."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"
