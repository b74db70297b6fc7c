"""Whether records fit together: ids, decisions, outcomes, lineage. Pure.

``judge`` looks at one partition of ``events`` at a time, in which everything about one thing comes
together. An audit therefore needs some 50 bytes of temporary disk a record, and memory for one
partition: about 1/64 of that, fourfold in Python.

Keys may collide, hardly ever: see ``thingkeys``. What is said here are warnings about what
gateways have logged, not findings against the log, which cannot know better.
"""

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from muniment.audit.addenda import Addenda, ErasedMember, judge_addendum
from muniment.audit.events import (
    CONTENT_BITS,
    EVENT,
    FURTHER,
    INDEX_BITS,
    INDEX_MASK,
    EventRole,
)

MAX_EDGES: Final = 1_000_000
"""Edges among which cycles are looked for: all are in memory for that, 200 bytes each."""

_KNOWN: Final = frozenset(
    {
        EventRole.ID,
        EventRole.ALLOWED,
        EventRole.REFUSED,
        EventRole.AUTHORIZED,
        EventRole.OUTCOME,
        EventRole.ACTED,
    }
)
# From this role on events tell something even alone; `EventRole.TO` does not, and is harmless here.
_LONE_FROM: Final = EventRole.OUTCOME << INDEX_BITS
_ADDENDUM: Final = int(EventRole.WITHHELD)  # this role and the later one; enums are slow to compare


class Warned(NamedTuple):
    """Something that a gateway should not have logged, or has not, at the leaf `index`.

    The kinds are ``id-reuse``, ``dangling-lineage``, ``later-lineage``, ``cyclic-lineage``,
    ``unauthorized-execution``, ``outcome-without-decision``, ``implausible-time``,
    ``foreign-erasure`` and ``odd-addendum``; of approvals ``approval-reuse``,
    ``unlogged-approval`` and those of ``approvals``.
    """

    kind: str
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    sentence: str


class Reuse(NamedTuple):
    """An id that one producer used twice, for the leaves `before` and `index`, not the same."""

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    before: int

    @property
    def warning(self) -> Warned:
        """What there is to say when more than the time differs."""
        return Warned(
            "id-reuse",
            self.index,
            f"entry {self.index} has the id of entry {self.before}, by the same producer, and "
            "other content",
        )


class Judged(NamedTuple):
    """What one partition comes to.

    Attributes:
        unresolved: Edges to things that nothing in these leaves tells of; only when these are not
            all leaves of the log, so that earlier ones may.
        runs: Runs that acted or ended.
        edges: Edges, by the partition of the thing that they begin at.
        turns: Things at which a cycle may close: they lead somewhere after something led to them.
            Each behind the leaf index of the first edge to it, as keys are in no lasting order.
        reuses: Ids that came again; the leaves have to be read to tell if more than time differs.
        addenda: What is to be said of addenda.
        promised: Decisions that promise the outcome of their run.
        unended: Those of them that are old enough and whose run has no outcome.
        approved: Decisions that rest on an approval.
    """

    warnings: list[Warned]
    unresolved: int
    runs: int
    edges: int
    turns: list[tuple[int, int]]
    reuses: list[Reuse]
    addenda: Addenda
    promised: int = 0
    unended: Sequence[int] = ()
    approved: int = 0


def judge(events: bytes, *, is_whole: bool, log: int = -1, before: int = 0) -> Judged:
    """Judges the events of one partition, of leaves in ascending order.

    `is_whole` tells whether they are those of all leaves from the first on; `log` is what
    `addenda.owner_of` gives for the log's own name, whose erasures count; `before` is the time, in
    Unix milliseconds, at which a decision is old enough that its promised outcome is missed.
    """
    found = Addenda()
    warnings: list[Warned] = []
    turns: list[tuple[int, int]] = []
    reuses: list[Reuse] = []
    unresolved = runs = edges = promised = approved = 0
    unended: list[int] = []
    for key, group in groupby(_telling(events), itemgetter(0)):
        first: dict[int, int] = {}
        contents: dict[int, dict[int, int]] = {}  # of each producer: content to leaf
        aims: list[int] = []
        last_from = -1
        addendum: list[tuple[int, int]] = []
        resting: dict[int, int] = {}  # on this approval: decision to leaf
        due: list[tuple[int, int]] = []
        for _, place, extra in group:
            role, index = place >> INDEX_BITS, place & INDEX_MASK
            if role >= _ADDENDUM:
                addendum.append((place, extra))
                continue
            first.setdefault(role, index)
            if role == EventRole.ID:
                known_as = contents.setdefault(extra >> CONTENT_BITS, {})
                if extra not in known_as and known_as:
                    reuses.append(Reuse(index, min(known_as.values())))
                known_as.setdefault(extra, index)
            elif role == EventRole.FROM:
                edges += 1
                last_from = index
            elif role in (EventRole.TO_RECORDED, EventRole.TO):
                aims.append(index)
            elif role == EventRole.PROMISED:
                due.append((extra, index))
            elif role == EventRole.APPROVED:
                resting.setdefault(extra, index)
        if addendum:
            judge_addendum(key, addendum, log, found, is_whole=is_whole)
        if aims and last_from > min(aims):
            turns.append((min(aims), key))
        if EventRole.TO_RECORDED in first:
            at = first[EventRole.TO_RECORDED]
            known = min((first[role] for role in _KNOWN if role in first), default=None)
            if known is None and not is_whole:
                unresolved += 1
            elif known is None:
                warnings.append(_dangling(at))
            elif known > at and is_whole:
                warnings.append(_later(at, known))
        promised += len(due)
        if due and not {EventRole.OUTCOME, EventRole.TOLD} & first.keys():
            unended += [index for time, index in due if time < before]
        if resting:
            approved += sum(not extra & FURTHER for extra in resting)
            warnings += _resting(
                sorted(resting.values()), first.get(EventRole.ID), is_whole=is_whole
            )
        acted = [first[role] for role in (EventRole.OUTCOME, EventRole.ACTED) if role in first]
        if acted:
            runs += 1
            if is_whole and not {EventRole.ALLOWED, EventRole.AUTHORIZED} & first.keys():
                warnings.append(_unauthorized(first, min(acted)))
    return Judged(
        warnings, unresolved, runs, edges, turns, reuses, found, promised, unended, approved
    )


def _resting(leaves: Sequence[int], logged: int | None, *, is_whole: bool) -> Iterator[Warned]:
    """What is wrong with the decisions that rest on one approval."""
    for index in leaves[1:]:
        sentence = f"entry {index} rests on the approval that entry {leaves[0]} has used"
        yield Warned("approval-reuse", index, sentence)
    if is_whole and (logged is None or logged > leaves[0]):
        sentence = f"entry {leaves[0]} rests on an approval that the log did not have by then"
        yield Warned("unlogged-approval", leaves[0], sentence)


def _telling(events: bytes) -> list[tuple[int, int, int]]:
    """The events of things of which there is something to tell, by thing.

    That is where an event needs others (an edge, what a run did), or an id comes twice. Most of a
    log are decisions with ids and runs of their own: those cost no more than two looks here.
    """
    words = array("Q", events)
    if sys.byteorder == "little":
        words.byteswap()
    keys, places, extras = words[::3], words[1::3], words[2::3]
    telling = {key for key, place in zip(keys, places, strict=True) if place >= _LONE_FROM}
    ids = [key for key, place in zip(keys, places, strict=True) if place <= INDEX_MASK]
    if len(set(ids)) < len(ids):
        telling.update(key for key, times in Counter(ids).items() if times > 1)
    if not telling:
        return []
    return sorted(one for one in zip(keys, places, extras, strict=True) if one[0] in telling)


def cycles(partitions: Iterable[bytes], turns: Sequence[int]) -> Iterator[Warned]:
    """Finds cycles of lineage: for each, the first edge that closes it.

    Every cycle goes through at least one of `turns`.
    """
    edges: dict[int, dict[int, int]] = {}
    for events in partitions:
        for key, place, target in EVENT.iter_unpack(events):
            if place >> INDEX_BITS == EventRole.FROM:
                edges.setdefault(key, {}).setdefault(target, place & INDEX_MASK)
    done: set[int] = set()
    for start in turns:
        if start in done:
            continue
        path: dict[int, None] = {start: None}
        stack = [iter(edges.get(start, {}).items())]
        while stack:
            for target, index in stack[-1]:
                if target in path:
                    yield Warned(
                        "cyclic-lineage",
                        index,
                        f"the edge at entry {index} makes a thing its own ancestor",
                    )
                elif target not in done and target in edges:
                    path[target] = None
                    stack.append(iter(edges[target].items()))
                    break
            else:
                stack.pop()
                done.add(path.popitem()[0])


def _dangling(index: int) -> Warned:
    return Warned(
        "dangling-lineage",
        index,
        f"the edge at entry {index} leads to a run or decision of which the log knows nothing",
    )


def _later(index: int, known: int) -> Warned:
    return Warned(
        "later-lineage",
        index,
        f"the edge at entry {index} leads to something first known at entry {known}",
    )


def _unauthorized(first: dict[int, int], index: int) -> Warned:
    if EventRole.OUTCOME in first and EventRole.REFUSED not in first:
        return Warned(
            "outcome-without-decision",
            first[EventRole.OUTCOME],
            f"entry {first[EventRole.OUTCOME]} is the outcome of a run that no decision authorises",
        )
    found = "the decision denies it" if EventRole.REFUSED in first else "there is no decision"
    return Warned(
        "unauthorized-execution",
        index,
        f"entry {index} tells of a run that no decision allows: {found}",
    )


def stranger(one: ErasedMember) -> Warned:
    """An erasure that does not count."""
    sentence = (
        f"entry {one.by} says that an addendum of entry {one.entry} was erased, and is neither the "
        "log's nor of that entry's producer: it does not count"
    )
    return Warned("foreign-erasure", one.by, sentence)


def odd(entry: int) -> Warned:
    """An addendum that nobody can read."""
    sentence = f"an addendum of entry {entry} has its digest, and not the form of an addendum"
    return Warned("odd-addendum", entry, sentence)
