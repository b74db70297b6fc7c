"""One pass over all leaves of a replica, up to a checkpoint: hashed, checked, and counted.

Each bundle goes through the audit's own examination (`audit.check`), so that what a report says of
batches, streams and signatures is what an audit says. The root of what was read has to be the
checkpoint's: a leaf that was changed in the file ends the report.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from muniment.audit.addenda import events_of
from muniment.audit.check import LeafRules, ServedBundle, examine
from muniment.audit.relationstore import RelationStore
from muniment.audit.report import Finding
from muniment.audit.streams import Streams
from muniment.errors import VerificationError
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import Found, Ref
from muniment.lineage.reader import BudgetedReader
from muniment.local.sqlitefile import DatabaseError
from muniment.records.codec import parse_leaves
from muniment.records.forms import Forms
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
from muniment.records.thingnames import thing_name
from muniment.report.decisions import Decisions
from muniment.report.otherkinds import OtherKinds
from muniment.report.relating import OF_APPROVALS, Marks, Warnings
from muniment.report.revocations import RevocationTally
from muniment.report.scope import ReportScope
from muniment.report.silences import Silences
from muniment.report.tally import Tally
from muniment.tlog.encoding import FormatError, frame, unframe
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.note import ED25519
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.tiles import TILE_WIDTH, Tile, bundles_of, check_bundle

MAX_FINDINGS: Final = 200
"""Findings that are kept with their words."""

MAX_RELATED: Final = 100_000
"""Most records that are read to say whose the runs of a bundle are."""


class Keys(NamedTuple):
    """Whose signatures can be verified: vkeys of gateways, and of people who approve."""

    gateways: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()


class Checked(NamedTuple):
    """What the audit's examination of all leaves says.

    Attributes:
        records: Leaves that are records, and covered by a manifest.
        signatures: Signatures of manifests that were verified.
        unknown_signers: Key names whose manifests could not be: their vkeys were not given.
        findings: What is wrong, the first MAX_FINDINGS, in the order of the log; `found` counts
            all.
    """

    records: int
    manifests: int
    foreign: int
    streams: int
    signatures: int
    unknown_signers: tuple[str, ...]
    findings: tuple[Finding, ...]
    found: int


class Counted:
    """What is counted on the way; its members are what `build` writes down."""

    def __init__(self, scope: ReportScope, size: int, keys: Keys, tally: Tally) -> None:
        self.scope: Final = scope
        self.decisions: Final = Decisions(scope, tally)
        self.silences: Final = Silences(scope, [key.split("+")[0] for key in keys.gateways])
        self.revocations: Final = RevocationTally()
        self.others: Final = OtherKinds(tally)
        self.approvals: Final = Warnings(OF_APPROVALS, size)
        self.marks: Final = Marks(size)
        """The leaves of the window that the report is about."""

    def add(self, first: int, records: Sequence[Record | None], facts: ReplicaFacts) -> None:
        """Takes the leaves side by side from `first` on; None for what is no record."""
        scope = self.scope
        window = [
            (index, record)
            for index, record in enumerate(records, first)
            if record is not None and scope.has_time(record.time)
        ]
        runs = _runs_of_subjects(window, scope, facts) if scope.subjects else None
        for record in records:
            if isinstance(record, Decision):
                self.silences.add(record)
        for index, record in window:
            match record:
                case Decision():
                    if not scope.has(record):
                        continue
                    self.decisions.add(index, record)
                case Outcome() | Verification() | Edge():
                    if isinstance(record, Edge) and record.relation == "revoked_by":
                        self.revocations.add(index, record)
                    if runs is not None and run_of(record) not in runs:
                        continue
                case Revocation():
                    self.revocations.add(index, record)
                case Erasure() | Approval():
                    pass
            self.marks.add(index)
            self.others.add(index, record)


def run_of(record: Record) -> str | None:
    """The run of which an outcome, a verification or an edge tells that it acted or ended."""
    if isinstance(record, Outcome | Verification):
        return record.execution
    if isinstance(record, Edge) and record.from_.type == "run":
        return record.from_.id
    return None


def _runs_of_subjects(
    window: Sequence[tuple[int, Record]], scope: ReportScope, facts: ReplicaFacts
) -> set[str]:
    """Those runs of the records that are a subject's: by a decision on it, or who performed it."""
    runs = list(dict.fromkeys(run for _, record in window if (run := run_of(record)) is not None))
    names = {(one.type, thing_name(one.id)) for one in scope.subjects}

    def is_decided(_run: str, decisions: Sequence[Found[Decision]]) -> bool:
        return any(scope.has(one.record) for one in decisions)

    def is_performed(_run: Ref, edges: Sequence[Found[Edge]]) -> bool:
        performers = {
            (one.record.to.type, one.record.to.id)
            for one in edges
            if one.record.relation == "performed_by"
        }
        return not names.isdisjoint(performers)

    reader = BudgetedReader(MAX_RELATED)
    decided = reader.until(facts.decisions_of, runs, is_decided)
    led = reader.until(facts.edges_from, [Ref("run", run) for run in runs], is_performed)
    return {
        run
        for run, (decisions, more), (edges, others) in zip(runs, decided, led, strict=True)
        if is_decided(run, decisions)
        or is_performed(Ref("run", run), edges)
        # Whoever logs that many on a run has not hidden whose it is.
        or more
        or others
    }


def read_leaves(
    reader: IndexReader,
    facts: ReplicaFacts,
    checkpoint: CosignedCheckpoint,
    counted: Counted,
    keys: Keys,
    store: RelationStore,
    progress: Callable[[int, int], None],
) -> Checked:
    """Reads, hashes, checks and counts all leaves of the checkpoint's tree.

    Args:
        reader: The replica.
        facts: The same, at the checkpoint's size.
        checkpoint: Verified.
        counted: Takes the records.
        keys: Whose signatures can be verified.
        store: Takes the events of all leaves.
        progress: Told (leaves read, leaves there are).

    Raises:
        VerificationError: If the leaves do not give the checkpoint's root.
        DatabaseError, FactsError: If the replica cannot be read.
    """
    reached, size = CompactRange.EMPTY, checkpoint.size
    streams, forms = Streams(), Forms()
    findings: list[Finding] = []
    found = 0

    def tell(new: Sequence[Finding]) -> None:
        nonlocal found
        found += len(new)
        findings.extend(new[: MAX_FINDINGS - len(findings)])

    logs = [str(key) for key in checkpoint.log_keys if key.algorithm == ED25519]
    rules = LeafRules(checkpoint.origin, (*keys.gateways, *logs), keys.approvers)
    for tile, data, leaves in _bundles(reader, size):
        hashes = leaf_hashes(leaves)
        reached = reached.extend(hashes)
        seen = examine([ServedBundle(tile, data, b"".join(hashes))], [], rules, forms=forms)
        store.add(seen.relations)
        store.add(events_of(seen.named, {}))
        told = [*seen.findings, *(one for _, one in streams.feed(seen.runs))]
        tell(sorted(told, key=lambda one: one.index or 0))
        counted.add(tile.start, parse_leaves(leaves), facts)
        counted.approvals.add(seen.warnings, counted.marks)
        progress(reached.size, size)
    if reached.root() != checkpoint.root:
        raise VerificationError(
            f"{reader.path}: its leaves do not give the root of the checkpoint of size {size} of "
            f"{checkpoint.origin}: the replica is of another tree, or was changed"
        )
    tell(streams.conclude())
    return Checked(
        streams.records,
        streams.manifests,
        streams.foreign,
        len(streams.places),
        streams.signatures,
        tuple(sorted(streams.unknown_signers)),
        tuple(findings),
        found,
    )


def _bundles(reader: IndexReader, size: int) -> Iterator[tuple[Tile, bytes, list[bytes]]]:
    for tile in bundles_of(0, size, size):
        data = reader.bundle(tile.index)
        try:
            # The replica may have grown since; of its bundle, this tree has the beginning.
            if tile.is_partial:
                leaves = unframe(data, tile.path, most=TILE_WIDTH)[: tile.width]
                data = frame(leaves)
            leaves = check_bundle(tile, data)
        except FormatError as error:
            raise DatabaseError(f"{reader.path}: {error}") from None
        yield tile, data, leaves
