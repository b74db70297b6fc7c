"""How many have signed: whoever has several keys, or a key of several names, is one."""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from muniment.tlog.note import VKey

Marks: TypeAlias = AbstractSet[object]
"""What one signature tells of who made it, see `marks_of`."""


def marks_of(vkey: VKey) -> Marks:
    """What tells who has a key: its name, as text, and the public key, as bytes."""
    return {vkey.name, vkey.public}


def count_signers(signed: Collection[Marks], known: Iterable[VKey]) -> int:
    """How many different ones have signed, at the least.

    Signatures that have a mark in common are of one signer, and so are those that share marks with
    a third one, or with a key that is known: who changes keys under one name, and has one of these
    keys under another name too, has them all.

    Args:
        signed: The marks of each signature.
        known: The keys of all whose signatures count.
    """
    groups: list[set[object]] = []
    for marks in (*map(marks_of, known), *signed):
        joined = set(marks).union(*(one for one in groups if not one.isdisjoint(marks)))
        groups = [one for one in groups if one.isdisjoint(marks)]
        groups.append(joined)
    return sum(any(not group.isdisjoint(marks) for marks in signed) for group in groups)
