"""Answers from an index: a decision, a run, lineage; each tells its tree size.

Answers hold the leaves verbatim, in the order of the log. Several producers may use one id: all are
listed. An id that *one* producer used again with other content is flagged on every record of it,
and nothing is merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from muniment.index.keys import KINDS, Role, thing_hash
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.index.summary import Summary, may_have, positions
from muniment.lineage.facts import Found, Ref, ref_of, signed_by
from muniment.lineage.walk import Direction, steps
from muniment.records.codec import parse_leaves
from muniment.records.kinds import (
    Decision,
    Edge,
    Entity,
    Outcome,
    Record,
    Revocation,
    Verification,
)
from muniment.tlog.encoding import FormatError, parse_decimal
from muniment.tlog.tiles import TILE_WIDTH

LIMIT: Final = 100
"""Records or edges in an answer, unless asked otherwise."""

MAX_LIMIT: Final = 1_000
"""Most records or edges in an answer: at most 65 MB, as a rule half a megabyte."""

DEPTH: Final = 16
MAX_DEPTH: Final = 1_024
"""Hops from the thing that is asked about."""

MAX_WALK: Final = 10_000
"""Edges that a walk visits, over all of its pages; a page walks again from the start."""

MAX_EFFORT: Final = 256
"""Entry bundles that one search looks into: a tenth of a second, as a rule."""

_SUMMARIES: Final = 4096  # read together: 4 MB, a million records
_KEYS: Final = 16  # postings looked at for a key: one is enough, unless hashes collide
_MANY: Final = 1 << 14  # postings looked at in one statement


class Entry(NamedTuple):
    """A record of an answer.

    Attributes:
        index: Its leaf.
        data: The leaf, verbatim.
        record: The leaf, parsed.
        is_conflicting: Whether its producer used its id for another content as well.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    data: bytes
    record: Record
    is_conflicting: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Records about a thing.

    Attributes:
        origin: The log's origin.
        size: The answer reflects exactly the first `size` leaves.
        entries: In the order of the log.
        next: The `after` of the next page; None at the end.
    """

    origin: str
    size: int
    entries: tuple[Entry, ...]
    next: int | None


class Search(NamedTuple):
    """What decisions are looked for; None leaves a part open.

    Attributes:
        subject: Who asked.
        resource: To what.
        since: Made at this time or later, Unix milliseconds by the producer's clock.
        until: Made before this time.
    """

    subject: Entity | None = None
    resource: Entity | None = None
    since: int | None = None
    until: int | None = None

    def may_be_in(self, summary: Summary) -> bool:
        """Whether a bundle may hold what is looked for."""
        if summary.latest < summary.earliest:
            return False
        if self.since is not None and summary.latest < self.since:
            return False
        if self.until is not None and summary.earliest >= self.until:
            return False
        return all(
            thing is None or may_have(summary.things, positions(role, *thing))
            for role, thing in (("subject", self.subject), ("resource", self.resource))
        )

    def finds(self, record: Record | None) -> bool:
        """Whether a record is what is looked for."""
        return (
            isinstance(record, Decision)
            and self.subject in (None, record.subject)
            and self.resource in (None, record.resource)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )


class KeySeen(NamedTuple):
    """Whether the log knows a key.

    Attributes:
        size: The answer reflects exactly the first `size` leaves.
        index: The first leaf that it signed, a manifest or a decision; None if there is none.
        first: The first leaf that was looked at: an index that was begun by an older version knows
            keys from some leaf on.
    """

    size: int
    index: int | None  # type: ignore[assignment]  # hides tuple.index, of no use here
    first: int


class Hop(NamedTuple):
    """An edge of a walk.

    Attributes:
        index: Its leaf.
        data: The leaf, verbatim.
        edge: The leaf, parsed.
        depth: Hops from the thing asked about to this edge's near end, plus one.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    data: bytes
    edge: Edge
    depth: int


@dataclass(frozen=True, slots=True)
class Walk:
    """Edges around a thing, nearest first.

    Attributes:
        origin: The log's origin.
        size: The answer reflects exactly the first `size` leaves; so do all pages of one walk.
        hops: By depth, then in the order in which things were reached, then of the log. Each edge
            once, so that a cycle ends.
        next: The token of the next page; None at the end.
        is_cut: Whether the walk ended at MAX_WALK edges, and there are more.
    """

    origin: str
    size: int
    hops: tuple[Hop, ...]
    next: str | None
    is_cut: bool


class Index:
    """Answers from an open reader; belongs to its thread."""

    def __init__(self, reader: IndexReader) -> None:
        """Takes an open reader."""
        self._reader = reader

    def decision(self, id_: str, *, after: int = -1, limit: int = LIMIT) -> Answer:
        """Decisions of an id, edges from and to them, revocations of them.

        Args:
            id_: The id.
            after: Only records with a greater leaf index.
            limit: Most records.

        Raises:
            FactsError: If the index reflects nothing yet.
            DatabaseError: If it cannot be read.
        """
        return self._about(Ref("decision", id_), after, limit)

    def execution(self, id_: str, *, after: int = -1, limit: int = LIMIT) -> Answer:
        """Decisions that authorise a run, its outcomes, verifications, edges and revocations.

        Args and Raises: As `decision`.
        """
        return self._about(Ref("run", id_), after, limit)

    def find(
        self, search: Search, *, after: int = -1, limit: int = LIMIT, effort: int = MAX_EFFORT
    ) -> Answer:
        """Decisions by subject, resource and time.

        Args:
            search: What is looked for.
            after: Only records with a greater leaf index.
            limit: Most records.
            effort: Most entry bundles that are looked into; a page may end before it is full.

        Raises:
            FactsError: If the index reflects nothing yet.
            DatabaseError: If it cannot be read.
        """
        facts = ReplicaFacts(self._reader)
        origin, size, _ = facts.head
        found: list[Found[Record]] = []
        at, last = after + 1, None
        while at < size:
            number = at // TILE_WIDTH
            summaries = self._reader.summaries(number, number + _SUMMARIES)
            for bundle in range(number, min(number + _SUMMARIES, -(-size // TILE_WIDTH))):
                at = max(at, bundle * TILE_WIDTH)
                end = min(size, (bundle + 1) * TILE_WIDTH)
                summary = summaries.get(bundle)
                if summary is None or search.may_be_in(summary):
                    if not effort or len(found) >= limit:
                        last = at - 1
                        break
                    effort -= 1
                    leaves = self._reader.leaves(range(at, end))
                    records = parse_leaves(list(leaves.values()))
                    found += [
                        Found(index, record)
                        for index, record in zip(leaves, records, strict=True)
                        if record is not None and search.finds(record)
                    ]
                at = end
            if last is not None:
                break
        if len(found) > limit:
            last = found[limit - 1].index
        found = found[:limit]
        leaves = self._reader.leaves([index for index, _ in found])
        reused = self._reused(facts, [record for _, record in found])
        return Answer(
            origin,
            size,
            tuple(
                [
                    Entry(index, leaves[index], record, (record.producer, record.id) in reused)
                    for index, record in found
                ]
            ),
            last,
        )

    def key(self, reference: str) -> KeySeen:
        """Whether the log knows a key: by what it signed.

        Args:
            reference: The key, ``<key name>+<key ID>``.

        Raises:
            FactsError: If the index reflects nothing yet.
            DatabaseError: If it cannot be read.
        """
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
    ) -> Walk:
        """Walks the edges from a thing, breadth first.

        Args:
            thing: Where to begin. Things of other logs are reported and not walked on from.
            direction: Which way.
            depth: Most hops.
            limit: Most edges in this answer.
            token: `Walk.next` of the page before, with the same other arguments.

        Raises:
            FormatError: If the token is none of this index.
            FactsError: If the index reflects nothing yet.
            DatabaseError: If it cannot be read.
        """
        facts = ReplicaFacts(self._reader)
        start = 0
        if token is not None:
            size, start = _parse_token(token, facts.head.size)
            facts = ReplicaFacts(self._reader, size=size)
        end = min(start + limit, MAX_WALK)
        # One more than is shown tells whether there are more.
        walked = steps(thing, facts, direction, depth=depth, limit=end + 1, into_other_logs=False)
        found = list(islice(walked, end + 1))
        more = len(found) > end
        shown = found[start:end]
        leaves = self._reader.leaves([step.index for step in shown])
        origin, size, _ = facts.head
        return Walk(
            origin,
            size,
            tuple(Hop(at, leaves[at], edge, hops + 1) for hops, at, edge in shown),
            f"{size}.{end}" if more and end < MAX_WALK else None,
            is_cut=more and end >= MAX_WALK,
        )

    def _about(self, thing: Ref, after: int, limit: int) -> Answer:
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
        reused = self._reused(facts, [record for _, record in found])
        leaves = self._reader.leaves([index for index, _ in found])
        return Answer(
            origin,
            size,
            tuple(
                [
                    Entry(index, leaves[index], record, (record.producer, record.id) in reused)
                    for index, record in found
                ]
            ),
            indices[-1] if len(candidates) > limit else None,
        )

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


def _parse_token(token: str, most: int) -> tuple[int, int]:
    size, dot, start = token.partition(".")
    if not dot:
        raise FormatError("token: not one of this index")
    found = parse_decimal(size, "token", most=most), parse_decimal(start, "token", most=MAX_WALK)
    if not found[0]:
        raise FormatError("token: not one of this index")
    return found
