"""What of a record was disclosed, what it withholds, and what of that was erased."""

from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Any, Final, NamedTuple

from muniment.lineage.facts import Facts, Found
from muniment.lineage.reader import BudgetedReader
from muniment.records.addenda import named_digests
from muniment.records.commitments import read_addendum
from muniment.records.kinds import Erasure, Record
from muniment.tlog.encoding import VerificationError

MAX_ERASURES: Final = 100_000
"""Most erasures that are read to say which of a record's members are erased."""


class Withholding(NamedTuple):
    """Of which members a record has only a digest; each pointer is in one of the three."""

    disclosed: tuple[str, ...]
    """Those whose addendum was shown."""
    withheld: tuple[str, ...]
    erased: tuple[tuple[str, int], ...]
    """Those not disclosed that a record says to be erased: with that record's leaf index."""

    def members(self) -> dict[str, Any]:
        """As JSON values, for scripts."""
        return {
            "disclosed": list(self.disclosed),
            "withheld": list(self.withheld),
            "erased": dict(self.erased),
        }


def disclosed_by(record: Record, addenda: Iterable[bytes]) -> dict[str, bytes]:
    """The addendum of each pointer that some addenda disclose of a verified record.

    Raises:
        VerificationError: If the record names none with an addendum's digest; tells its number,
            from 0.
        FormatError: If one is no addendum.
    """
    pointers: dict[str, list[str]] = {}
    for pointer, digest in named_digests(record).items():
        pointers.setdefault(digest, []).append(pointer)
    found: dict[str, bytes] = {}
    for number, data in enumerate(addenda):
        digest = sha256(data).hexdigest()
        if digest not in pointers:
            raise VerificationError(f"addendum {number}: the record names none with {digest}")
        read_addendum(data, f"addendum {number}")
        found.update(dict.fromkeys(pointers[digest], data))
    return found


def withholding_of(
    record: Record, disclosed: Collection[str], facts: Facts | None
) -> Withholding | None:
    """What a record withholds when some pointers are disclosed; None if it withholds nothing.

    An erasure counts by the log itself, or by the record's producer. Without facts nothing is known
    to be erased. Reads MAX_ERASURES of them, or one page of each. Raises FactsError if the facts
    cannot be read.
    """
    named = named_digests(record)
    if not named:
        return None
    hidden = [pointer for pointer in named if pointer not in disclosed]
    erased: dict[str, int] = {}
    if facts is not None and hidden:
        may_erase = (facts.head.origin, record.producer)

        def counted(erasures: Iterable[Found[Erasure]]) -> list[int]:
            return [one.index for one in erasures if one.record.producer in may_erase]

        # Anybody may log erasures that name a digest, as many as a page has, before the true one.
        digests = [named[pointer] for pointer in hidden]
        answers = BudgetedReader(MAX_ERASURES).until(
            facts.erasures, digests, lambda _, erasures: bool(counted(erasures))
        )
        for pointer, (erasures, _) in zip(hidden, answers, strict=True):
            by = counted(erasures)
            if by:
                erased[pointer] = by[0]
    return Withholding(
        tuple([pointer for pointer in named if pointer in disclosed]),
        tuple([pointer for pointer in hidden if pointer not in erased]),
        tuple(erased.items()),
    )
