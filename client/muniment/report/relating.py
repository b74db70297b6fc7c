"""What records say of each other: runs that nothing allows, approvals used twice, erased members.

By the events of the audit (`audit.events`), which go to temporary disk in partitions and are judged
one partition at a time, with the audit's own judgement: what is told here an audit warns of, too.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from muniment.audit.addenda import Addenda, judge_addendum, owner_of
from muniment.audit.events import (
    EVENT,
    INDEX_BITS,
    INDEX_MASK,
    PARTITIONS,
    EventRole,
)
from muniment.audit.relations import Warned, judge
from muniment.audit.relationstore import RelationStore
from muniment.report.tally import LeafRanges

MAX_ROWS: Final = 200
"""Rows of a list; the others are only counted."""

UNAUTHORIZED: Final = frozenset({"unauthorized-execution", "outcome-without-decision"})
"""Warnings about runs that no decision allows."""

OF_APPROVALS: Final = frozenset(
    {
        "approval-reuse",
        "forged-approval",
        "late-approval",
        "other-approval",
        "self-approval",
        "unknown-approver",
        "unlogged-approval",
    }
)
"""Warnings about approvals."""

_ACTED: Final = frozenset({int(EventRole.OUTCOME), int(EventRole.ACTED)})
_ADDENDUM: Final = int(EventRole.WITHHELD)
_NOT_ZERO: Final = re.compile(rb"[^\x00]", re.DOTALL)


class Marks:
    """A set of leaf indices, as bits."""

    def __init__(self, size: int) -> None:
        """For leaves below `size`."""
        self.size: Final = size
        self._bits = bytearray(-(-size // 8))

    def add(self, index: int) -> None:
        """Takes a leaf."""
        self._bits[index >> 3] |= 1 << (index & 7)

    def __contains__(self, index: int) -> bool:
        return bool(self._bits[index >> 3] >> (index & 7) & 1)

    def leaves(self) -> LeafRanges:
        """The leaves in order."""
        found = LeafRanges()
        for match in _NOT_ZERO.finditer(self._bits):
            at = match.start()
            for bit in range(8):
                if self._bits[at] >> bit & 1:
                    found.add(at * 8 + bit)
        return found


class Warnings:
    """Warnings of the window: how many of each kind, and the first ones."""

    def __init__(self, kinds: frozenset[str], size: int) -> None:
        """Takes those of some kinds, at leaves below `size`."""
        self._kinds = kinds
        self._marks = Marks(size)
        self._first: list[Warned] = []
        self.by_kind: Final = Counter[str]()

    def add(self, warnings: Iterable[Warned], marks: Marks) -> None:
        """Takes those of the kinds that are asked for, at marked leaves."""
        found = [one for one in warnings if one.kind in self._kinds and one.index in marks]
        for one in found:
            self._marks.add(one.index)
        self.by_kind.update(one.kind for one in found)
        self._first = nsmallest(MAX_ROWS, [*self._first, *found], key=itemgetter(1, 0, 2))

    def members(self) -> dict[str, Any]:
        """As JSON values: the leaves behind them, how many of each kind, and the first of them."""
        return {
            "leaves": self._marks.leaves().members(),
            "by_kind": dict(sorted(self.by_kind.items())),
            "rows": [one._asdict() for one in self._first],
        }


class Related(NamedTuple):
    """What the relations of a log come to.

    Attributes:
        acted: Runs of which a marked leaf says that they acted or ended.
        withheld: Addenda that marked decisions name; each digest counts once.
        erased: Those of them that a record erased whose word counts.
        unended: Marked decisions that promise the outcome of their run, are old enough, and whose
            run has none.
        unauthorized: Warnings of UNAUTHORIZED at marked leaves.
        approvals: Warnings of OF_APPROVALS at marked leaves.
    """

    acted: int
    withheld: int
    erased: int
    unended: LeafRanges
    unauthorized: Warnings
    approvals: Warnings


def relate(
    store: RelationStore,
    origin: str,
    marks: Marks,
    before: int,
    warnings: Warnings,
    progress: Callable[[int, int], None],
) -> Related:
    """Judges all partitions of events.

    Args:
        store: The events of all leaves from the first on.
        origin: The log's origin, whose erasures count.
        marks: The leaves that the report is about.
        before: Decisions made earlier, in Unix milliseconds, should have their outcome.
        warnings: Those of approvals that single leaves tell of; others are added.
        progress: Told (partitions judged, partitions there are).
    """
    log = owner_of(origin)
    unauthorized = Warnings(UNAUTHORIZED, marks.size)
    acted = 0
    withheld = Addenda()
    unended = Marks(marks.size)
    for number, events in enumerate(store.partitions()):
        judged = judge(events, is_whole=True, log=log, before=before)
        unauthorized.add(judged.warnings, marks)
        warnings.add(judged.warnings, marks)
        for index in judged.unended:
            if index in marks:
                unended.add(index)
        acted += len(_acted(events, marks))
        for key, group in _addenda(events, marks):
            judge_addendum(key, group, log, withheld, is_whole=True)
        progress(number + 1, PARTITIONS)
    return Related(
        acted, withheld.withheld, withheld.erased, unended.leaves(), unauthorized, warnings
    )


def _acted(events: bytes, marks: Marks) -> set[int]:
    return {
        key
        for key, place, _ in EVENT.iter_unpack(events)
        if place >> INDEX_BITS in _ACTED and place & INDEX_MASK in marks
    }


def _addenda(events: bytes, marks: Marks) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The events of each addendum that a marked leaf names."""
    found = sorted(one for one in EVENT.iter_unpack(events) if one[1] >> INDEX_BITS >= _ADDENDUM)
    for key, group in groupby(found, itemgetter(0)):
        listed = [(place, extra) for _, place, extra in group]
        if any(
            place >> INDEX_BITS == _ADDENDUM and place & INDEX_MASK in marks for place, _ in listed
        ):
            yield key, listed
