"""RFC 6962 section 2.1: the head of a tree, and how the heads of two trees stand to each other.

`relate` is the one answer to "does the newer head continue the older one?". What follows from it
(an alarm, a suspicion, evidence, a refusal) is for each party to decide.
"""

from enum import Enum
from typing import Final, NamedTuple

from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.proofs import verify_consistency


class Head(NamedTuple):
    """A tree as its head states it."""

    size: int
    root: bytes


EMPTY: Final = Head(0, EMPTY_ROOT)
"""The head of the empty tree."""


class Prefix(NamedTuple):
    """The root that a tree has at an older size, and the consistency proof from there on."""

    root: bytes
    proof: tuple[bytes, ...]


class Relation(Enum):
    """How a newer head stands to an older one."""

    SAME = "same"
    """They are the same tree."""
    EXTENDS = "extends"
    """The newer tree begins with the leaves of the older one."""
    CONTRADICTS = "contradicts"
    """No log that only appends has both: whoever signed both has two histories."""
    UNKNOWN = "unknown"
    """The sizes differ, and nothing shows what the newer tree begins with."""


def relate(older: Head, newer: Head, prefix: Prefix | None = None) -> Relation:
    """Tells how a newer head stands to an older one.

    `prefix` is what the newer tree has at the older size; None when nobody has asked its tiles. It
    is not looked at when the heads alone say how they stand. Raises ValueError if the older tree is
    larger than the newer one; VerificationError if the prefix is not one of the newer tree. It then
    says nothing: anyone on the way can spoil a proof.
    """
    if older.size > newer.size:
        raise ValueError(f"a tree of {older.size} leaves is not older than one of {newer.size}")
    if any(not head.size and head.root != EMPTY_ROOT for head in (older, newer)):
        return Relation.CONTRADICTS
    if older.size == newer.size:
        return Relation.SAME if older.root == newer.root else Relation.CONTRADICTS
    if prefix is not None:
        verify_consistency(older.size, prefix.root, newer.size, newer.root, prefix.proof)
        return Relation.EXTENDS if prefix.root == older.root else Relation.CONTRADICTS
    return Relation.UNKNOWN if older.size else Relation.EXTENDS
