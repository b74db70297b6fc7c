"""The port through which lineage reads a log.

`Facts` is what is known of one log at one size: an index, a verified replica, or `MemoryFacts`
over a handful of records. Every lookup takes many keys at once, because an implementation on a
database answers a batch for little more than one, and every answer is bounded and says when it is
not the whole answer: who reasons from it then fails closed.
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from msgspec.json import Encoder

from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    Thing,
    ThingType,
    Verification,
)
from muniment.records.manifest import Signed, signed_by
from muniment.tlog.encoding import MunimentError
from muniment.tlog.policy import CosignedCheckpoint

R = TypeVar("R", bound=Record)

PAGE: Final = 256
"""Most records in one answer about one key, unless the caller asks for another number. A run has
one decision and a handful of edges; only popular agents have more."""

_encode: Final = Encoder(order="sorted").encode

TargetKind: TypeAlias = Literal["decision", "execution", "key", "key_name"]
"""What a revocation can be looked up by; `key_name` finds all revoked vkeys of one key name."""


Role: TypeAlias = Literal[
    "from",
    "to",
    "decision",
    "decision of",
    "outcome",
    "verification",
    "revocation",
    "erasure",
    "approval",
]
"""What a record is to the key that it is found by, see `ROLES`."""


class FactsError(MunimentError):
    """The facts cannot be read now. Whoever decides on them denies."""


class FactsHead(NamedTuple):
    """What some facts reflect: exactly the first `size` leaves of a log.

    `time` is when the log had this size, as a quorum vouches, in Unix seconds; 0 when none does.
    """

    origin: str
    size: int
    time: int


class Ref(NamedTuple):
    """A thing, as lineage tells things apart; `origin` is None for things of the log at hand."""

    type: ThingType
    id: str
    origin: str | None = None


class TargetRef(NamedTuple):
    """What a revocation revokes; `id` is the decision's or run's, the key or the key name."""

    kind: TargetKind
    id: str


class Found(NamedTuple, Generic[R]):
    """A record and its leaf index."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which records have no use for
    record: R


class Page(NamedTuple, Generic[R]):
    """The records that answer one key, in the order of the log; and whether it has more."""

    entries: tuple[Found[R], ...] = ()
    more: bool = False


class Interval(NamedTuple):
    """When a log took a leaf: when it was known to be without it, and to have it.

    Unix seconds, as far as the cosignatures of the log's heads tell; None where nobody knows.
    """

    earliest: int | None = None
    latest: int | None = None


class Facts(ABC):
    """What is known of one log, all answers at one size. Lookups answer each key, in order.

    `after` asks for records with a greater leaf index only (-1 for all), `limit` for at most so
    many for each key, at least 1. Records of all producers answer; an id that several producers
    use, or one producer twice, is not merged. Every lookup raises `FactsError` if the facts cannot
    be read.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def head(self) -> FactsHead:
        """What the answers reflect."""

    @abstractmethod
    def find(self, role: Role, keys: Sequence[Any], after: int, limit: int) -> list[Page[Any]]:
        """The records that play a role for each key, as `ROLES` says; the lookups below ask it."""

    @abstractmethod
    def signers(self, indices: Sequence[int]) -> Sequence[Signed | None]:
        """Who signed the manifests of the records at some leaves; None where nobody knows."""

    @abstractmethod
    def intervals(self, indices: Sequence[int]) -> Sequence[Interval]:
        """When the log took some leaves."""

    def edges_from(
        self, things: Sequence[Ref], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Edge]]:
        """Edges whose `from` is the thing: to what came before it.

        An end of an edge that states the origin of this very log is a thing of this log; see
        `ref_of`.
        """
        return self.find("from", things, after, limit)

    def edges_to(
        self, things: Sequence[Ref], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Edge]]:
        """Edges whose `to` is the thing: from what came after it."""
        return self.find("to", things, after, limit)

    def revoking_edges(
        self, decisions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Edge]]:
        """Edges from the decision, the `revoked_by` edges among them at least."""
        return self.edges_from(
            [Ref("decision", id_) for id_ in decisions], after=after, limit=limit
        )

    def decisions(
        self, ids: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Decision]]:
        """Decisions with the record id."""
        return self.find("decision", ids, after, limit)

    def decisions_of(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Decision]]:
        """Decisions whose `execution` is the run."""
        return self.find("decision of", executions, after, limit)

    def outcomes(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Outcome]]:
        """Outcomes of the run."""
        return self.find("outcome", executions, after, limit)

    def verifications(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Verification]]:
        """Verifications of the run."""
        return self.find("verification", executions, after, limit)

    def revocations(
        self, targets: Sequence[TargetRef], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Revocation]]:
        """Revocations of the target, whenever they take effect."""
        return self.find("revocation", targets, after, limit)

    def erasures(
        self, digests: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Erasure]]:
        """Erasures of the addendum, by its SHA-256 in hexadecimal digits, by whomever."""
        return self.find("erasure", digests, after, limit)

    def approvals(
        self, ids: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Approval]]:
        """The records of approvals, by their ids, by whomever they were logged."""
        return self.find("approval", ids, after, limit)


def ref_of(thing: Thing, origin: str) -> Ref:
    """Tells which thing an end of an edge is, in the log of this origin.

    Naming the log's own origin is no way to make one of its things look like a stranger.
    """
    return Ref(thing.type, thing.id, None if thing.origin == origin else thing.origin)


def targets_of(revocation: Revocation) -> tuple[TargetRef, ...]:
    """By what a revocation is found: its target, and for a vkey the key name as well."""
    target = revocation.target
    if target.decision is not None:
        return (TargetRef("decision", target.decision),)
    if target.execution is not None:
        return (TargetRef("execution", target.execution),)
    key = target.key or ""
    name, plus, _ = key.partition("+")
    found = (TargetRef("key", key),)
    return (*found, TargetRef("key_name", name)) if plus else found


def head_of(cosigned: CosignedCheckpoint, now: int | None = None) -> FactsHead:
    """What facts reflect that were verified against a checkpoint.

    Its time is the one for which a quorum vouches, so that no single witness can make old facts
    look fresh, or fresh ones old; 0 when no quorum states a time. Cosignatures later than `now`,
    Unix seconds, do not count; all do when it is None.
    """
    return FactsHead(cosigned.origin, cosigned.size, cosigned.time(now))


def is_same(one: Record, other: Record) -> bool:
    """Whether two records are the same to the byte; in Python, values of true and 1 are equal."""
    return _encode(one) == _encode(other)


ROLES: Final[Mapping[Role, tuple[type[Any], Callable[[Any, str], Sequence[Any]]]]] = {
    "from": (Edge, lambda edge, origin: (ref_of(edge.from_, origin),)),
    "to": (Edge, lambda edge, origin: (ref_of(edge.to, origin),)),
    "decision": (Decision, lambda decision, _: (decision.id,)),
    "decision of": (Decision, lambda decision, _: (decision.execution,)),
    "outcome": (Outcome, lambda outcome, _: (outcome.execution,)),
    "verification": (Verification, lambda verification, _: (verification.execution,)),
    "revocation": (Revocation, lambda revocation, _: targets_of(revocation)),
    "erasure": (Erasure, lambda erasure, _: erasure.digests),
    "approval": (Approval, lambda approval, _: (approval.id,)),
}
"""The kind of record that plays a role, and for which keys it does, in the log of an origin."""


class MemoryFacts(Facts):
    """Facts over records in memory: for tests, bundles and small offline cases."""

    __slots__ = ("_batches", "_found", "_head")

    def __init__(
        self,
        head: FactsHead,
        records: Iterable[tuple[int, Record]],
        manifests: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Takes records and the manifests that tell who signed them, by leaf index, in any order.

        Raises ValueError if a record's index is not below the head's size, or comes twice.
        """
        self._head = head
        self._found: defaultdict[tuple[Role, Any], list[Found[Any]]] = defaultdict(list)
        last = -1
        for index, record in sorted(records, key=lambda one: one[0]):
            if not last < index < head.size:
                raise ValueError(f"leaf {index} comes twice or is not below {head.size}")
            last = index
            for role, (kind, keys_of) in ROLES.items():
                if isinstance(record, kind):
                    for key in keys_of(record, head.origin):
                        self._found[role, key].append(Found(index, record))
        batches = [signed_by(data, index) for index, data in sorted(manifests)]
        self._batches = [one for one in batches if one is not None]

    @property
    def head(self) -> FactsHead:
        """What the answers reflect."""
        return self._head

    def find(self, role: Role, keys: Sequence[Any], after: int, limit: int) -> list[Page[Any]]:
        """See `Facts`."""
        pages: list[Page[Any]] = []
        for key in keys:
            found = [one for one in self._found.get((role, key), ()) if one.index > after]
            pages.append(Page(tuple(found[:limit]), more=len(found) > limit))
        return pages

    def signers(self, indices: Sequence[int]) -> list[Signed | None]:
        """See `Facts`."""
        found: list[Signed | None] = []
        for index in indices:
            at = bisect_right(self._batches, index, key=lambda one: one[1].manifest)
            first, signed = self._batches[at] if at < len(self._batches) else (index + 1, None)
            found.append(signed if first <= index else None)
        return found

    def intervals(self, indices: Sequence[int]) -> list[Interval]:
        """See `Facts`: all that is known is when the log had all of it."""
        return [Interval(None, self._head.time or None)] * len(indices)
