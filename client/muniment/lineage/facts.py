"""The port through which lineage reads a log.

`Facts` is what is known of one log at one size: an index, a verified replica, or `MemoryFacts`
over a handful of records. Every lookup takes many keys at once, because an implementation on a
database answers a batch for little more than one, and every answer is bounded and says when it is
not the whole answer: who reasons from it then fails closed.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec.json import Encoder

from muniment.records.kinds import (
    Decision,
    Edge,
    Outcome,
    Record,
    Revocation,
    Thing,
    ThingType,
    Verification,
)
from muniment.records.manifest import parse_manifest
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.policy import CosignedCheckpoint

R = TypeVar("R", bound=Record)

PAGE: Final = 256
"""Most records in one answer about one key, unless the caller asks for another number. A run has
one decision and a handful of edges; only popular agents have more."""

_encode: Final = Encoder(order="sorted").encode

TargetKind: TypeAlias = Literal["decision", "execution", "key", "key_name"]
"""What a revocation can be looked up by; `key_name` finds all revoked vkeys of one key name."""


class FactsError(MunimentError):
    """The facts cannot be read now. Whoever decides on them denies."""


class FactsHead(NamedTuple):
    """What some facts reflect: exactly the first `size` leaves of a log.

    Attributes:
        origin: The log's origin.
        size: Number of leaves.
        time: When the log had this size, as a quorum vouches, Unix seconds; 0 when none does.
    """

    origin: str
    size: int
    time: int


class Ref(NamedTuple):
    """A thing, as lineage tells things apart.

    Attributes:
        type: What it is.
        id: Which one.
        origin: The log that it is recorded in; None for the log at hand.
    """

    type: ThingType
    id: str
    origin: str | None = None


class TargetRef(NamedTuple):
    """What a revocation revokes.

    Attributes:
        kind: Decision, execution (run), key; or `key_name`: any vkey of that name.
        id: The decision's or run's id, the key as in `kinds.Target`, or the key name.
    """

    kind: TargetKind
    id: str


class Found(NamedTuple, Generic[R]):
    """A record and its leaf index."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which records have no use for
    record: R


class Page(NamedTuple, Generic[R]):
    """The records that answer one key.

    Attributes:
        entries: In the order of the log, each index once.
        more: Whether the log has further ones, after the last of these.
    """

    entries: tuple[Found[R], ...] = ()
    more: bool = False


class Signed(NamedTuple):
    """Who signed a record's batch.

    Attributes:
        key: The key, as records name it: ``<key name>+<key ID, 8 hex digits>``.
        manifest: Leaf index of the manifest.
    """

    key: str
    manifest: int


class Interval(NamedTuple):
    """When a log took a leaf, as far as the cosignatures of its heads tell: Unix seconds.

    Attributes:
        earliest: When it was known to be without the leaf; None if nobody knows.
        latest: When it was known to have it; None if nobody knows.
    """

    earliest: int | None = None
    latest: int | None = None


class Facts(Protocol):
    """What is known of a log, all answers at one size. Lookups answer each key, in order.

    Args of every lookup: `after`, only records with a greater leaf index (-1 for all); `limit`,
    most records for each key, at least 1. Records of all producers answer; an id that several
    producers use, or one producer twice, is not merged.

    Raises (every lookup):
        FactsError: If the facts cannot be read.
    """

    @property
    def head(self) -> FactsHead:
        """What the answers reflect."""
        ...

    def edges_from(
        self, things: Sequence[Ref], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Edge]]:
        """Edges whose `from` is the thing: to what came before it.

        An end of an edge that states the origin of this very log is a thing of this log; see
        `ref_of`.
        """
        ...

    def edges_to(
        self, things: Sequence[Ref], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Edge]]:
        """Edges whose `to` is the thing: from what came after it."""
        ...

    def decisions(
        self, ids: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Decision]]:
        """Decisions with the record id."""
        ...

    def decisions_of(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Decision]]:
        """Decisions whose `execution` is the run."""
        ...

    def outcomes(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Outcome]]:
        """Outcomes of the run."""
        ...

    def verifications(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Verification]]:
        """Verifications of the run."""
        ...

    def revocations(
        self, targets: Sequence[TargetRef], *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[Revocation]]:
        """Revocations of the target, whenever they take effect."""
        ...

    def signers(self, indices: Sequence[int]) -> Sequence[Signed | None]:
        """Who signed the manifests of the records at some leaves; None where nobody knows."""
        ...

    def intervals(self, indices: Sequence[int]) -> Sequence[Interval]:
        """When the log took some leaves."""
        ...


def signed_by(manifest: bytes, index: int) -> tuple[int, Signed] | None:
    """Reads who signed a manifest leaf, whose signature somebody else verifies.

    Args:
        manifest: The leaf's bytes.
        index: Its leaf index.

    Returns:
        The leaf index of its batch's first record, and who signed; None if it is no manifest.
    """
    try:
        stated, note = parse_manifest(manifest)
    except FormatError:
        return None
    line = note.signatures[0]
    return index - stated.count, Signed(f"{line.name}+{line.key_id:08x}", index)


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
    look fresh, or fresh ones old; 0 when no quorum states a time.

    Args:
        cosigned: The checkpoint.
        now: Unix seconds: cosignatures in the future do not count. None to let them.
    """
    return FactsHead(cosigned.origin, cosigned.size, cosigned.time(now))


def is_same(one: Record, other: Record) -> bool:
    """Whether two records are the same to the byte; in Python, values of true and 1 are equal."""
    return _encode(one) == _encode(other)


class MemoryFacts:
    """Facts over records in memory: for tests, bundles and small offline cases."""

    __slots__ = ("_batches", "_found", "_head")

    def __init__(
        self,
        head: FactsHead,
        records: Iterable[tuple[int, Record]],
        manifests: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Takes what the facts reflect, and records with their leaf indices, in any order.

        Args:
            head: What they reflect.
            records: The records.
            manifests: Manifests by leaf index: they tell who signed the records before them.

        Raises:
            ValueError: If an index is not below the head's size, or comes twice.
        """
        self._head = head
        found: defaultdict[tuple[str, Any], list[Found[Any]]] = defaultdict(list)
        last = -1
        for index, record in sorted(records, key=lambda one: one[0]):
            if not last < index < head.size:
                raise ValueError(f"leaf {index} comes twice or is not below {head.size}")
            last = index
            for key in _keys(record, head.origin):
                found[key].append(Found(index, record))
        self._found: Mapping[tuple[str, Any], Sequence[Found[Any]]] = dict(found)
        batches = [signed_by(data, index) for index, data in sorted(manifests)]
        self._batches = [one for one in batches if one is not None]

    @property
    def head(self) -> FactsHead:
        """What the answers reflect."""
        return self._head

    def edges_from(
        self, things: Sequence[Ref], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Edge]]:
        """See `Facts`."""
        return self._pages("from", things, after, limit)

    def edges_to(
        self, things: Sequence[Ref], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Edge]]:
        """See `Facts`."""
        return self._pages("to", things, after, limit)

    def decisions(
        self, ids: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Decision]]:
        """See `Facts`."""
        return self._pages("decision", ids, after, limit)

    def decisions_of(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Decision]]:
        """See `Facts`."""
        return self._pages("decision of", executions, after, limit)

    def outcomes(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Outcome]]:
        """See `Facts`."""
        return self._pages("outcome", executions, after, limit)

    def verifications(
        self, executions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Verification]]:
        """See `Facts`."""
        return self._pages("verification", executions, after, limit)

    def revocations(
        self, targets: Sequence[TargetRef], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Revocation]]:
        """See `Facts`."""
        return self._pages("revocation", targets, after, limit)

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

    def _pages(self, role: str, keys: Sequence[Any], after: int, limit: int) -> list[Page[Any]]:
        pages: list[Page[Any]] = []
        for key in keys:
            found = self._found.get((role, key), ())
            if after >= 0:
                found = [one for one in found if one.index > after]
            pages.append(Page(tuple(found[:limit]), more=len(found) > limit))
        return pages


def _keys(record: Record, origin: str) -> list[tuple[str, Any]]:
    """By what a record is found."""
    match record:
        case Decision():
            keys: list[tuple[str, Any]] = [("decision", record.id)]
            if record.execution is not None:
                keys.append(("decision of", record.execution))
            return keys
        case Edge():
            return [("from", ref_of(record.from_, origin)), ("to", ref_of(record.to, origin))]
        case Outcome():
            return [("outcome", record.execution)]
        case Verification():
            return [("verification", record.execution)]
        case Revocation():
            return [("revocation", target) for target in targets_of(record)]
