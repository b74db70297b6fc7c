"""What follows from comparing a head with the witness's frontier; no state, no I/O."""

from enum import StrEnum

from muniment.tlog.claims import Evidence
from muniment_witness.judge.relation import Same, SignedHead


class Comparison(StrEnum):
    """The result of comparing a head with the frontier."""

    SAME = "same"
    """The head is the frontier itself, or an empty tree."""
    EXTENDS = "extends"
    """The head's tree begins with the frontier's leaves: the head becomes the frontier."""
    PREFIX = "prefix"
    """The frontier's tree begins with the head's leaves."""
    PROVEN = "proven"
    """The head contradicts the frontier: there is evidence."""
    UNRESOLVED = "unresolved"
    """Unknown: no source gave tiles of the newer tree."""


def conclude(
    frontier: SignedHead | None, candidate: SignedHead, verdict: Same | Evidence | None
) -> Comparison:
    """Decides what a head is, once its relation to the frontier is known.

    The frontier is None when nothing of this log was accepted yet. The verdict is `Same` when
    nothing in the two notes contradicts, evidence when the trees contradict each other, None when
    the smaller tree was proved to be a prefix of the larger one.
    """
    if verdict is not None and not isinstance(verdict, Same):
        return Comparison.PROVEN
    if frontier is not None and candidate.size <= frontier.size:
        return Comparison.PREFIX if verdict is None else Comparison.SAME
    return Comparison.SAME if candidate.size == 0 else Comparison.EXTENDS
