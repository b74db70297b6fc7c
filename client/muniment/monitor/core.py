"""The monitor's judgement, without I/O.

A round has two steps: `Core.heads` takes what the parties answered and says which pairs have to be
compared; `Core.conclude` takes what the tiles gave and says what is wrong, what is new, and what is
over. In between the shell fetches tiles. What may be concluded, in order of weight:

* Two heads that the log's keys signed contradict each other: proven, with evidence.
* Something does not verify: an alarm, not proof. Nor is it proof when two heads cannot be compared
  for want of tiles; an honest log may show tiles only of what it has published, and witnesses know
  a head a little earlier. So that becomes an alarm when it lasts.
* Somebody is behind: a party that for longer than the allowed lag has not reached a size that
  somebody else showed. A log that is behind its witnesses withholds what it has had cosigned.
* The time of the log's head, for which a quorum vouches, is older than allowed (a freeze); a
  cosignature states a time in the future, and does not count for that; there is no quorum for the
  head; a witness shows a head that it has not cosigned.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from muniment.monitor.heads import EARLIER, LOG, HeadReader, Pair, ShownHead, compare, pairs_of
from muniment.monitor.report import Alarm, AlarmWeight, Compared, MonitorRound, say
from muniment.tlog.encoding import FormatError, VerificationError, printable
from muniment.tlog.evidence import Evidence, verify_evidence
from muniment.tlog.policy import show
from muniment.tlog.quorum import ahead, time_of

DEFAULT_MAX_LAG: Final = 3600
"""Seconds; a witness should not show an older checkpoint than an hour ago (tlog-witness)."""

MAX_PROVEN: Final = 16
"""Contradictions told in one run. A log that has forked makes a new one with every head."""


class Missing(NamedTuple):
    """Why a party showed no head.

    Its kind is ``unreachable``, ``bad-answer``, or ``nothing-yet`` (a witness that never cosigned).
    """

    kind: str
    sentence: str


class Tiles(NamedTuple):
    """What the tiles gave for a pair: the contradiction that they showed, if they sufficed."""

    is_compared: bool
    evidence: Evidence | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """When to raise an alarm; seconds.

    Attributes:
        max_lag: How long a party may be behind another.
        max_age: How old the log's head may be, by the time for which a quorum vouches; None for
            any age.
        grace: How long it may stay open whether two heads are of one history. It is in every
            report, meanwhile, who was not compared.
    """

    max_lag: int = DEFAULT_MAX_LAG
    max_age: int | None = None
    grace: int = 0


@dataclass(slots=True)
class Core:
    """What a monitor knows. One instance follows one log, and asks the witnesses at some URLs.

    `expected` has for a witness's URL the policy's names for it, where the policy has its URL.
    """

    reader: HeadReader
    witnesses: tuple[str, ...]
    limits: AlarmLimits
    expected: Mapping[str, frozenset[str]]
    _earlier: ShownHead | None = None
    _behind: dict[str, tuple[int, int]] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)
    _active: frozenset[tuple[str, str]] = frozenset()
    _proven: dict[tuple[str, str], Alarm] = field(default_factory=dict)

    @property
    def earlier(self) -> bytes | None:
        """The largest checkpoint of the log that this monitor has seen; None before the first."""
        return None if self._earlier is None else self._earlier.signed.encode()

    def recall(self, data: bytes) -> None:
        """Takes up the memory of a monitor that ran before: its `earlier`.

        Raises:
            FormatError: If it is not a checkpoint.
            VerificationError: If it is not one of this log, by its keys, old ones included.
        """
        self._earlier = self.reader.read(EARLIER, data)

    def heads(
        self, answers: Mapping[str, bytes | Missing]
    ) -> tuple[dict[str, ShownHead], list[Alarm], list[Pair]]:
        """Verifies what the log and each witness showed, by LOG and URL; or why one did not.

        Returns:
            The heads by party, that of this monitor's own memory too; alarms; what to compare.
        """
        heads: dict[str, ShownHead] = {}
        alarms: list[Alarm] = []
        for party in (LOG, *self.witnesses):
            answer = answers[party]
            if isinstance(answer, Missing):
                if answer.kind != "nothing-yet":
                    weight = (
                        AlarmWeight.UNREACHABLE
                        if answer.kind == "unreachable"
                        else AlarmWeight.UNVERIFIED
                    )
                    alarms.append(Alarm(answer.kind, party, printable(answer.sentence), weight))
                continue
            try:
                heads[party] = self.reader.read(party, answer)
            except (FormatError, VerificationError) as error:
                alarms.append(
                    Alarm("bad-checkpoint", party, printable(str(error)), AlarmWeight.UNVERIFIED)
                )
        if self._earlier is not None:
            heads[EARLIER] = self._earlier
        return heads, alarms, pairs_of(tuple(heads.values()))

    def conclude(
        self,
        heads: Mapping[str, ShownHead],
        alarms: Sequence[Alarm],
        pairs: Sequence[Pair],
        tiles: Mapping[Pair, Tiles],
        now: int,
    ) -> MonitorRound:
        """Ends a round at `now`, Unix seconds, with what `heads` returned.

        `tiles` is what came of the pairs that need a proof.
        """
        found = list(alarms)
        silent = {alarm.party for alarm in alarms}
        compared: list[Compared] = []
        groups = {party: {party} for party in heads}
        unclear: dict[str, str] = {}
        for pair in pairs:
            older, newer = pair.older, pair.newer
            if pair.needs_proof:
                made = tiles[pair]
            else:
                evidence = compare(pair, verifiers=self.reader.log_verifiers)
                made = Tiles(is_compared=True, evidence=evidence)
            if not made.is_compared:
                # In the name of the witness of the two, since it is asked and reported by its name.
                party = newer.party if newer.party not in {LOG, EARLIER} else older.party
                unclear[LOG if party == EARLIER else party] = (
                    f"whether {newer.size} leaves ({newer.party}) continue {older.size} leaves "
                    f"({older.party}) could not be found out: {printable(made.reason)}"
                )
            elif made.evidence is not None:
                found.append(self._proof(f"{older.party}, {newer.party}", made.evidence))
            else:
                compared.append(Compared((older.party, older.size), (newer.party, newer.size)))
                joined = groups[older.party] | groups[newer.party]
                for party in joined:
                    groups[party] = joined
        found += self._unclear(unclear, now)
        found += self._cosignatures(heads, now)
        found += self._lag(heads, silent, now)
        found = self._with_proofs(found)
        self._remember(heads, groups)
        keys = frozenset(alarm.key for alarm in found)
        result = MonitorRound(
            origin=self.reader.origin,
            time=now,
            parties=(LOG, *self.witnesses),
            heads=heads,
            compared=tuple(compared),
            agreeing=tuple(sorted(groups.get(LOG, set()) - {LOG})),
            alarms=tuple(sorted(found, key=lambda alarm: -alarm.weight)),
            raised=tuple(alarm for alarm in found if alarm.key not in self._active),
            cleared=tuple(sorted(self._active - keys)),
        )
        self._active = keys
        return result

    def _proof(self, parties: str, evidence: Evidence) -> Alarm:
        """The alarm for a contradiction: proven if it is by the rules of evidence files."""
        try:
            proven = verify_evidence(evidence, self.reader.log_verifiers, origin=self.reader.origin)
        except VerificationError as error:
            sentence = f"they contradict each other, but nothing is proven: {printable(str(error))}"
            return Alarm("contradiction", parties, sentence, AlarmWeight.UNVERIFIED)
        return Alarm(f"proven-{proven.kind}", parties, proven.sentence, AlarmWeight.PROVEN, proven)

    def _unclear(self, unclear: Mapping[str, str], now: int) -> list[Alarm]:
        self._open = {party: self._open.get(party, now) for party in unclear}
        return [
            Alarm("not-compared", party, unclear[party], AlarmWeight.UNVERIFIED)
            for party, since in self._open.items()
            if now - since >= self.limits.grace
        ]

    def _with_proofs(self, found: Sequence[Alarm]) -> list[Alarm]:
        """One alarm of a kind, and all that was ever proven: a log cannot take it back."""
        for alarm in found:
            if alarm.weight is AlarmWeight.PROVEN and len(self._proven) < MAX_PROVEN:
                self._proven.setdefault(alarm.key, alarm)
        rest = {alarm.key: alarm for alarm in found if alarm.weight is not AlarmWeight.PROVEN}
        return [*self._proven.values(), *rest.values()]

    def _cosignatures(self, heads: Mapping[str, ShownHead], now: int) -> list[Alarm]:
        alarms: list[Alarm] = []

        def wrong(kind: str, party: str, sentence: str) -> None:
            alarms.append(Alarm(kind, party, sentence, AlarmWeight.UNVERIFIED))

        for party, head in heads.items():
            names = {name for name, _time in head.cosigners}
            if party == EARLIER:
                continue
            if late := ahead(head.stated, now):
                stated = ", ".join(f"{show(name)} states {say(time)}" for name, time in late)
                wrong("future", party, f"a cosignature is of a time in the future: {stated}")
            if party == LOG:
                if not head.has_quorum:
                    wrong("no-quorum", party, "its head is not cosigned by the policy's quorum")
                limit = self.limits.max_age
                time = time_of(head.policy, head.stated, now)
                if limit is not None and now - time > limit:
                    when = f"the time {say(time)}" if time else "no time"
                    wrong("too-old", party, f"for its head a quorum vouches with {when}")
            elif not names & self.expected.get(party, names):
                who = self.expected.get(party) or ["any witness of the policy"]
                wrong(
                    "not-cosigned",
                    party,
                    f"shows a head without a cosignature by {', '.join(map(show, sorted(who)))}",
                )
        return alarms

    def _lag(
        self, heads: Mapping[str, ShownHead], silent: AbstractSet[str], now: int
    ) -> list[Alarm]:
        behind = self._behind
        if not heads:
            return []
        largest = max(head.size for head in heads.values())
        # The earliest time at which a quorum, whoever showed which part of it, is known to have had
        # that many leaves: one witness's clock, or its ill will, must not make others late.
        shown = [(head.policy, head.stated) for head in heads.values() if head.size == largest]
        for policy in {id(policy): policy for policy, _ in shown}.values():
            together = [one for of, stated in shown if of is policy for one in stated]
            shown.append((policy, tuple(together)))
        times = (time_of(policy, stated, now) for policy, stated in shown)
        first = min(filter(None, times), default=now)
        alarms: list[Alarm] = []
        for party in (LOG, *self.witnesses):
            size = heads[party].size if party in heads else 0
            if party in behind and size >= behind[party][0]:
                del behind[party]
            if size < largest:
                target, since = behind.setdefault(party, (largest, min(now, first)))
                if party not in silent and now - since > self.limits.max_lag:
                    alarms.append(
                        Alarm(
                            "behind",
                            party,
                            f"shows {size} leaves; since {say(since)} others show {target} or more",
                            AlarmWeight.UNVERIFIED,
                        )
                    )
        return alarms

    def _remember(self, heads: Mapping[str, ShownHead], groups: Mapping[str, set[str]]) -> None:
        """Keeps the log's largest head, until one is shown that provably continues it."""
        shown = heads.get(LOG)
        if shown is None:
            return
        continues = self._earlier is None or EARLIER in groups[LOG]
        if continues and shown.size >= (self._earlier.size if self._earlier else 0):
            self._earlier = replace(shown, party=EARLIER)
