"""Why a witness does not sign for an origin: proven misbehaviour, or a record of its own it lost.

* The log's key was proven to have signed two histories: 403, until the operator has acknowledged
  every piece of evidence (in the configuration, so that it is on record who did).
* The database is a backup that was put in the place of a lost one: 503, until those who can know
  what this witness signed since were asked: the log, where it has a URL, and a peer, where it has
  any. A witness that can ask nobody must not sign again with its key.
* Somebody showed a cosignature *of this witness* on a head beyond its database: the database is an
  old copy. 503, until the witness has proved how its record leads there, and taken the head back.

Other origins are not affected by the evidence, or by the lost record, of one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from muniment.formats.note import SignatureLine
from muniment_witness.decide import Refused
from muniment_witness.ledger import Filed, Ledger
from muniment_witness.seen import Seen

PROVEN: Final = "misbehaviour-proven"
"""Slug of the refusal after evidence."""

BEHIND: Final = "behind-own-cosignature"
"""Slug of the refusal while a restored database catches up."""

COPY: Final = "restored-copy"
"""Slug of the refusal while nobody has told what was signed after the backup."""

Who = Literal["log", "peer"]


@dataclass(frozen=True, slots=True)
class Own:
    """A head with cosignatures of this witness that it has no record of.

    Attributes:
        seen: The head.
        lines: The cosignatures, verified.
        time: Their latest timestamp, Unix seconds.
    """

    seen: Seen
    lines: tuple[SignatureLine, ...]
    time: int


class Holds:
    """Which origins are held back.

    Attributes:
        ahead: For each origin, the largest lost record known.
        unheard: For each origin, who must still tell what was signed; empty unless the database
            was restored from a backup. Nobody to ask is an empty set, which stays.
    """

    def __init__(self, ledger: Ledger, acknowledged: Mapping[str, Collection[str]]) -> None:
        """Takes the evidence and, by origin, the acknowledged hashes (hexadecimal)."""
        self._ledger = ledger
        self._acknowledged = acknowledged
        self.ahead: Final[dict[str, Own]] = {}
        self.unheard: Final[dict[str, set[Who]]] = {}

    def heard(self, origin: str, who: Who) -> None:
        """Somebody has told what they know of this witness's cosignatures, or that it is none."""
        waiting = self.unheard.get(origin)
        if waiting and who in waiting:
            waiting.remove(who)
            if not waiting:
                del self.unheard[origin]

    def acknowledged(self, origin: str) -> Collection[str]:
        """Hashes (hexadecimal) of the evidence that the operator acknowledged."""
        return self._acknowledged.get(origin, ())

    def evidence(self, origin: str) -> list[Filed]:
        """The evidence against an origin that is not acknowledged."""
        filed = self._ledger.evidence.get(origin)
        if not filed:
            return []
        settled = self.acknowledged(origin)
        return [each for each in filed.values() if each.hash.hex() not in settled]

    def __call__(self, origin: str) -> Refused | None:
        """Why nothing is signed for an origin; None when nothing holds it back."""
        if filed := self.evidence(origin):
            return Refused(
                403,
                PROVEN,
                f"the log's key is proven to have signed two histories: evidence "
                f"{filed[0].hash.hex()}; the operator of this witness has to acknowledge it",
            )
        if (own := self.ahead.get(origin)) is not None:
            return Refused(
                503,
                BEHIND,
                f"this witness has cosigned size {own.seen.head.size} and lost its record of it",
            )
        if (waiting := self.unheard.get(origin)) is not None:
            return Refused(
                503,
                COPY,
                "the database of this witness was restored from a backup, and what it signed since "
                f"is not known: {' and '.join(sorted(waiting)) or 'log or peer'} not heard yet",
            )
        return None
