"""What records say of each other (design section 3.1): ids, decisions, outcomes, lineage. Pure.

``extract`` runs wherever a bundle is examined and makes *events*: 64-bit hashes of things with the
leaf that speaks of them, 24 bytes each, in PARTITIONS by hash. ``judge`` looks at one partition at
a time, in which everything about one thing comes together. An audit therefore needs some 60 bytes
of temporary disk a record, and memory for one partition: about 1/64 of that, fourfold in Python.

Hashes may collide, once in 2**64 by chance. What is said here are warnings about what gateways
have logged, not findings against the log, which cannot know better.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

PARTITION_BITS: Final = 6
PARTITIONS: Final = 1 << PARTITION_BITS
_PARTITION_SHIFT: Final = 8 - PARTITION_BITS

MAX_EDGES: Final = 1_000_000
"""Edges among which cycles are looked for: all are in memory for that, 200 bytes each."""

_EVENT: Final = struct.Struct(">QQQ")
_INDEX_BITS: Final = 56
_INDEX_MASK: Final = (1 << _INDEX_BITS) - 1


class Role(IntEnum):
    """What a leaf says of a thing."""

    ID = 0
    """It is the record with this producer and id; with its leaf hash."""

    ALLOWED = 1
    """It is a decision that allows this run."""

    REFUSED = 2
    """It is a decision that does not allow this run."""

    AUTHORIZED = 3
    """It is an ``authorized_by`` edge from this run."""

    OUTCOME = 4
    """It is an outcome of this run."""

    SEEN = 5
    """It is the decision."""

    ACTED = 6
    """It is another edge from this run, or its verification."""

    FROM = 7
    """It is an edge from this thing; with the thing at its other end."""

    TO_RECORDED = 8
    """It is an edge to this run or decision, of which the log must know."""

    TO = 9
    """It is an edge to this thing, of which the log need not know."""


_KNOWN: Final = frozenset(
    {Role.ALLOWED, Role.REFUSED, Role.AUTHORIZED, Role.OUTCOME, Role.SEEN, Role.ACTED}
)

_SHIFTED: Final = {role: int(role) << _INDEX_BITS for role in Role}  # enums are slow to count with
_LONE: Final = frozenset({Role.OUTCOME, Role.ACTED, Role.FROM, Role.TO_RECORDED})


class Warned(NamedTuple):
    """Something that a gateway should not have logged, or has not.

    Attributes:
        kind: ``id-reuse``, ``dangling-lineage``, ``later-lineage``, ``cyclic-lineage``,
            ``unauthorized-execution`` or ``outcome-without-decision``.
        index: The leaf.
        sentence: What is wrong.
    """

    kind: str
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    sentence: str


class _End(Struct, gc=False):
    type: str
    id: str
    origin: str | None = None


class _Response(Struct, gc=False):
    decision: bool = False


class _Narrow(Struct, rename={"from_": "from"}, gc=False):
    kind: str
    id: str
    producer: str
    execution: str | None = None
    response: _Response | None = None
    relation: str = ""
    from_: _End | None = None
    to: _End | None = None


_decode: Final = Decoder(_Narrow).decode


def extract(
    entries: Sequence[bytes], hashes: Sequence[bytes], first: int, origin: str
) -> tuple[bytes, ...]:
    """Makes the events of consecutive leaves; what is no record makes none.

    Args:
        entries: The leaves.
        hashes: Their leaf hashes.
        first: Leaf index of the first.
        origin: The log's origin: a thing that states it is a thing of this log.

    Returns:
        PARTITIONS byte strings of events.
    """
    names: list[str] = []  # of things, and in step with them:
    tails: list[bytes] = []  # role, leaf, and what belongs to it
    for index, entry in enumerate(entries, first):
        try:
            found = _decode(entry)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            continue
        kind, run = found.kind, found.execution
        names.append(f"{found.producer}\0{found.id}")
        tails.append(index.to_bytes(8, "big") + hashes[index - first][:8])
        if kind == "edge":
            _edge(found, index, origin, names, tails)
        elif kind == "decision":
            names.append(f"decision\0{found.id}")
            tails.append(_tail(Role.SEEN, index))
            if run is not None:
                allows = found.response is not None and found.response.decision
                names.append(f"run\0{run}")
                tails.append(_tail(Role.ALLOWED if allows else Role.REFUSED, index))
        elif run is not None and kind in ("outcome", "verification"):
            names.append(f"run\0{run}")
            tails.append(_tail(Role.OUTCOME if kind == "outcome" else Role.ACTED, index))
    parts: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for name, tail in zip(names, tails, strict=True):
        key = sha256(name.encode()).digest()
        parts[key[0] >> _PARTITION_SHIFT].append(key[:8] + tail)
    return tuple([b"".join(part) for part in parts])


def _edge(found: _Narrow, index: int, origin: str, names: list[str], tails: list[bytes]) -> None:
    start, end = found.from_, found.to
    if start is None or end is None:
        return
    source, target = _thing(start, origin), _thing(end, origin)
    if source is None:
        return
    if start.type == "run":
        names.append(source)
        authorized = found.relation == "authorized_by"
        tails.append(_tail(Role.AUTHORIZED if authorized else Role.ACTED, index))
    if target is not None:
        names += [source, target]
        tails.append(_tail(Role.FROM, index, sha256(target.encode()).digest()[:8]))
        recorded = end.type in ("run", "decision")
        tails.append(_tail(Role.TO_RECORDED if recorded else Role.TO, index))


def _tail(role: Role, index: int, extra: bytes = bytes(8)) -> bytes:
    return (_SHIFTED[role] | index).to_bytes(8, "big") + extra


def _thing(end: _End, origin: str) -> str | None:
    """How a thing of this log is spelled; None for one of another log."""
    if end.origin is not None and end.origin != origin:
        return None
    return f"{end.type}\0{end.id}"


class Judged(NamedTuple):
    """What one partition comes to.

    Attributes:
        warnings: What is wrong.
        unresolved: Edges to things that nothing in these leaves tells of; only when these are not
            all leaves of the log, so that earlier ones may.
        runs: Runs that acted or ended.
        edges: Edges, by the partition of the thing that they begin at.
        turns: Things at which a cycle may close: they lead somewhere after something led to them.
    """

    warnings: list[Warned]
    unresolved: int
    runs: int
    edges: int
    turns: list[int]


def judge(events: bytes, *, is_whole: bool) -> Judged:
    """Judges the events of one partition.

    Args:
        events: The events, of leaves in ascending order.
        is_whole: Whether they are those of all leaves from the first on.
    """
    warnings: list[Warned] = []
    turns: list[int] = []
    unresolved = runs = edges = 0
    for key, group in groupby(_telling(events), itemgetter(0)):
        first: dict[int, int] = {}
        contents: dict[int, int] = {}
        aims: list[int] = []
        last_from = -1
        for _, place, extra in group:
            role, index = place >> _INDEX_BITS, place & _INDEX_MASK
            first.setdefault(role, index)
            if role == Role.ID:
                if extra not in contents and contents:
                    warnings.append(_reuse(index, min(contents.values())))
                contents.setdefault(extra, index)
            elif role == Role.FROM:
                edges += 1
                last_from = index
            elif role in (Role.TO_RECORDED, Role.TO):
                aims.append(index)
        if aims and last_from > min(aims):
            turns.append(key)
        if Role.TO_RECORDED in first:
            at = first[Role.TO_RECORDED]
            known = min((first[role] for role in _KNOWN if role in first), default=None)
            if known is None and not is_whole:
                unresolved += 1
            elif known is None:
                warnings.append(_dangling(at))
            elif known > at and is_whole:
                warnings.append(_later(at, known))
        acted = [first[role] for role in (Role.OUTCOME, Role.ACTED) if role in first]
        if acted:
            runs += 1
            if is_whole and not {Role.ALLOWED, Role.AUTHORIZED} & first.keys():
                warnings.append(_unauthorized(first, min(acted)))
    return Judged(warnings, unresolved, runs, edges, turns)


def _telling(events: bytes) -> list[tuple[int, int, int]]:
    """The events by thing, without those that tell nothing when they are the only one."""
    every = list(_EVENT.iter_unpack(events))
    counts = Counter(map(itemgetter(0), every))
    return sorted(one for one in every if counts[one[0]] > 1 or one[1] >> _INDEX_BITS in _LONE)


def cycles(partitions: Iterable[bytes], turns: Sequence[int]) -> Iterator[Warned]:
    """Finds cycles of lineage: for each, the first edge that closes it.

    Args:
        partitions: The events of all partitions.
        turns: Where to begin; every cycle goes through at least one of them.
    """
    edges: dict[int, dict[int, int]] = {}
    for events in partitions:
        for key, place, target in _EVENT.iter_unpack(events):
            if place >> _INDEX_BITS == Role.FROM:
                edges.setdefault(key, {}).setdefault(target, place & _INDEX_MASK)
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


def _reuse(index: int, before: int) -> Warned:
    return Warned(
        "id-reuse",
        index,
        f"entry {index} has the id of entry {before}, by the same producer, and other content",
    )


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
    if Role.OUTCOME in first and Role.REFUSED not in first:
        return Warned(
            "outcome-without-decision",
            first[Role.OUTCOME],
            f"entry {first[Role.OUTCOME]} is the outcome of a run that no decision authorises",
        )
    found = "the decision denies it" if Role.REFUSED in first else "there is no decision"
    return Warned(
        "unauthorized-execution",
        index,
        f"entry {index} tells of a run that no decision allows: {found}",
    )
