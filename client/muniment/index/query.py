"""Answers from an index: a decision, a run, lineage; each tells its tree size.

Answers hold the leaves verbatim, in the order of the log. Several producers may use one id: all are
listed. An id that *one* producer used again with other content is flagged on every record of it,
and nothing is merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from muniment.http.loganswers import KeySeen
from muniment.index.keys import KINDS, Role, thing_hash
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.index.search import MAX_EFFORT, Search, find_decisions
from muniment.lineage.facts import Found, Ref, ref_of
from muniment.lineage.walk import Direction, steps
from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    Verification,
)
from muniment.records.manifest import signed_by
from muniment.tlog.encoding import MAX_SIZE, FormatError, parse_decimal

LIMIT: Final = 100
"""Records or edges in an answer, unless asked otherwise."""

MAX_LIMIT: Final = 1_000
"""Most records or edges in an answer: at most 65 MB, as a rule half a megabyte."""

DEPTH: Final = 16
MAX_DEPTH: Final = 1_024
"""Hops from the thing that is asked about."""

MAX_WALK: Final = 10_000
"""Edges that a walk visits, over all of its pages; a page walks again from the start."""

_KEYS: Final = 16  # postings looked at for a key: one is enough, unless hashes collide
_MANY: Final = 1 << 14  # postings looked at in one statement


class Entry(NamedTuple):
    """A record of an answer: its leaf's index and exact bytes, and the leaf parsed.

    `is_conflicting` says whether its producer used its id for another content as well.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    data: bytes
    record: Record
    is_conflicting: bool


@dataclass(frozen=True, slots=True)
class IndexedRecords:
    """Records about a thing, in the order of the log, of which exactly `size` leaves are reflected.

    `next` is the `after` of the next page; None at the end.
    """

    origin: str
    size: int
    entries: tuple[Entry, ...]
    next: int | None


class WalkedEdge(NamedTuple):
    """An edge of a walk: its leaf's index and exact bytes, and the leaf parsed.

    `depth` is hops from the thing asked about to this edge's near end, plus one.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    data: bytes
    edge: Edge
    depth: int


@dataclass(frozen=True, slots=True)
class EdgeWalk:
    """Edges around a thing, each once: by depth, by when things were reached, then as in the log.

    All pages of one walk reflect exactly `size` leaves. `next` is the token of the next page; None
    at the end. `is_cut` says that the walk ended at MAX_WALK edges, and there are more.
    """

    origin: str
    size: int
    hops: tuple[WalkedEdge, ...]
    next: str | None
    is_cut: bool


class Index:
    """Answers from an open reader; belongs to its thread.

    Each answer raises `FactsError` if the index reflects nothing yet, and `DatabaseError` if it
    cannot be read. It has at most `limit` records or edges.
    """

    def __init__(self, reader: IndexReader) -> None:
        """Takes an open reader."""
        self._reader = reader

    def decision(self, id_: str, *, after: int = -1, limit: int = LIMIT) -> IndexedRecords:
        """Decisions of an id, edges from and to them, revocations of them, at leaves after one."""
        return self._about(Ref("decision", id_), after, limit)

    def execution(self, id_: str, *, after: int = -1, limit: int = LIMIT) -> IndexedRecords:
        """Decisions that authorise a run, its outcomes, verifications, edges and revocations."""
        return self._about(Ref("run", id_), after, limit)

    def find(
        self, search: Search, *, after: int = -1, limit: int = LIMIT, effort: int = MAX_EFFORT
    ) -> IndexedRecords:
        """Decisions by subject, resource and time, at leaves after one.

        Looks into at most `effort` entry bundles; a page may end before it is full.
        """
        facts = ReplicaFacts(self._reader)
        found, last = find_decisions(
            self._reader, search, after=after, size=facts.head.size, limit=limit, effort=effort
        )
        return self._answer(facts, found, last)

    def key(self, reference: str) -> KeySeen:
        """Whether the log knows a key, ``<key name>+<key ID>``: by what it signed."""
        size = ReplicaFacts(self._reader).head.size
        thing = thing_hash("key", reference)
        found = self._reader.find(thing, Role.SIGNED, after=-1, size=size, limit=_KEYS)
        leaves = self._reader.leaves(found)
        # Names may share a hash: what is signed decides.
        named = [
            index
            for index, data in leaves.items()
            if ((signed := signed_by(data, index)) is not None and signed[1].key == reference)
            or f'"{reference}"'.encode() in data
        ]
        return KeySeen(size, named[0] if named else None, self._reader.keys_from(size))

    def lineage(
        self,
        thing: Ref,
        direction: Direction,
        *,
        depth: int = DEPTH,
        limit: int = LIMIT,
        token: str | None = None,
    ) -> EdgeWalk:
        """Walks the edges from a thing, breadth first, at most `depth` hops.

        Things of other logs are reported and not walked on from. `token` is the `EdgeWalk.next` of
        the page before, with the same other arguments. Raises FormatError if the token is none of
        this index.
        """
        facts = ReplicaFacts(self._reader)
        start = 0
        if token is not None:
            size, start = parse_token(token, most=facts.head.size)
            facts = ReplicaFacts(self._reader, size=size)
        end = min(start + limit, MAX_WALK)
        # One more than is shown tells whether there are more.
        walked = steps(thing, facts, direction, depth=depth, limit=end + 1, into_other_logs=False)
        found = list(islice(walked, end + 1))
        more = len(found) > end
        shown = found[start:end]
        leaves = self._reader.leaves([step.index for step in shown])
        origin, size, _ = facts.head
        return EdgeWalk(
            origin,
            size,
            tuple(WalkedEdge(at, leaves[at], edge, hops + 1) for hops, at, edge in shown),
            f"{size}.{end}" if more and end < MAX_WALK else None,
            is_cut=more and end >= MAX_WALK,
        )

    def _about(self, thing: Ref, after: int, limit: int) -> IndexedRecords:
        facts = ReplicaFacts(self._reader)
        origin, size, _ = facts.head
        hashed = thing_hash(thing.type, thing.id)
        candidates = self._candidates(hashed, after, size, limit + 1)
        indices = sorted(candidates)[:limit]
        records = facts.records(indices)
        found = [
            Found(index, record)
            for index in indices
            if (record := records[index]) is not None and _is_about(record, thing, origin)
        ]
        return self._answer(facts, found, indices[-1] if len(candidates) > limit else None)

    def _answer(
        self, facts: ReplicaFacts, found: Sequence[Found[Record]], last: int | None
    ) -> IndexedRecords:
        origin, size, _ = facts.head
        reused = self._reused(facts, [record for _, record in found])
        leaves = self._reader.leaves([index for index, _ in found])
        entries = tuple(
            [
                Entry(index, leaves[index], record, (record.producer, record.id) in reused)
                for index, record in found
            ]
        )
        return IndexedRecords(origin, size, entries, last)

    def _candidates(self, thing: int, after: int, size: int, limit: int) -> set[int]:
        """Leaves that may be about a thing: the first `limit` of them, and maybe more."""
        if after < 0:
            every = self._reader.find_all([thing], (Role.ID, Role.TO), size=size, limit=_MANY)
            if len(every) < _MANY:
                return {posting.index for posting in every}
        # The first ones of each role: the first of all are among them.
        found: set[int] = set()
        for role in Role:
            found.update(self._reader.find(thing, role, after=after, size=size, limit=limit))
        return found

    def _reused(self, facts: ReplicaFacts, records: Sequence[Record]) -> set[tuple[str, str]]:
        """Which of the records' (producer, id) stand for more than one content."""
        ids = list(dict.fromkeys(record.id for record in records))
        hashes = [thing_hash(kind, id_) for id_ in ids for kind in KINDS]
        postings = self._reader.find_all(
            hashes, (Role.ID, Role.ID), size=facts.head.size, limit=_MANY
        )
        contents: dict[tuple[str, str], Record] = {}
        reused: set[tuple[str, str]] = set()
        for record in facts.records([posting.index for posting in postings]).values():
            if record is not None:
                name = (record.producer, record.id)
                if contents.setdefault(name, record) != record:
                    reused.add(name)
        return reused


def _is_about(record: Record, thing: Ref, origin: str) -> bool:
    match record:
        case Decision():
            return thing in (Ref("decision", record.id), Ref("run", record.execution or ""))
        case Edge():
            return thing in (ref_of(record.from_, origin), ref_of(record.to, origin))
        case Outcome() | Verification():
            return thing == Ref("run", record.execution)
        case Revocation():
            target = record.target
            return thing in (
                Ref("decision", target.decision or ""),
                Ref("run", target.execution or ""),
            )
        case Erasure() | Approval():
            return False


def parse_token(token: str, *, most: int = MAX_SIZE) -> tuple[int, int]:
    """The tree size that a walk reflects, in [1, most], and the number of its next edge.

    Raises FormatError if that is not what the token says.
    """
    size, dot, start = token.partition(".")
    if not dot:
        raise FormatError("token: not one of this index")
    found = parse_decimal(size, "token", most=most), parse_decimal(start, "token", most=MAX_WALK)
    if not found[0]:
        raise FormatError("token: not one of this index")
    return found
