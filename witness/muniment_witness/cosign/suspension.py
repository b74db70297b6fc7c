"""Why a witness does not sign for an origin: proven misbehaviour, or a record of its own it lost.

* The log's key was proven to have signed two histories, or an index that is not that of its leaves:
  403, until the operator has acknowledged every piece of evidence (in the configuration, so that it
  is on record who did).
* The database may lack what this witness signed, because it is a backup that was put in the place
  of a lost one, or was begun anew: 503, until those who can know were asked: the log, where it has
  a URL, and a peer, where it has any; and until the newest head that they showed is taken up. A
  witness that can ask nobody must not sign again with its key, unless its operator has declared
  that it never has for this log.
* Somebody showed a cosignature *of this witness* on a head beyond its database: the database is an
  old copy. 503, until the witness has proved how its record leads there, and taken the head back.

Other origins are not affected by the evidence, or by the lost record, of one.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from muniment.tlog.note import SignatureLine
from muniment_witness.judge.decide import Refusal
from muniment_witness.judge.relation import SignedHead
from muniment_witness.store.database import Loss
from muniment_witness.store.observations import FiledEvidence, Observations

PROVEN: Final = "misbehaviour-proven"
"""Slug of the refusal after evidence."""

BEHIND: Final = "behind-own-cosignature"
"""Slug of the refusal while a restored database catches up."""

COPY: Final = "restored-copy"
"""Slug of the refusal while it is not known what was signed after the backup."""

ANEW: Final = "begun-anew"
"""Slug of the refusal while it is not known what was signed before the new database."""

WHAT: Final[defaultdict[str, str]] = defaultdict(
    lambda: "two histories", index="an index that is not that of its leaves"
)
"""What evidence of a kind proves the log's key to have signed."""

Informant = Literal["log", "peer"]


class LostRecord(Struct, frozen=True):
    """A head with verified cosignatures of this witness that its database does not have.

    The time is their latest timestamp, Unix seconds.
    """

    head: SignedHead
    lines: tuple[SignatureLine, ...]
    time: int


@dataclass(slots=True)
class UnknownRecord:
    """A log for which this witness may have signed what its database does not know.

    Attributes:
        loss: Why.
        asked: Who can be asked; empty when there is nobody.
        waiting: Of these, who has not answered yet.
    """

    loss: Loss
    asked: frozenset[Informant]
    waiting: set[Informant] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = set(self.asked)

    @property
    def has_all_answers(self) -> bool:
        """Whether all that can be asked have answered."""
        return bool(self.asked) and not self.waiting

    def refusal(self) -> Refusal:
        """Gives the refusal that a request gets meanwhile."""
        if self.waiting:
            why = f"{' and '.join(sorted(self.waiting))} not heard yet"
        elif self.asked:
            why = "the newest head that was shown is not taken up yet"
        else:
            why = "there is no url of the log and no peer to ask"
        if self.loss == "backup":
            what = "was restored from a backup, and what it signed since is not known"
            return Refusal(503, COPY, f"the database of this witness {what}: {why}")
        what = "was begun anew, and what its keys signed before is not known"
        return Refusal(503, ANEW, f"the database of this witness {what}: {why}")


class Suspensions:
    """The origins for which nothing is signed at present, and why.

    Attributes:
        lost: For each origin, the largest lost record known.
        unknown: The origins of which it is not known what was signed; empty unless the database
            is a backup or was begun anew. `Watch.resume` takes them out.
    """

    def __init__(
        self,
        observations: Observations,
        acknowledged: Mapping[str, Collection[str]],
        unknown: Mapping[str, UnknownRecord],
    ) -> None:
        """Takes the evidence, and by origin the hashes (hexadecimal) that were acknowledged."""
        self._observations = observations
        self._acknowledged = acknowledged
        self.lost: Final[dict[str, LostRecord]] = {}
        self.unknown: Final = dict(unknown)

    def is_first(self, origin: str, size: int) -> bool:
        """Whether a cosignature would be the first of an origin, as far as the database knows.

        `size` is that of the latest cosigned head in the database.
        """
        return size == 0 or origin in self.unknown

    @property
    def are_waiting(self) -> bool:
        """Whether a log or peer has yet to answer what was signed."""
        return any(record.waiting for record in self.unknown.values())

    def recovered(self, origin: str) -> None:
        """Forgets a lost record that was recovered; others are asked what they know beyond it."""
        del self.lost[origin]
        if (record := self.unknown.get(origin)) is not None:
            record.waiting = set(record.asked)

    def note_answer(self, origin: str, who: Informant) -> None:
        """Notes that a log or peer told which cosignatures of this witness it knows, if any."""
        if origin in self.unknown:
            self.unknown[origin].waiting.discard(who)

    def acknowledged(self, origin: str) -> Collection[str]:
        """Gives the hashes (hexadecimal) of the evidence that the operator acknowledged."""
        return self._acknowledged.get(origin, ())

    def evidence(self, origin: str) -> list[FiledEvidence]:
        """Gives the evidence against an origin that is not acknowledged."""
        filed = self._observations.evidence.get(origin)
        if not filed:
            return []
        acknowledged = self.acknowledged(origin)
        return [each for each in filed.values() if each.hash.hex() not in acknowledged]

    def __call__(self, origin: str) -> Refusal | None:
        """Gives the reason why nothing is signed for an origin; None when it is not suspended."""
        if filed := self.evidence(origin):
            return Refusal(
                403,
                PROVEN,
                f"the log's key is proven to have signed {WHAT[filed[0].kind]}: evidence "
                f"{filed[0].hash.hex()}; the operator of this witness has to acknowledge it",
            )
        if (own := self.lost.get(origin)) is not None:
            return Refusal(
                503,
                BEHIND,
                f"this witness has cosigned size {own.head.size} and lost its record of it",
            )
        if (record := self.unknown.get(origin)) is not None:
            return record.refusal()
        return None
